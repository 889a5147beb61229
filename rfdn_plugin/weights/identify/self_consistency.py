"""A quick trial of weights in a candidate network, for what names and shapes do not show."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from rfdn_plugin.archs.network import UpscalingNetwork

SIDE = 48


def self_consistency_psnr(network: UpscalingNetwork, tensors: Mapping[str, Tensor]) -> float:
    """How well a network's output, shrunk back, agrees with its input on a smooth test pattern, in dB (PSNR).

    Any trained super-resolution network agrees at 40 dB and more. Seen on public weights: a wrong input range costs 13
    dB and more, a wrong identity around the blocks 17 and more; a dilation or the identity inside SRB does not show.

    Args:
        network: Built for the candidate; the weights are loaded into it.
        tensors: Its state dict.
    """
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    channels = next(network.parameters()).shape[1]
    pattern = _pattern() if channels == 3 else _pattern().mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    with torch.no_grad():
        output = network.eval()(pattern)
    error = (F.avg_pool2d(output, network.upscale) - pattern).double().square().mean()
    return float(-10 * torch.log10(error.clamp_min(1e-20)))


def _pattern() -> Tensor:
    """Ramps, a slow wave and a disc in RGB: 1 x 3 x SIDE x SIDE, 0..1."""
    y, x = torch.meshgrid(torch.arange(SIDE) / SIDE, torch.arange(SIDE) / SIDE, indexing='ij')
    disc = ((x - 0.5).square() + (y - 0.45).square() < 0.08).float()
    colours = torch.stack([0.2 + 0.6 * x, 0.75 - 0.5 * x * y, 0.3 + 0.2 * torch.sin(9 * x + 5 * y)])
    return (colours * (1 - 0.4 * disc))[None]
