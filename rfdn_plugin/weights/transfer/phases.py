"""The last, linear stage of every network here as one thing: the phases.

Whatever its layers, an upsampler gives the `upscale**2` HR pixels of an LR pixel as weighted sums of the features
around that pixel. Those weights are its phases: (colours * upscale**2) x features x taps x taps, in the order of
`nn.PixelShuffle`, tap (0, 0) being the upper left neighbour. They are what transfer resamples and fits.

* RFDN, IMDN: the convolution before the pixel shuffle is the phases.
* IDN: its deconvolution holds them interleaved.
* RFANet: they are the product of its upsampling convolutions and its tail, which have nothing but shuffles between.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_plugin.archs.idn import IDN
from rfdn_plugin.archs.rfanet import RFANet, upsampling_steps
from rfdn_plugin.utils.errors import RFDNError


class Phases(NamedTuple):
    """An upsampler's weights, (colours * upscale**2) x features x taps x taps with an odd number of taps, and bias."""

    weight: Tensor
    bias: Tensor


def read_phases(network: nn.Module) -> Phases:
    """The phases of a network of this package, in 64-bit floats, for values on the scale of its body (`img_range`)."""
    with torch.no_grad():
        if isinstance(network, IDN):
            return _read_deconvolution(network)
        if isinstance(network, RFANet):
            return _read_chain(network)
        convolution = network.upsampler[0]
        return Phases(convolution.weight.double(), convolution.bias.double())


def write_phases(network: nn.Module, phases: Phases) -> None:
    """Set a network's upsampler so that it computes `phases`.

    Taps outside the reach of its layers are added to the outermost ones, which keeps each phase's sum.

    Raises:
        RFDNError: The number of phases is not that of the network's scale and colours.
    """
    with torch.no_grad():
        if isinstance(network, IDN):
            _write_deconvolution(network, phases)
        elif isinstance(network, RFANet):
            _write_chain(network, _with_taps(phases, 3))
        else:
            _set(network.upsampler[0], _with_taps(phases, 3))


def _set(convolution: nn.Module, phases: Phases) -> None:
    if convolution.weight.shape != phases.weight.shape:
        raise RFDNError(
            f'phases of shape {tuple(phases.weight.shape)} do not fit an upsampler of {tuple(convolution.weight.shape)}.'
        )
    convolution.weight.copy_(phases.weight)
    convolution.bias.copy_(phases.bias)


def _with_taps(phases: Phases, taps: int) -> Phases:
    """The same phases on `taps` x `taps`: padded by zeros, or the outer taps added to the outermost that remain."""
    weight = phases.weight
    surplus = (weight.shape[-1] - taps) // 2
    if surplus < 0:
        return Phases(F.pad(weight, (-surplus,) * 4), phases.bias)
    for dim in (-2, -1):
        if surplus:
            size = weight.shape[dim]
            kept = weight.narrow(dim, surplus, taps).clone()
            kept.select(dim, 0).add_(weight.narrow(dim, 0, surplus).sum(dim))
            kept.select(dim, taps - 1).add_(weight.narrow(dim, size - surplus, surplus).sum(dim))
            weight = kept
    return Phases(weight, phases.bias)


# --- IDN -----------------------------------------------------------------------------------------------------------
def _taps_of_deconvolution(network: IDN) -> Tensor:
    """For each phase and each of 9 taps of an axis the place in the kernel, or -1 outside it: upscale x 9.

    LR pixel i lays kernel place k on HR pixel i * upscale + k - padding; phase a of LR pixel y reads LR pixel y + t
    where a = t * upscale + k - padding.
    """
    phase = torch.arange(network.upscale)[:, None]
    tap = torch.arange(-4, 5)[None, :]
    place = phase - tap * network.upscale + network.upsample.padding[0]
    return place.where((place >= 0) & (place < network.KERNEL_SIZE), torch.tensor(-1))


def _read_deconvolution(network: IDN) -> Phases:
    kernel = F.pad(network.upsample.weight.double(), (0, 1, 0, 1))  # place -1 reads the zeros at the end
    place = _taps_of_deconvolution(network)
    rows, columns = place[:, None, :, None], place[None, :, None, :]
    weight = kernel[:, :, rows, columns]  # features, colours, phase row, phase column, tap row, tap column
    weight = weight.permute(1, 2, 3, 0, 4, 5).reshape(-1, kernel.shape[0], 9, 9)
    return Phases(weight, network.upsample.bias.double().repeat_interleave(network.upscale**2))


