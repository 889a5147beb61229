"""The layers of the inference form: packed convolutions, and attention that can be computed part by part.

Tensors are N x C x H x W in memory as N x H x W x C ('channels last'). On a CPU with oneDNN each convolution keeps its
weights in the order that the processor wants, with the activation inside. That is faster, and it has a second use: each
output value then depends on the input values under its kernel alone, bit for bit, however large the image around it is.
(Without packing the library takes other kernels for other sizes, which round differently.) `parts` relies on that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rfdn_plugin.archs.blocks import CCA, ESA, NEGATIVE_SLOPE


@dataclass(frozen=True)
class Region:
    """A rectangle of LR pixels: rows from `top` up to `bottom`, columns from `left` up to `right`."""

    top: int
    bottom: int
    left: int
    right: int

    def grown(self, by: int, height: int, width: int, *, before: bool = True) -> Region:
        """This region with `by` pixels more on each side, or (without `before`) below and to the right only."""
        first = by if before else 0
        return Region(
            max(self.top - first, 0),
            min(self.bottom + by, height),
            max(self.left - first, 0),
            min(self.right + by, width),
        )

    def within(self, other: Region) -> tuple[slice, slice]:
        """The rows and columns of this region in an array that covers `other`."""
        return (
            slice(self.top - other.top, self.bottom - other.top),
            slice(self.left - other.left, self.right - other.left),
        )


_LEAST_CHANNELS = 16
"""Input channels of a convolution in bfloat16; fewer are filled up with zeros. On a processor with AMX oneDNN packs fewer
in another way, which depends on the size of the image, and rounds differently then."""


class Convolution:
    """A convolution, and an activation after it.

    Args:
        weight: C_out x C_in x k x k, any type; it is rounded to `dtype`.
        bias: C_out, or None.
        activation: None, 'leaky_relu' (of `NEGATIVE_SLOPE`), 'relu' or 'sigmoid'.
        dtype: torch.float32 or torch.bfloat16: that of the input and output.
        device: Where it runs.
        stride: 1 with zero padding that keeps the size, or more without padding.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: str | None = None,
        *,
        dtype: torch.dtype,
        device: torch.device,
        stride: int = 1,
    ) -> None:
        kernel = weight.shape[-1]
        self.stride, self.padding = [stride] * 2, [kernel // 2 if stride == 1 else 0] * 2
        self.activation = activation
        weight = weight.detach().to(device, dtype)
        self.bias = None if bias is None else bias.detach().to(device, dtype)
        self.packed = is_packable(device, dtype)
        self.added = 0
        if self.packed:
            if dtype == torch.bfloat16 and kernel > 1:
                self.added = max(0, _LEAST_CHANNELS - weight.shape[1])
                weight = F.pad(weight, (0, 0, 0, 0, 0, self.added))
            typical = [1, weight.shape[1], 64, 64]  # the order of the weights does not depend on it
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(
                weight, self.padding, self.stride, [1, 1], 1, typical
            )
        else:
            self.weight = weight.to(memory_format=torch.channels_last)
        self._arguments = self.weight, self.bias, self.padding, self.stride, [1, 1], 1
        self._post = activation or 'none', [NEGATIVE_SLOPE] if activation == 'leaky_relu' else [], ''

    def __call__(self, x: Tensor) -> Tensor:
        if self.packed:
            return torch.ops.mkldnn._convolution_pointwise(self._padded(x), *self._arguments, *self._post)
        return _activate(F.conv2d(x, self.weight, self.bias, self.stride, self.padding), self.activation)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """The convolution of `x`, plus `other`, in the type of `other`; without an activation."""
        if self.packed and other.dtype == x.dtype:
            return torch.ops.mkldnn._convolution_pointwise.binary(
                self._padded(x), other, *self._arguments, 'add', 1.0, None, [], None
            )
        return self(x) + other

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, 0, self.added)) if self.added else x


def is_packable(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN's packed convolutions can be had: on x86 processors, bfloat16 where it is not emulated slowly."""
    if device.type != 'cpu' or not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, '_convolution_pointwise'):
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _activate(x: Tensor, activation: str | None) -> Tensor:
    match activation:
        case 'leaky_relu':
            return F.leaky_relu_(x, NEGATIVE_SLOPE)
        case 'relu':
            return F.relu_(x)
        case 'sigmoid':
            return torch.sigmoid_(x)
    return x


# --- attention -----------------------------------------------------------------------------------------------------
# A gate that looks at the whole image, in steps: `start` makes room for statistics, `gather` puts those of a region in,
# whose `x` has `reach` pixels more below and to the right, where the image has them; `conclude` makes of all of them what
# `apply` multiplies a region with. Regions begin at multiples of `ALIGNMENT` and end there or with the image.

ALIGNMENT = 96
"""Where regions may begin: the least common multiple of CCA's cells and ESA's six pixels."""


