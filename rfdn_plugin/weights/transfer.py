"""Weights for another scale: only the upsampler depends on it.

The r x r phases of the upsampler's 3x3 convolution are samples of one continuous kernel, taken at (centre of the
phase) - (centre of the tap). Over the three taps of an axis these positions are 3r points with equal steps across
[-1.5, 1.5] LR pixels, so the kernel is a picture of 3r x 3r pixels, and the kernel for another scale is that picture
resized.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from rfdn_plugin.errors import RFDNError


def upsampler_scale(weight: Tensor, num_out_ch: int) -> int:
    """The scale of an upsampler convolution with weights (num_out_ch * scale**2) x num_feat x 3 x 3."""
    scale = math.isqrt(weight.shape[0] // num_out_ch)
    if scale**2 * num_out_ch != weight.shape[0]:
        raise RFDNError(f'an upsampler with {weight.shape[0]} channels fits no scale at {num_out_ch} colours.')
    return scale


def resample_upsampler(weight: Tensor, bias: Tensor, scale: int, num_out_ch: int = 3) -> tuple[Tensor, Tensor]:
    """The upsampler convolution for another scale, by resampling its kernel.

    Measured on Set5 (PSNR-Y) without training: RFDN_AIM x4 to x2 37.74 dB, to x3 34.30 with linear interpolation;
    IMDN x2 to x3 33.12, to x4 30.85 with cubic. So linear is used towards a smaller scale, cubic towards a larger.

    Args:
        weight: (num_out_ch * r**2) x num_feat x 3 x 3.
        bias: num_out_ch * r**2.
        scale: The wanted scale.
        num_out_ch: Colours.

    Returns:
        Weight and bias for `num_out_ch * scale**2` channels, in the type of `weight`.

    Raises:
        RFDNError: The number of channels fits no scale, or the kernel is not 3x3.
    """
    if weight.dim() != 4 or tuple(weight.shape[-2:]) != (3, 3):
        raise RFDNError(f'an upsampler with a kernel of {tuple(weight.shape[2:])} cannot be resampled: it must be 3x3.')
    old = upsampler_scale(weight, num_out_ch)
    if old == scale:
        return weight.clone(), bias.clone()
    mode = 'bilinear' if scale < old else 'bicubic'
    kernel = F.interpolate(
        _as_kernel(weight.double(), old), size=(3 * scale, 3 * scale), mode=mode, align_corners=False
    )
    colours = bias.double().reshape(num_out_ch, old**2).mean(dim=1)
    return (
        _as_phases(kernel, scale).to(weight.dtype),
        colours.repeat_interleave(scale**2).to(bias.dtype),
    )


def _as_kernel(weight: Tensor, scale: int) -> Tensor:
    """Phases to kernel: (C r r) x F x 3 x 3 to C x F x 3r x 3r.

    The position of phase i at tap t is (i + 0.5) / r - 0.5 - t with t in -1, 0, 1: it grows with the phase and falls
    with the tap, so the taps are reversed before the two are interleaved.
    """
    colours, features = weight.shape[0] // scale**2, weight.shape[1]
    phases = weight.reshape(colours, scale, scale, features, 3, 3).flip(-1, -2)
    return phases.permute(0, 3, 4, 1, 5, 2).reshape(colours, features, 3 * scale, 3 * scale)


def _as_phases(kernel: Tensor, scale: int) -> Tensor:
    colours, features = kernel.shape[:2]
    taps = kernel.reshape(colours, features, 3, scale, 3, scale).permute(0, 3, 5, 1, 2, 4).flip(-1, -2)
    return taps.reshape(colours * scale**2, features, 3, 3).contiguous()


def resample_state(state: dict[str, Tensor], target: dict[str, Tensor], num_out_ch: int = 3) -> dict[str, Tensor]:
    """`state` with its upsampler resampled to the shapes of `target`, the state dict of a network at another scale."""
    scale = upsampler_scale(target['upsampler.0.weight'], num_out_ch)
    weight, bias = resample_upsampler(state['upsampler.0.weight'], state['upsampler.0.bias'], scale, num_out_ch)
    return {**state, 'upsampler.0.weight': weight, 'upsampler.0.bias': bias}