def _write_deconvolution(network: IDN, phases: Phases) -> None:
    layer, scale, size = network.upsample, network.upscale, network.KERNEL_SIZE
    features, colours = layer.weight.shape[:2]
    weight = _with_taps(phases, 9).weight
    if weight.shape[:2] != (colours * scale**2, features):
        raise RFDNError(f'phases of shape {tuple(phases.weight.shape)} do not fit a deconvolution of scale {scale}.')
    weight = weight.reshape(colours, scale, scale, features, 9, 9).permute(3, 0, 1, 2, 4, 5)
    place = _taps_of_deconvolution(network) % (size + 1)  # -1 writes to a border that is cut off
    kernel = weight.new_zeros(features, colours, size + 1, size + 1)
    kernel[:, :, place[:, None, :, None], place[None, :, None, :]] = weight
    layer.weight.copy_(kernel[:, :, :size, :size])
    layer.bias.copy_(phases.bias.reshape(colours, scale**2).mean(dim=1))


# --- RFANet --------------------------------------------------------------------------------------------------------
def _read_chain(network: RFANet) -> Phases:
    """Two convolutions and a tail reach two LR pixels far: their product is read off impulses, 5x5 taps."""
    features = network.tail.weight.shape[1]
    parameter = next(network.parameters())

    def respond(x: Tensor) -> Tensor:
        return F.pixel_unshuffle(network.tail(network.upsampler(x)), network.upscale)

    impulses = parameter.new_zeros(features, features, 9, 9)
    impulses[torch.arange(features), torch.arange(features), 4, 4] = 1
    bias = respond(parameter.new_zeros(1, features, 9, 9))[0, :, 4, 4]
    response = (respond(impulses) - bias[:, None, None])[..., 2:7, 2:7].flip(-1, -2)
    return Phases(response.transpose(0, 1).double(), bias.double())


def _write_chain(network: RFANet, phases: Phases) -> None:
    """The first convolution computes all phases as if they were features; the later ones and the tail pass them on.

    What the later layers read of the other features is set to zero; those features keep their weights, so that
    training can take them up.
    """
    colours, features = network.tail.weight.shape[:2]
    steps = upsampling_steps(network.upscale)
    weight, bias = phases
    if weight.shape[:2] != (colours * network.upscale**2, features):
        raise RFDNError(f'phases of shape {tuple(weight.shape)} do not fit an RFANet of scale {network.upscale}.')
    if not steps or colours * network.upscale**2 // steps[0] ** 2 > features:
        raise RFDNError(f'an RFANet of {features} features cannot hold the phases of scale {network.upscale}.')
    # Phase row = ((row1 * step2) + row2) * step3 + ...: the later steps' places become features of the earlier ones.
    axes = [colours, *steps, *steps]
    rows, columns = list(range(1, 1 + len(steps))), list(range(1 + len(steps), 1 + 2 * len(steps)))
    order = [0]
    for row, column in zip(rows[::-1], columns[::-1], strict=True):
        order += [row, column]
    weight = weight.reshape(*axes, features, 3, 3)
    weight = weight.permute(*order, *range(len(axes), len(axes) + 3)).reshape(-1, features, 3, 3)
    bias = bias.reshape(axes).permute(order).reshape(-1)
    first = network.upsampler[0]
    first.weight[: weight.shape[0]] = weight.to(first.weight.dtype)
    first.bias[: bias.shape[0]] = bias.to(first.bias.dtype)
    held = weight.shape[0] // steps[0] ** 2
    for index, step in enumerate(steps[1:], start=1):
        layer = network.upsampler[2 * index]
        layer.weight[:held] = 0
        layer.bias[:held] = 0
        layer.weight[torch.arange(held), torch.arange(held), 1, 1] = 1
        held //= step**2
    network.tail.weight.zero_()
    network.tail.bias.zero_()
    network.tail.weight[torch.arange(colours), torch.arange(colours), 1, 1] = 1
