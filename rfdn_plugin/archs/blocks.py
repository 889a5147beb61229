"""Blocks that more than one network uses, with the names of their official implementations' weights.

Shapes are N x C x H x W throughout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_plugin.utils.kernels import cubic


def conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """A convolution with stride 1 that keeps height and width by zero padding."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)


NEGATIVE_SLOPE = 0.05
"""Slope below zero of every LeakyReLU of IDN, IMDN and RFDN; the activations inside ESA are plain ReLUs."""


def leaky_relu(x: Tensor) -> Tensor:
    """LeakyReLU that overwrites `x`, which must be a fresh result that its own gradient does not need again.

    The output of a convolution or of a sum is such a result. The backward pass then keeps one tensor instead of two:
    half the memory of a training step.
    """
    return F.leaky_relu(x, NEGATIVE_SLOPE, inplace=True)


def activate_and_join(branches: list[Tensor]) -> Tensor:
    """The outputs of several convolutions, each N x C x H x W, activated and joined to one N x (sum of C) x H x W.

    They are overwritten, as by `leaky_relu`.
    In a training they are joined first. The backward pass of one activation reads a whole tensor, those of many would
    read slices of it, which takes several times as long, and would each keep their own. Without gradients each is
    activated first: runtimes compute an activation together with the convolution before it. The values are the same.
    """
    if any(branch.requires_grad for branch in branches):
        return leaky_relu(torch.cat(branches, dim=1))
    return torch.cat([leaky_relu(branch) for branch in branches], dim=1)