class ChannelAttention:
    """CCA: sums over cells of 32 x 32 pixels, in 32 bits; of the cells in 64. So an image in regions gives the same bits."""

    reach = 0
    CELL = 32

    def __init__(self, module: Any, *, dtype: torch.dtype, device: torch.device) -> None:
        layers = [module.conv_du[at] for at in (0, 2)]
        self.layers: list[tuple[Tensor, Tensor]] = [
            (layer.weight.detach().float().flatten(1).to(device), layer.bias.detach().float().to(device))
            for layer in layers
        ]
        self.dtype, self.device = dtype, device

    def start(self, height: int, width: int) -> Tensor:
        channels = self.layers[0][0].shape[1]
        return torch.zeros(2, channels, -(-height // self.CELL), -(-width // self.CELL), device=self.device)

    def gather(self, statistics: Tensor, x: Tensor, region: Region) -> None:
        rows = slice(region.top // self.CELL, -(-region.bottom // self.CELL))
        columns = slice(region.left // self.CELL, -(-region.right // self.CELL))
        x = x.float()
        for number, values in enumerate((x, x * x)):
            cells = F.avg_pool2d(values, self.CELL, ceil_mode=True, divisor_override=1)
            statistics[number, :, rows, columns] = cells[0]

    def conclude(self, statistics: Tensor, height: int, width: int) -> Tensor:
        mean, square = statistics.flatten(2).double().sum(2) / (height * width)
        contrast = (square - mean**2).clamp_min(CCA.SMALLEST_VARIANCE).sqrt()
        (weight1, bias1), (weight2, bias2) = self.layers
        gate = torch.sigmoid(F.linear(F.relu(F.linear((contrast + mean).float(), weight1, bias1)), weight2, bias2))
        return gate[None, :, None, None].to(self.dtype)

    def apply(self, x: Tensor, concluded: Tensor, region: Region, height: int, width: int) -> Tensor:
        return x * concluded


class SpatialAttention:
    """ESA: the regions give what its strided convolution and pooling leave of them, a 36th of the pixels; the three
    convolutions on that are computed for the whole image at once.

    The pooled cell (i, j) covers the pixels from (6 i, 6 j) to 15 further, whatever the size of the image.
    """

    reach = 9
    STEP = 6

    def __init__(self, module: Any, *, dtype: torch.dtype, device: torch.device) -> None:
        def packed(name: str, activation: str | None = None, stride: int = 1) -> Convolution:
            layer = getattr(module, name)
            return Convolution(layer.weight, layer.bias, activation, dtype=dtype, device=device, stride=stride)

        self.reduce, self.strided = packed('conv1'), packed('conv2', stride=2)
        self.wide = [packed('conv_max', 'relu'), packed('conv3', 'relu'), packed('conv3_')]
        self.local, self.expand = packed('conv_f'), packed('conv4', 'sigmoid')
        self.channels = module.conv1.out_channels
        self.dtype, self.device = dtype, device

    def cells(self, side: int) -> int:
        """Pooled cells along a side of the image."""
        return max((side - ESA.MINIMUM_SIZE) // self.STEP + 1, 0)

    def start(self, height: int, width: int) -> Tensor:
        shape = (1, self.channels, self.cells(height), self.cells(width))
        return torch.empty(shape, dtype=self.dtype, device=self.device, memory_format=torch.channels_last)

    def gather(self, statistics: Tensor, x: Tensor, region: Region) -> None:
        if min(x.shape[-2:]) < ESA.MINIMUM_SIZE:
            return  # a rest at the edge, of which no cell begins
        pooled = F.max_pool2d(self.strided(self.reduce(x)), kernel_size=7, stride=3)
        top, left = region.top // self.STEP, region.left // self.STEP
        rows = min(pooled.shape[2], -(-(region.bottom - region.top) // self.STEP))
        columns = min(pooled.shape[3], -(-(region.right - region.left) // self.STEP))
        statistics[:, :, top : top + rows, left : left + columns] = pooled[:, :, :rows, :columns]

    def conclude(self, statistics: Tensor, height: int, width: int) -> Tensor:
        for layer in self.wide:
            statistics = layer(statistics)
        return statistics

    def apply(self, x: Tensor, concluded: Tensor, region: Region, height: int, width: int) -> Tensor:
        wide = _enlarge(concluded, height, width, region)
        return x * self.expand(self.local.plus(self.reduce(x), wide))


Attention = ChannelAttention | SpatialAttention


def _enlarge(small: Tensor, height: int, width: int, region: Region) -> Tensor:
    """A region of the bilinear enlargement of `small` to height x width, as `F.interpolate` has it but for rounding.

    `F.interpolate` itself gives whole images only.
    """
    pixels = small.permute(0, 2, 3, 1)
    for axis, (size, first, last) in enumerate(
        ((width, region.left, region.right), (height, region.top, region.bottom))
    ):
        dim = 2 - axis  # columns first: they are few
        near, far, weight = _taps(pixels.shape[dim], size, first, last, small)
        weight = weight.reshape(-1, 1, 1) if dim == 1 else weight.reshape(-1, 1)
        pixels = torch.lerp(pixels.index_select(dim, near), pixels.index_select(dim, far), weight)
    return pixels.permute(0, 3, 1, 2)


def _taps(cells: int, size: int, first: int, last: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel from `first` to `last` the two cells that it lies between, and the share of the second."""
    position = (torch.arange(first, last, dtype=torch.float64) + 0.5) * cells / size - 0.5
    position = position.clamp(0, cells - 1)
    near = position.long()
    far = (near + 1).clamp_max(cells - 1)
    return near.to(like.device), far.to(like.device), (position - near).to(like.device, like.dtype)
