"""Whether a checkpoint belongs to a network: the comparison that training, testing and preflight share."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from rfdn_plugin.archs.network import UpscalingNetwork
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.text import some_of
from rfdn_plugin.weights.checkpoint import Checkpoint
from rfdn_plugin.weights.transfer.phases import has_phases
from rfdn_plugin.weights.transfer.resample import scale_of, transferred_state

UPSAMPLER = 'upsampler.'
"""Prefix of the weights whose shapes depend on the scale: the only ones that may differ from a checkpoint's."""


def starting_state(
    net: nn.Module, checkpoint: Checkpoint, *, strict: bool, resample: bool
) -> tuple[dict[str, Tensor], list[str]]:
    """The state with which a training or test of `net` starts from a checkpoint.

    Args:
        net: The network, not wrapped.
        checkpoint: The file's weights.
        strict: False allows the upsampler, and nothing else, to have other shapes.
        resample: Weights of another scale: resample their upsampler instead of leaving out what has other shapes. A
            network whose upsampler is a chain of convolutions (RFANet) starts with a random one.

    Returns:
        The state, and the names of the weights that are not the file's own: resampled, or missing from the state.

    Raises:
        RFDNError: The file belongs to another network or, when strict, to another scale; the message lists the weights.
    """
    checkpoint = checkpoint.fitted_to(net.state_dict())
    # IDN's shapes are the same at every scale, so shapes alone do not tell.
    if resample and not strict and isinstance(net, UpscalingNetwork) and has_phases(net) and _differs(net, checkpoint):
        state = transferred_state(net, checkpoint)
        return state, [name for name, tensor in state.items() if not _has(checkpoint, name, tensor)]
    own, state = net.state_dict(), checkpoint.tensors
    different = [name for name in own if name in state and own[name].shape != state[name].shape]
    missing, surplus = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    resized = [name for name in different if name.startswith(UPSAMPLER)]
    if not strict:  # a chain of upsampling steps (RFANet) has as many names as its scale has steps
        resized += [name for name in missing if name.startswith(UPSAMPLER)]
        missing, surplus = ([name for name in names if not name.startswith(UPSAMPLER)] for names in (missing, surplus))
    problems = {
        'not in the file': missing,
        'not in the network': surplus,
        'of another shape': [_shapes(name, own, state) for name in different if name not in resized],
    }
    if described := [f'{len(names)} {what} ({some_of(names, 12)})' for what, names in problems.items() if names]:
        raise RFDNError(
            f'{checkpoint.path} holds the weights of another network than {type(net).__name__}: {"; ".join(described)}.'
        )
    if resized and strict:
        raise RFDNError(
            f'{checkpoint.path} holds weights of another scale ({_shapes(resized[0], own, state)}): '
            'set path.strict_load_g to false to fine-tune from them, or correct scale and network_g.upscale.'
        )
    return {name: state[name] for name in own if name not in resized}, resized


def _differs(net: UpscalingNetwork, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is for another scale than the network; False where it is of no network here."""
    try:
        return scale_of(checkpoint) not in (None, net.upscale)
    except RFDNError:  # what differs is listed
        return False


def _has(checkpoint: Checkpoint, name: str, tensor: Tensor) -> bool:
    own = checkpoint.tensors.get(name)
    return own is not None and own.shape == tensor.shape and bool((own == tensor).all())


def _shapes(name: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    return f'{name}: network {tuple(own[name].shape)}, file {tuple(state[name].shape)}'
