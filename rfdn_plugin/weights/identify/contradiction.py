"""What a weights file says of its network against the arguments with which somebody wants to load it.

Weights that fit by their shapes can still compute something else: with another input range, without an identity that they
were trained with, with one that was folded into them. What the file's model card, or the fingerprint of public weights,
says of such arguments is compared here; whether a difference matters is seen by running both networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rfdn_plugin.archs import NETWORKS, full_arguments
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.checkpoint import Checkpoint
from rfdn_plugin.weights.identify import stated_network
from rfdn_plugin.weights.identify.known import KNOWN_WEIGHTS
from rfdn_plugin.weights.identify.shapes import read_shapes, shapes_of

COLOUR_ORDER = 'color_order'
"""Entry of a model card with the order of the channels that the network takes, 'rgb' or 'bgr'."""


@dataclass(frozen=True)
class Contradiction:
    """An argument of a network that a file states otherwise.

    Attributes:
        key: The argument's name.
        stated: Its value as the file has it.
        wanted: Its value in the options.
        source: What states it, for a message: 'its card' or the name of public weights.
    """

    key: str
    stated: Any
    wanted: Any
    source: str


def stated_arguments(checkpoint: Checkpoint) -> dict[str, tuple[Any, str]]:
    """The constructor's arguments that a file states, with what states each: its fingerprint, or else its model card.

    Raises:
        RFDNError: The card makes no sense, or the weights are public ones of a network that is not here (a dilation, for
            example, which no shape shows).
    """
    known = KNOWN_WEIGHTS.get(checkpoint.fingerprint)
    if known is not None and known.type is None:
        raise RFDNError(f'{checkpoint.path} is {known.name}, which no network here rebuilds: {known.refusal}.')
    card = {key: (value, 'its card') for key, value in stated_network(checkpoint).get('arguments', {}).items()}
    named = {key: (value, f'it is {known.name}') for key, value in known.undetermined.items()} if known else {}
    return {**card, **named}


def unstated_arguments(checkpoint: Checkpoint) -> list[str]:
    """The constructor's arguments that neither the file's shapes, nor its card, nor its fingerprint tell."""
    stated = stated_arguments(checkpoint)
    return [key for key in read_shapes(shapes_of(checkpoint.tensors), '').undetermined if key not in stated]


def contradictions(
    checkpoint: Checkpoint, type: str, arguments: Mapping[str, Any], state: Mapping[str, Tensor]
) -> list[Contradiction]:
    """Settings of a network that the file states otherwise than it is to be loaded with.

    Args:
        checkpoint: The file's content.
        type: The network that takes the weights, a key of `archs.NETWORKS`.
        arguments: Arguments of its constructor, as an option file has them.
        state: The weights as they will be loaded; those of another scale may be missing or resampled.

    Raises:
        RFDNError: As `stated_arguments`.
    """
    wanted = full_arguments(type, dict(arguments))
    found = [
        Contradiction(key, value, wanted[key], source)
        for key, (value, source) in stated_arguments(checkpoint).items()
        if key in wanted and key != 'upscale' and wanted[key] != value and _matters(type, wanted, key, value, state)
    ]
    order = checkpoint.metadata.get(COLOUR_ORDER, 'rgb').lower()
    return found if order == 'rgb' else [*found, Contradiction(COLOUR_ORDER, order, 'rgb', 'its card')]


def _matters(type: str, wanted: dict[str, Any], key: str, value: Any, state: Mapping[str, Tensor]) -> bool:
    """Whether the network computes something else with the other value of one argument, for the same weights."""
    numbers = torch.Generator().manual_seed(0)
    lr = torch.rand(1, wanted.get('num_in_ch', 3), 8, 8, generator=numbers)
    outputs = []
    for arguments in (wanted, {**wanted, key: value}):
        try:
            network = NETWORKS[type](**arguments).eval()
            own = network.state_dict()
            if any(name not in own or own[name].shape != tensor.shape for name, tensor in state.items()):
                return False  # the shapes show this argument, and they are compared elsewhere
            network.load_state_dict({**{name: torch.zeros_like(tensor) for name, tensor in own.items()}, **state})
        except (TypeError, ValueError):
            return True  # a value that no network takes, in a card that somebody wrote by hand
        with torch.no_grad():
            outputs.append(network(lr))
    return not torch.equal(*outputs)
