"""The form of a network that can be exported: free image sizes, the smallest size handled inside, the output clamped
where wanted.

A network pads small images by Python's own arithmetic, which an exporter freezes at the size of its example. Here the
same rule is written with tensors, so that it becomes part of the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ExportForm(nn.Module):
    """A network as a graph for any image size.

    Args:
        network: In eval mode, N x 3 x H x W (RGB, 0..1) to the enlarged image.
        clamp: Cut the output to 0..1.

    Attributes:
        scale: The network's.
        minimum_size: The smallest side that the network's own layers take; smaller images are extended.
    """

    def __init__(self, network: nn.Module, *, clamp: bool = False) -> None:
        super().__init__()
        self.network = network
        self.clamp = clamp
        self.scale = int(network.upscale)  # type: ignore[arg-type]
        self.minimum_size: int = getattr(network, 'minimum_size', 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.minimum_size == 1:
            out = self.network(x)
        else:
            height, width = x.shape[2], x.shape[3]
            out = self.network(extended(x, self.minimum_size))
            out = out[:, :, : height * self.scale, : width * self.scale]
        return out.clamp(0, 1) if self.clamp else out


def extended(x: Tensor, minimum: int) -> Tensor:
    """What `archs.blocks.pad_to_minimum` gives, by operations that an exporter records: rows and columns by index.

    Args:
        x: N x C x H x W, any size from 1 x 1.
        minimum: The least height and width of the result.
    """
    sides = torch._shape_as_tensor(x)[2:]
    missing = (minimum - sides).clamp(min=0)
    mirrored = (missing < sides).all()
    for axis in (2, 3):
        side = sides[axis - 2]
        last = side - 1
        index = torch.arange(0, side + missing[axis - 2])  # type: ignore[call-overload]
        index = torch.where(mirrored, last - (index - last).abs(), torch.minimum(index, last))
        x = x.index_select(axis, index)
    return x
