"""Losses beside BasicSR's own (L1Loss, MSELoss, CharbonnierLoss, PerceptualLoss, ...), in its registry."""

from __future__ import annotations

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from rfdn_plugin import compat


class FFTLoss(nn.Module):
    """The mean distance between the spectra of two images: of the real and the imaginary part of every frequency.

    Against blur, added with a small weight to a loss on pixels: SAFMN (Sun et al., ICCV 2023, arXiv 2302.13800, section
    3.3) takes L1 on pixels plus 0.05 times this. The transform is not scaled, so its values grow with the patch.

    Args:
        loss_weight: Factor of the result.

    Shapes: prediction and target N x C x H x W; the result is a scalar.
    """

    def __init__(self, *, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        # The transform is linear: one of the difference instead of a difference of two.
        spectrum = torch.fft.rfft2((prediction - target).float())
        return self.loss_weight * torch.view_as_real(spectrum).abs().mean()


compat.register(LOSS_REGISTRY, FFTLoss)
