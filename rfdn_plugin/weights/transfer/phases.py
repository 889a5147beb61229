"""The last, linear stage of every network here as one thing: the phases.

Whatever its layers, an upsampler gives the `upscale**2` HR pixels of an LR pixel as weighted sums of the features
around that pixel. Those weights are its phases: (colours * upscale**2) x features x taps x taps, in the order of
`nn.PixelShuffle`, tap (0, 0) being the upper left neighbour. They are what transfer resamples and fits.

* RFDN, IMDN: the convolution before the pixel shuffle is the phases.
* IDN: its deconvolution holds them interleaved.

RFANet's upsampler is a chain of convolutions, with no public weights to start from: it is refused.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_plugin.archs.idn import IDN
from rfdn_plugin.archs.network import UpscalingNetwork
from rfdn_plugin.archs.rfanet import RFANet
from rfdn_plugin.utils.errors import RFDNError


class Phases(NamedTuple):
    """An upsampler's weights, (colours * upscale**2) x features x taps x taps with an odd number of taps, and bias."""

    weight: Tensor
    bias: Tensor


def read_phases(network: UpscalingNetwork) -> Phases:
    """The phases of a network of this package, in 64-bit floats, for values on the scale of its body (`img_range`)."""
    with torch.no_grad():
        if isinstance(network, IDN):
            return _read_deconvolution(network)
        convolution = _one_convolution(network)
        return Phases(convolution.weight.double(), _bias(convolution).double())


def write_phases(network: UpscalingNetwork, phases: Phases) -> None:
    """Set a network's upsampler so that it computes `phases`.

    Taps outside the reach of its layers are added to the outermost ones, which keeps each phase's sum.

    Raises:
        RFDNError: The number of phases is not that of the network's scale and colours.
    """
    with torch.no_grad():
        if isinstance(network, IDN):
            _write_deconvolution(network, phases)
        else:
            _set(_one_convolution(network), _with_taps(phases, 3))


def has_phases(network: UpscalingNetwork) -> bool:
    """Whether the last stage of a network of this package can be read and written as phases."""
    return not isinstance(network, RFANet)


def _one_convolution(network: UpscalingNetwork) -> nn.Conv2d:
    if not has_phases(network):
        raise RFDNError(
            f'the upsampler of {type(network).__name__} is a chain of convolutions, which cannot be moved to another '
            'scale: fine-tune from its weights with train.upsampler_start: random.'
        )
    upsampler = network.upsampler
    assert isinstance(upsampler, nn.Sequential) and isinstance(upsampler[0], nn.Conv2d)
    return upsampler[0]


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert layer.bias is not None  # every upsampler here has one
    return layer.bias


def _set(convolution: nn.Conv2d, phases: Phases) -> None:
    if convolution.weight.shape != phases.weight.shape:
        raise RFDNError(
            f'phases of shape {tuple(phases.weight.shape)} do not fit an upsampler of {tuple(convolution.weight.shape)}.'
        )
    convolution.weight.copy_(phases.weight)
    _bias(convolution).copy_(phases.bias)


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
    place = phase - tap * network.upscale + int(network.upsample.padding[0])
    return place.where((place >= 0) & (place < network.KERNEL_SIZE), torch.tensor(-1))


def _read_deconvolution(network: IDN) -> Phases:
    kernel = F.pad(network.upsample.weight.double(), (0, 1, 0, 1))  # place -1 reads the zeros at the end
    place = _taps_of_deconvolution(network)
    rows, columns = place[:, None, :, None], place[None, :, None, :]
    weight = kernel[:, :, rows, columns]  # features, colours, phase row, phase column, tap row, tap column
    weight = weight.permute(1, 2, 3, 0, 4, 5).reshape(-1, kernel.shape[0], 9, 9)
    return Phases(weight, _bias(network.upsample).double().repeat_interleave(network.upscale**2))


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
    _bias(layer).copy_(phases.bias.reshape(colours, scale**2).mean(dim=1))
