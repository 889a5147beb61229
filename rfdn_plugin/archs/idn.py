"""IDN, the information distillation network of 2018, from which IMDN and RFDN descend.

Paper: Z. Hui, X. Wang, X. Gao, "Fast and Accurate Single Image Super-Resolution via Information Distillation
Network", CVPR 2018, arXiv 1803.09454. Every layer below was read from the official Caffe files (Zheng222/IDN-Caffe):
widths, groups, slice points, slopes, strides and the alignment of the deconvolution to the image. It works on
brightness alone (Y of BT.601) with values from 0 to 1, and adds its output to the bicubic enlargement.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_plugin.archs.blocks import check_upscale, conv, cubic_phases, leaky_relu
from rfdn_plugin.archs.network import UpscalingNetwork


class DBlock(nn.Module):
    """Information distillation block (paper section 3.2, figure 2): enhancement unit and compression unit.

    Three convolutions (the middle one in 4 groups) give features of which a quarter is kept beside the input; three
    more refine the rest, the kept ones are added, and a 1x1 convolution compresses.

    Args:
        num_feat: Channels in and out, a multiple of 16; the official network has 64.

    Shapes: N x num_feat x H x W to the same.
    """

    GROUPS = 4

    def __init__(self, *, num_feat: int) -> None:
        super().__init__()
        step = num_feat // 4  # the paper's d: the widths fall and rise by it
        self.num_kept = step
        self.conv1 = conv(num_feat, num_feat - step, 3)
        self.conv2 = nn.Conv2d(num_feat - step, num_feat - 2 * step, 3, padding=1, groups=self.GROUPS)
        self.conv3 = conv(num_feat - 2 * step, num_feat, 3)
        self.conv4 = conv(num_feat - step, num_feat, 3)
        self.conv5 = nn.Conv2d(num_feat, num_feat - step, 3, padding=1, groups=self.GROUPS)
        self.conv6 = conv(num_feat - step, num_feat + step, 3)
        self.down = conv(num_feat + step, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for layer in (self.conv1, self.conv2, self.conv3):
            features = leaky_relu(layer(features))
        kept, features = features[:, : self.num_kept], features[:, self.num_kept :]
        for layer in (self.conv4, self.conv5, self.conv6):
            features = leaky_relu(layer(features))
        return leaky_relu(self.down(features + torch.cat((x, kept), dim=1)))


class IDN(UpscalingNetwork):
    """IDN: two convolutions, four distillation blocks, one 17x17 deconvolution, added to the bicubic enlargement.

    552,769 parameters at every scale: only the stride of the deconvolution depends on it.

    Args:
        num_in_ch: 1 for Y (the official weights), 3 for a network that sees the colours.
        num_out_ch: As many as `num_in_ch`.
        num_feat: Width of the body, a multiple of 16.
        num_block: Number of blocks, `block1` to `block{num_block}` among the weights.
        upscale: Scale factor, up to 8: the deconvolution must reach every pixel.
        img_range: The body works on values from 0 to `img_range`; outside they are from 0 to 1.

    Shapes: N x num_in_ch x H x W with values from 0 to 1 to N x num_out_ch x (upscale H) x (upscale W), not clamped.
    A network for Y also takes RGB, N x 3 x H x W: the brightness is enlarged by the network, the colours by bicubic
    interpolation. Any size from 1 x 1.

    Raises:
        ValueError: An argument outside the above; it names the argument.
    """

    KERNEL_SIZE = 17
    phases: Tensor
    RGB_TO_Y = (65.481 / 255, 128.553 / 255, 24.966 / 255)
    """Y of BT.601 (16..235 for 0..255) from RGB, both 0..1; the offset is `Y_OFFSET`."""
    Y_OFFSET = 16 / 255
    Y_TO_RGB = 255 / 219
    """What a step of Y adds to each of R, G and B where Cb and Cr stay."""

    def __init__(
        self,
        *,
        num_in_ch: int = 1,
        num_out_ch: int = 1,
        num_feat: int = 64,
        num_block: int = 4,
        upscale: int = 4,
        img_range: float = 1.0,
    ) -> None:
        super().__init__()
        check_upscale(upscale)
        if upscale > self.KERNEL_SIZE // 2:
            raise ValueError(
                f'upscale is {upscale}: the {self.KERNEL_SIZE}x{self.KERNEL_SIZE} deconvolution reaches 8.'
            )
        if num_in_ch != num_out_ch:
            raise ValueError(
                f'num_in_ch is {num_in_ch} and num_out_ch {num_out_ch}: the bicubic skip needs them equal.'
            )
        if num_feat % 16:
            raise ValueError(f'num_feat is {num_feat}: it must be a multiple of 16, for the groups of a quarter of it.')
        self.num_in_ch = num_in_ch
        self.upscale = upscale
        self.img_range = img_range
        self.conv1 = conv(num_in_ch, num_feat, 3)
        self.conv2 = conv(num_feat, num_feat, 3)
        self.blocks = [f'block{number}' for number in range(1, num_block + 1)]
        for name in self.blocks:
            self.add_module(name, DBlock(num_feat=num_feat))
        # Tap k of LR pixel i lies at HR pixel i * upscale + k - padding: this padding is the official alignment, which
        # leaves out the first upscale - 1 rows and columns of the image; here they are given too.
        padding = self.KERNEL_SIZE // 2 + 1 - upscale
        self.upsample = nn.ConvTranspose2d(num_feat, num_out_ch, self.KERNEL_SIZE, stride=upscale, padding=padding)
        self.register_buffer('phases', cubic_phases(upscale), persistent=False)

    def as_input(self, x: Tensor) -> Tensor:
        """`x` itself where it has the channels that the body reads, else the Y of RGB."""
        if x.shape[1] == self.num_in_ch:
            return x
        return (x * x.new_tensor(self.RGB_TO_Y).view(1, 3, 1, 1)).sum(dim=1, keepdim=True) + self.Y_OFFSET

    def forward_features(self, x: Tensor) -> Tensor:
        """Features that the deconvolution reads: N x num_in_ch (or RGB) x H x W, 0..1, to N x num_feat x H x W."""
        features = leaky_relu(self.conv2(leaky_relu(self.conv1(self.as_input(x) * self.img_range))))
        for name in self.blocks:
            features = getattr(self, name)(features)
        return features

    def skip(self, x: Tensor) -> Tensor:
        """The bicubic enlargement of each channel, to which the network's output is added (MATLAB's kernel)."""
        count, channels, height, width = x.shape
        padded = F.pad(x.reshape(count * channels, 1, height, width), (2, 2, 2, 2), mode='replicate')
        return F.pixel_shuffle(F.conv2d(padded, self.phases.to(x.dtype)), self.upscale).view(
            count, channels, height * self.upscale, width * self.upscale
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        detail = self.upsample(self.forward_features(x))[..., : height * self.upscale, : width * self.upscale]
        detail = detail / self.img_range
        return self.skip(x) + (detail if x.shape[1] == self.num_in_ch else self.Y_TO_RGB * detail)
