"""The middle taps of RFDN's refining convolutions, where SRB's identity stands once it is folded in.

An SRB adds its input to the output of a 3x3 convolution. The same is one 3x3 convolution whose tap from each channel to
itself, in the middle, is larger by 1: that is how `convert.fold_shallow_residual` writes it, and how it can be told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

FOLDED_MEAN = 0.25
"""Mean tap above which the identity is taken to be inside. Seen: -0.64 to 0.07 in trained networks that it is not folded
into (the official ones -0.55), 0.45 in the official ones folded, 0 and 1 in untrained ones."""

_REFINING = re.compile(r'B\d+\.c[123]_r\.weight')


def is_refining(name: str) -> bool:
    """Whether a tensor of this name is the weight of a convolution inside a shallow residual block (SRB)."""
    return _REFINING.fullmatch(name) is not None


def center_diagonal(weight: Tensor) -> Tensor:
    """The tap from each channel to itself in the middle of a 3x3 kernel: a view, one value a channel."""
    return weight[:, :, 1, 1].diagonal()


def with_center_diagonal(weight: Tensor, taps: Tensor) -> Tensor:
    """A copy of the kernel with other middle taps."""
    weight = weight.clone()
    center_diagonal(weight).copy_(taps)
    return weight


def identity_is_inside(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the weights look as if SRB's identity had been folded into them."""
    refining = [tensor for name, tensor in tensors.items() if is_refining(name) and tensor.shape[2:] == (3, 3)]
    if not refining:
        return False
    return torch.cat([center_diagonal(tensor.float()) for tensor in refining]).mean().item() > FOLDED_MEAN
