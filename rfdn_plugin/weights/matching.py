"""Whether a checkpoint belongs to a network: the comparison that training, testing and preflight share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from rfdn_plugin.errors import RFDNError
from rfdn_plugin.weights.checkpoint import Checkpoint

UPSAMPLER = 'upsampler.'
"""Prefix of the weights whose shapes depend on the scale: the only ones that may differ from a checkpoint's."""


@dataclass(frozen=True)
class Match:
    """Names of the weights that the checkpoint sets, and of the upsampler's that have another scale's shapes."""

    loaded: list[str]
    resized: list[str]


def match(net: nn.Module, checkpoint: Checkpoint, *, strict: bool) -> Match:
    """Compare a checkpoint with a network.

    Args:
        net: The network, not wrapped.
        checkpoint: The file's weights.
        strict: False allows the upsampler, and nothing else, to have other shapes.

    Raises:
        RFDNError: The file belongs to another network or, when strict, to another scale; the message lists the weights.
    """
    own, state = net.state_dict(), checkpoint.tensors
    different = [name for name in own if name in state and own[name].shape != state[name].shape]
    resized = [name for name in different if name.startswith(UPSAMPLER)]
    described = [
        f'{len(names)} {what} ({_some(names)})'
        for what, names in (
            ('not in the file', sorted(own.keys() - state.keys())),
            ('not in the network', sorted(state.keys() - own.keys())),
            ('of another shape', [_shapes(name, own, state) for name in different if name not in resized]),
        )
        if names
    ]
    if described:
        raise RFDNError(
            f'{checkpoint.path} holds the weights of another network than {type(net).__name__}: {"; ".join(described)}.'
        )
    if resized and strict:
        raise RFDNError(
            f'{checkpoint.path} holds weights of another scale ({_shapes(resized[0], own, state)}): '
            'set path.strict_load_g to false to fine-tune from them, or correct scale and network_g.upscale.'
        )
    return Match([name for name in own if name not in resized], resized)


def _shapes(name: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    return f'{name}: network {tuple(own[name].shape)}, file {tuple(state[name].shape)}'


def _some(names: list[str], most: int = 12) -> str:
    return ', '.join(names[:most]) + (f' and {len(names) - most} more' if len(names) > most else '')
