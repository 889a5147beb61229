"""What every network of this package offers beside being a torch module."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class UpscalingNetwork(nn.Module, ABC):
    """A network that enlarges images, with the attributes that the rest of the package relies on.

    Attributes:
        upscale: Scale factor.
        img_range: The body works on values from 0 to `img_range`; outside they are from 0 to 1.
        minimum_size: Pixels that a side must have for `forward_features`; `forward` extends smaller images itself.
    """

    upscale: int
    img_range: float
    minimum_size: int = 1

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Features that the upsampler reads: N x num_in_ch x H x W, 0..1, to N x num_feat x H x W."""
