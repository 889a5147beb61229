"""Networks of other packages as entries: those registered in BasicSR, and whatever spandrel reads."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_plugin.archs import NETWORKS, constructor_parameters
from rfdn_plugin.leaderboard.measure.predictors import input_channels
from rfdn_plugin.options.registry import check_name, registered
from rfdn_plugin.utils.errors import RFDNError, first_line
from rfdn_plugin.weights.checkpoint import Checkpoint
from rfdn_plugin.weights.loading import check_finite
from rfdn_plugin.weights.matching import starting_state


class SizedNetwork(nn.Module):
    """A network that takes certain sizes only, at any size: the input is extended to them and the output cropped.

    Args:
        network: N x in_channels x H x W, 0..1, to the same scale times as large.
        scale: The scale factor.
        in_channels: 1 or 3.
        minimum: The smallest side that it takes.
        multiple: Sides must be multiples of it, as of the window of an attention.

    Shapes: N x in_channels x H x W to N x C x (scale H) x (scale W), any size from 1 x 1.
    """

    def __init__(self, network: nn.Module, scale: int, in_channels: int, minimum: int = 1, multiple: int = 1) -> None:
        super().__init__()
        self.network, self.scale, self.in_channels = network, scale, in_channels
        self.minimum, self.multiple = minimum, multiple

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        bottom, right = self._missing(height), self._missing(width)
        if bottom or right:
            x = _extended(x, bottom, right)
        return self.network(x)[..., : height * self.scale, : width * self.scale]

    def _missing(self, side: int) -> int:
        return -(-max(side, self.minimum) // self.multiple) * self.multiple - side


def _extended(x: Tensor, bottom: int, right: int) -> Tensor:
    """Rows and columns added below and to the right: mirrored where the image is large enough, else repeated."""
    mode = 'reflect' if bottom < x.shape[-2] and right < x.shape[-1] else 'replicate'
    return F.pad(x, (0, right, 0, bottom), mode=mode)


# --- BasicSR -------------------------------------------------------------------------------------------------------
def registered_name(checkpoint: Checkpoint, named: str | None) -> str | None:
    """The network of another package that an entry or the file's card names; None where it is one of ours.

    Raises:
        RFDNError: What the card names is not registered.
    """
    name = named or checkpoint.metadata.get('network')
    if name is None or name in NETWORKS:
        return None
    try:
        return check_name('ARCH', name)
    except ValueError as error:
        raise RFDNError(f'{checkpoint.path}: {error}: give the `type` of a network that is registered.') from error


def registered_arguments(checkpoint: Checkpoint, name: str, given: Mapping[str, Any], scale: int) -> dict[str, Any]:
    """The arguments of a registered network: those of the file's card, those given over them, and the scale.

    Raises:
        RFDNError: The card's arguments are no JSON, or the weights are of another scale.
    """
    card = checkpoint.metadata if checkpoint.metadata.get('network') == name else {}
    try:
        stated = json.loads(card.get('arguments', '{}'))
    except ValueError as error:
        raise RFDNError(f'{checkpoint.path}: its metadata "arguments" is no JSON ({error}).') from error
    arguments = {**(stated if isinstance(stated, dict) else {}), **given}
    cls = registered('ARCH', name)
    parameters = constructor_parameters(cls) if inspect.isclass(cls) else {}
    scale_key = next((key for key in ('upscale', 'scale', 'upscale_factor') if key in parameters), None)
    if scale_key is not None and arguments.setdefault(scale_key, scale) != scale:
        raise RFDNError(f'{checkpoint.path}: {name} is of x{arguments[scale_key]}: correct scale {scale} or weights.')
    return arguments


def registered_network(checkpoint: Checkpoint, name: str, arguments: Mapping[str, Any], scale: int) -> SizedNetwork:
    """A network of BasicSR's registry with its weights, in eval mode, at any input size.

    Raises:
        RFDNError: It cannot be built with these arguments, or the weights are another network's.
    """
    try:
        network = registered('ARCH', name)(**arguments)
    except Exception as error:  # another package's constructor
        raise RFDNError(f'{name} cannot be built ({error}): give what it takes under `arguments`.') from error
    state, _ = starting_state(network, checkpoint, strict=True, resample=False)
    network.load_state_dict(state, strict=True)
    check_finite(checkpoint)
    channels = arguments.get('num_in_ch', arguments.get('in_chans', input_channels(network)))
    multiple = _needed_multiple(network.eval(), name, channels, scale)
    return SizedNetwork(network, scale, channels, multiple=multiple)


_MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 6, 7, 12, 24)


def _needed_multiple(network: nn.Module, name: str, channels: int, scale: int) -> int:
    """Of what number the sides of an input must be multiples (the window of an attention, a pixel unshuffle): by trial.

    Raises:
        RFDNError: It runs at none of those that are usual, or enlarges by another factor.
    """
    problems = []
    for multiple in _MULTIPLES:
        height, width = (17, 19) if multiple == 1 else (3 * multiple, 5 * multiple)
        try:
            with torch.inference_mode():
                shape = network(torch.full((1, channels, height, width), 0.5)).shape
        except Exception as error:  # another package's network
            problems.append(first_line(error))
            continue
        if shape[-2:] != (height * scale, width * scale):
            raise RFDNError(
                f'{name} enlarges {width}x{height} to {shape[-1]}x{shape[-2]}, not x{scale}: correct scale.'
            )
        return multiple
    raise RFDNError(f'{name} runs at no input size that was tried: {problems[0]}.')


# --- spandrel ------------------------------------------------------------------------------------------------------
def spandrel_network(checkpoint: Checkpoint) -> tuple[str, SizedNetwork]:
    """The architecture and network of a file that spandrel recognises, in eval mode, at any input size.

    The weights are read by our own reader, which executes nothing; spandrel gets tensors.

    Raises:
        RFDNError: spandrel is not installed, recognises no network, or one that does not enlarge single images.
    """
    try:
        import spandrel
    except ImportError as error:
        raise RFDNError('an entry of `type: spandrel` needs it: pip install "rfdn-plugin[spandrel]".') from error
    from rfdn_plugin import spandrel as ours

    ours.install()
    try:
        model = spandrel.ModelLoader(device='cpu').load_from_state_dict(dict(checkpoint.tensors))
    except Exception as error:  # spandrel's own classes, and whatever an architecture raises
        reason = first_line(error)
        raise RFDNError(f'{checkpoint.path}: spandrel recognises no network in it ({reason}).') from error
    if not isinstance(model, spandrel.ImageModelDescriptor) or model.input_channels not in (1, 3):
        raise RFDNError(f'{checkpoint.path}: {model.architecture.name} does not enlarge single colour images.')
    needs = model.size_requirements
    name = model.architecture.id
    network = _FirstOutput(model.model)
    check_finite(checkpoint)
    sized = SizedNetwork(network, model.scale, model.input_channels, max(needs.minimum, 1), max(needs.multiple_of, 1))
    return name, sized.eval()


class _FirstOutput(nn.Module):
    """A model of spandrel that gives one tensor, whatever its architecture gives beside it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        output = self.model(x)
        return output[0] if isinstance(output, tuple | list) else output