def spatial_mean(x: Tensor) -> Tensor:
    """The mean over height and width, N x C x 1 x 1.

    In a training it is a sum and a division, which is what `mean` computes too: in fp32 to the last bit. The gradient of
    `mean` is a tensor as large as `x` that lost its memory format; that of a sum is not written out at all. In fp16 the
    sum could exceed the largest number.
    """
    if x.requires_grad and x.dtype != torch.float16:
        return x.sum(dim=(2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
    return x.mean(dim=(2, 3), keepdim=True)


class ESA(nn.Module):
    """Enhanced spatial attention: a gate for every pixel and channel from a wide, cheap receptive field.

    Source: RFANet (Liu et al., CVPR 2020, section 3.3); used by the AIM 2020 winner E-RFDN (arXiv 2009.11551,
    section 4.5). A strided convolution and a 7x7 max-pooling with stride 3 widen the field; the result is brought back
    by bilinear interpolation.

    Args:
        num_feat: Channels of the input.
        num_reduced: Channels inside; the official networks take `num_feat // 4`.

    Shapes: N x num_feat x H x W to the same. H and W are at least `ESA.MINIMUM_SIZE`.
    """

    MINIMUM_SIZE = 15
    """The strided 3x3 convolution and the 7x7 pooling, both unpadded, need 15 pixels: (15 - 3) / 2 + 1 = 7."""

    def __init__(self, num_feat: int, num_reduced: int) -> None:
        super().__init__()
        self.conv1 = conv(num_feat, num_reduced, 1)
        self.conv_f = conv(num_reduced, num_reduced, 1)
        self.conv_max = conv(num_reduced, num_reduced, 3)
        self.conv2 = nn.Conv2d(num_reduced, num_reduced, 3, stride=2)
        self.conv3 = conv(num_reduced, num_reduced, 3)
        self.conv3_ = conv(num_reduced, num_reduced, 3)
        self.conv4 = conv(num_reduced, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.conv1(x)
        wide = F.max_pool2d(self.conv2(reduced), kernel_size=7, stride=3)
        wide = F.relu(self.conv_max(wide))
        wide = F.relu(self.conv3(wide))
        wide = self.conv3_(wide)
        wide = F.interpolate(wide, size=x.shape[-2:], mode='bilinear', align_corners=False)
        return x * torch.sigmoid(self.conv4(wide + self.conv_f(reduced)))


class CCA(nn.Module):
    """Contrast-aware channel attention: a gate for every channel from its standard deviation plus its mean.

    Source: IMDN (Hui et al., ACM MM 2019, arXiv 1909.11856, section 3.2, figure 3).

    Args:
        num_feat: Channels of the input.
        reduction: The inner width is `num_feat // reduction`.

    Shapes: N x num_feat x H x W to the same, for any size.
    """

    SMALLEST_VARIANCE = 1e-10
    """Below it the square root's slope is cut to zero: a constant channel would otherwise give NaN gradients."""

    def __init__(self, num_feat: int, reduction: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            conv(num_feat, num_feat // reduction, 1),
            nn.ReLU(inplace=True),
            conv(num_feat // reduction, num_feat, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = spatial_mean(x)
        variance = spatial_mean((x - mean).square())
        contrast = variance.clamp(min=self.SMALLEST_VARIANCE).sqrt()
        return x * self.conv_du(contrast + mean)


def pixel_shuffle_upsampler(num_feat: int, num_out_ch: int, upscale: int) -> nn.Sequential:
    """A 3x3 convolution to `upscale**2` phases a colour, and the shuffle that interleaves them.

    The only part of these networks whose shapes depend on the scale; its weights are `0.weight` and `0.bias`.
    """
    return nn.Sequential(conv(num_feat, num_out_ch * upscale**2, 3), nn.PixelShuffle(upscale))


def pad_to_minimum(x: Tensor, minimum: int) -> Tensor:
    """`x` itself where both sides have `minimum` pixels, else extended to it below and to the right.

    By reflection where the image is large enough to be mirrored, by repeating its edge where it is not.
    """
    height, width = x.shape[-2:]
    bottom, right = max(minimum - height, 0), max(minimum - width, 0)
    if not bottom and not right:
        return x
    mode = 'reflect' if bottom < height and right < width else 'replicate'
    return F.pad(x, (0, right, 0, bottom), mode=mode)


def start_as_interpolation(
    head: nn.Conv2d, tail: nn.Conv2d, upsampler: nn.Sequential, num_in_ch: int, upscale: int
) -> None:
    """Set weights so that the untrained network is nearly a bilinear interpolation of its input, and still trains.

    A network without a bicubic skip begins far below bicubic and needs thousands of iterations to reach it. Here the
    first `num_in_ch` features are the colours themselves, carried by the head and the long skip; the upsampler reads
    its phases from them with bilinear taps, and everything else that it reads or adds to them starts small. Ours, not
    the paper's.

    Args:
        head: The first convolution, whose output the long skip adds to the tail's.
        tail: The convolution at the end of the body.
        upsampler: The 3x3 convolution and the pixel shuffle; see `pixel_shuffle_upsampler`.
        num_in_ch: Colours; as many come out.
        upscale: The scale factor.

    Raises:
        ValueError: Other colours come out than go in.
    """
    phases = upsampler[0]
    assert isinstance(phases, nn.Conv2d)
    if phases.out_channels != num_in_ch * upscale**2:
        raise ValueError('interpolation_start needs num_in_ch equal to num_out_ch.')
    small = 0.1
    with torch.no_grad():
        for layer in (head, tail):
            _bias(layer)[:num_in_ch].zero_()
        head.weight[:num_in_ch].zero_()
        tail.weight[:num_in_ch] *= small
        phases.weight *= small
        _bias(phases).zero_()
        for colour in range(num_in_ch):
            head.weight[colour, colour, 1, 1] = 1
            first = colour * upscale**2
            phases.weight[first : first + upscale**2, colour] = bilinear_phases(upscale)


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None  # every convolution here has one
    return layer.bias


def bilinear_phases(upscale: int) -> Tensor:
    """The taps of bilinear interpolation: upscale**2 x 3 x 3, each summing to 1, in the order of `nn.PixelShuffle`."""
    centres = (torch.arange(upscale) + 0.5) / upscale - 0.5  # of the phases, in LR pixels from the middle tap
    taps = torch.arange(-1, 2)
    one_axis = (1 - (centres[:, None] - taps[None, :]).abs()).clamp_min(0)
    return torch.einsum('iy,jx->ijyx', one_axis, one_axis).reshape(upscale**2, 3, 3)


def cubic_phases(upscale: int) -> Tensor:
    """The taps of bicubic interpolation (a = -0.5, MATLAB's): upscale**2 x 1 x 5 x 5, in `nn.PixelShuffle`'s order."""
    centres = (torch.arange(upscale) + 0.5) / upscale - 0.5
    taps = torch.arange(-2, 3)
    one_axis = cubic(centres[:, None] - taps[None, :])
    return torch.einsum('iy,jx->ijyx', one_axis, one_axis).reshape(upscale**2, 1, 5, 5)


def check_upscale(upscale: int) -> None:
    """Raise ValueError unless `upscale` is a whole number from 1 up."""
    if not isinstance(upscale, int) or upscale < 1:
        raise ValueError(f'upscale is {upscale!r}: it must be a whole number, 1 or more.')
