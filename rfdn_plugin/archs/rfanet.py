"""RFANet, the residual feature aggregation network that enhanced spatial attention comes from.

Paper: J. Liu, W. Zhang, Y. Tang, J. Tang, G. Wu, "Residual Feature Aggregation Network for Image Super-Resolution",
CVPR 2020. No weights and no whole code are public: the authors' repository (njulj/RFANet) holds the attention block
alone, and that as a draft.

Certain: the attention block (section 3.3; the same as RFDN's), four residual blocks to a module whose features are
concatenated and fused by a 1x1 convolution (section 3.2), 30 modules of 64 channels, and about 11 million parameters.
Not certain: where the attention stands inside a residual block (here after its second convolution, before the sum),
and that head, tail and upsampler are EDSR's. With them the count is 11,093,635 at x4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_plugin.archs.blocks import ESA, check_upscale, conv, pad_to_minimum
from rfdn_plugin.archs.network import UpscalingNetwork


class AttentiveResidualBlock(nn.Module):
    """Two 3x3 convolutions with a ReLU between, then ESA: the residual without its identity (paper figure 3).

    Shapes: N x num_feat x H x W to the same, H and W from 15 pixels.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = conv(num_feat, num_feat, 3)
        self.conv2 = conv(num_feat, num_feat, 3)
        self.esa = ESA(num_feat, num_feat // 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.esa(self.conv2(F.relu(self.conv1(x), inplace=True)))


class RFA(nn.Module):
    """Residual feature aggregation (paper section 3.2, figure 2b): the residuals of all blocks meet in one fusion.

    Three blocks are followed by their identities; the fourth gives its residual alone. The four residuals are
    concatenated, fused by a 1x1 convolution and added to the module's input.

    Shapes: N x num_feat x H x W to the same, H and W from 15 pixels.
    """

    NUM_RESIDUALS = 4

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AttentiveResidualBlock(num_feat) for _ in range(self.NUM_RESIDUALS))
        self.fuse = conv(self.NUM_RESIDUALS * num_feat, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        features, residuals = x, []
        for block in self.blocks:
            residual = block(features)
            residuals.append(residual)
            features = features + residual
        return self.fuse(torch.cat(residuals, dim=1)) + x


class RFANet(UpscalingNetwork):
    """RFANet (paper section 3.1): head, a long chain of RFA modules with a long skip, EDSR's upsampler.

    10,945,923 / 11,130,563 / 11,093,635 parameters at x2 / x3 / x4.

    Args:
        num_in_ch: Channels of the input.
        num_out_ch: Channels of the output.
        num_feat: Width of the body.
        num_block: Number of RFA modules.
        upscale: Scale factor; a power of two is reached in steps of 2, as in EDSR.
        img_range: The body works on values from 0 to `img_range`; outside they are from 0 to 1.

    Shapes: N x num_in_ch x H x W with values from 0 to 1, RGB, to N x num_out_ch x (upscale H) x (upscale W), not
    clamped. Any size from 1 x 1: below ESA's 15 pixels the input is extended and the output cropped.

    Raises:
        ValueError: An argument outside the above; it names the argument.
    """

    minimum_size = ESA.MINIMUM_SIZE

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 30,
        upscale: int = 4,
        img_range: float = 1.0,
    ) -> None:
        super().__init__()
        check_upscale(upscale)
        self.upscale = upscale
        self.img_range = img_range
        self.head = conv(num_in_ch, num_feat, 3)
        self.body = nn.ModuleList(RFA(num_feat) for _ in range(num_block))
        self.body_end = conv(num_feat, num_feat, 3)
        # Keys `upsampler.0`, `upsampler.2`: one convolution and shuffle a step.
        layers: list[nn.Module] = []
        for step in upsampling_steps(upscale):
            layers += [conv(num_feat, num_feat * step**2, 3), nn.PixelShuffle(step)]
        self.upsampler = nn.Sequential(*layers)
        self.tail = conv(num_feat, num_out_ch, 3)

    def forward_features(self, x: Tensor) -> Tensor:
        """Features that the upsampler reads: N x num_in_ch x H x W, 0..1, to N x num_feat x H x W. H, W from 15."""
        head = self.head(x * self.img_range)
        features = head
        for module in self.body:
            features = module(features)
        return self.body_end(features) + head

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        padded = pad_to_minimum(x, self.minimum_size)
        out = self.tail(self.upsampler(self.forward_features(padded))) / self.img_range
        return out if padded is x else out[..., : height * self.upscale, : width * self.upscale]


def upsampling_steps(upscale: int) -> list[int]:
    """The scale factors of EDSR's upsampler: twos for a power of two, else the scale itself; none for 1."""
    if upscale & (upscale - 1) == 0:
        return [2] * (upscale.bit_length() - 1)
    return [upscale]
