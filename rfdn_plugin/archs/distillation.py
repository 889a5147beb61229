"""The frame that IMDN and RFDN share; they differ in their blocks alone.

Head, a chain of blocks, a 1x1 fusion of the outputs of all blocks, a 3x3 convolution, a long skip from the head, and a
pixel shuffle. The names of the weights are those of both official implementations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rfdn_plugin.archs.blocks import (
    NEGATIVE_SLOPE,
    check_upscale,
    conv,
    pad_to_minimum,
    pixel_shuffle_upsampler,
    start_as_interpolation,
)
from rfdn_plugin.archs.network import UpscalingNetwork


class DistillationNetwork(UpscalingNetwork):
    """Head, chained distillation blocks, fusion of all of them, long skip, pixel shuffle.

    Args:
        prefix: Name of a block among the weights before its number: `B` for `B1` to `B{num_block}`.
        make_block: Called once for each block; N x num_feat x H x W to the same.
        num_in_ch: Channels of the input.
        num_out_ch: Channels of the output.
        num_feat: Width of the body.
        num_block: Number of blocks, from 1.
        upscale: Scale factor, from 1.
        img_range: The body works on values from 0 to `img_range`; outside they are from 0 to 1.
        interpolation_start: Start as a bilinear interpolation; see `blocks.start_as_interpolation`.
        minimum_size: Pixels that a side of the input needs; a smaller input is extended and the output cropped.

    Shapes: N x num_in_ch x H x W, 0..1, to N x num_out_ch x (upscale H) x (upscale W), not clamped; any size from 1 x 1.

    Raises:
        ValueError: `upscale` is no whole number from 1, or `interpolation_start` with other colours out than in.
    """

    def __init__(
        self,
        prefix: str,
        make_block: Callable[[], nn.Module],
        *,
        num_in_ch: int,
        num_out_ch: int,
        num_feat: int,
        num_block: int,
        upscale: int,
        img_range: float,
        interpolation_start: bool,
        minimum_size: int = 1,
    ) -> None:
        super().__init__()
        check_upscale(upscale)
        self.upscale = upscale
        self.img_range = img_range
        self.minimum_size = minimum_size
        self.fea_conv = conv(num_in_ch, num_feat, 3)
        self.blocks = [f'{prefix}{number}' for number in range(1, num_block + 1)]
        for name in self.blocks:
            self.add_module(name, make_block())
        self.c = nn.Sequential(conv(num_feat * num_block, num_feat, 1), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))
        self.LR_conv = conv(num_feat, num_feat, 3)
        self.upsampler = pixel_shuffle_upsampler(num_feat, num_out_ch, upscale)
        if interpolation_start:
            start_as_interpolation(self.fea_conv, self.LR_conv, self.upsampler, num_in_ch, upscale)

    def forward_features(self, x: Tensor) -> Tensor:
        """Features that the upsampler reads: N x num_in_ch x H x W, 0..1, to N x num_feat x H x W. H, W from `minimum_size`."""
        head = self.fea_conv(x * self.img_range)
        features, outputs = head, []
        for name in self.blocks:
            features = getattr(self, name)(features)
            outputs.append(features)
        return self.LR_conv(self.c(torch.cat(outputs, dim=1))) + head

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        padded = pad_to_minimum(x, self.minimum_size)
        out = self.upsampler(self.forward_features(padded)) / self.img_range
        return out if padded is x else out[..., : height * self.upscale, : width * self.upscale]
