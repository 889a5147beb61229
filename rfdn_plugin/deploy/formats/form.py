"""The form of a network that is exported: free image sizes, the smallest size handled inside, the input range and SRB's
identity folded into the convolutions, the output clamped where wanted.

A network pads small images by Python's own arithmetic, which an exporter freezes at the size of its example. Here the
same rule is written with tensors, so that it becomes part of the graph.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from rfdn_plugin.weights.convert import fold_img_range, fold_shallow_residual
from rfdn_plugin.weights.identify import Identity
from rfdn_plugin.weights.loading import build_network


class ExportForm(nn.Module):
    """A network as a graph for any image size.

    Args:
        network: In eval mode, N x 3 x H x W (RGB, 0..1) to the enlarged image.
        clamp: Cut the output to 0..1.
        dtype: What it computes in; it takes and gives 32-bit floats all the same.

    Attributes:
        scale: The network's.
        minimum_size: The smallest side that the network's own layers take; smaller images are extended.
    """

    def __init__(self, network: nn.Module, *, clamp: bool = False, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.scale = int(network.upscale)  # type: ignore[arg-type]
        self.minimum_size = int(getattr(network, 'minimum_size', 1))
        self.clamp = clamp
        self.dtype = dtype
        self.network = copy.deepcopy(network).to(dtype)
        self.network.minimum_size = 1  # type: ignore[assignment]  # what it would pad has been padded

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2], x.shape[3]
        if self.minimum_size > 1:
            x = extended(x, self.minimum_size)
        out = self.network(x if self.dtype == torch.float32 else x.to(self.dtype))
        if self.dtype != torch.float32:
            out = out.float()
        if self.minimum_size > 1:
            out = out[:, :, : height * self.scale, : width * self.scale]
        return out.clamp(0, 1) if self.clamp else out


def extended(x: Tensor, minimum: int) -> Tensor:
    """What `archs.blocks.pad_to_minimum` gives, by operations that exporters record: rows and columns by their index.

    The index is made by arithmetic alone: OpenVINO computes a selection (`where`) wrongly once the sizes are fixed.

    Args:
        x: N x C x H x W, any size from 1 x 1.
        minimum: The least height and width of the result.
    """
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined]  # sizes are tensors then; for torch.export they are symbols
    sides = torch._shape_as_tensor(x)[2:] if traced else torch.tensor(x.shape[2:])
    missing = (minimum - sides).clamp(min=0)
    repeats = (missing - sides + 1).clamp(min=0, max=1).max()  # 1 where a side is too short to be mirrored, else 0
    for axis in (2, 3):
        last = sides[axis - 2] - 1
        length: Any = sides[axis - 2] + missing[axis - 2]
        if not traced:
            length = length.item()
            torch._check(length >= minimum)
        index = torch.arange(0, length)
        beyond = (index - last).clamp(min=0)
        x = x.index_select(axis, index - beyond * (2 - repeats))
    return x


def folded_network(identity: Identity, *, precision: str = 'fp32') -> nn.Module:
    """The network with its input range and SRB's identity inside its convolutions: fewer operations, the same function.

    Args:
        identity: Weights and what they are.
        precision: What it is going to compute in. In fp16 the range stays outside: divided by 255, the last
            convolution's weights would lie below the smallest normal ones, and lose their digits. In int8 the identity
            stays outside: see `deploy.quantise`.
    """
    folded = identity if precision == 'fp16' else fold_img_range(identity)
    if precision != 'int8' and folded.arguments.get('shallow_residual'):
        folded = fold_shallow_residual(folded)
    return build_network(folded)
