"""IMDN, the information multi-distillation network that RFDN was made from, and IMDN-R, the step between the two.

Paper: Z. Hui, X. Gao, Y. Yang, X. Wang, "Lightweight Image Super-Resolution with Information Multi-distillation
Network", ACM MM 2019, arXiv 1909.11856. The official weights for x2, x3 and x4 (Zheng222/IMDN, checkpoints/) load with
`strict=True`: the names of all weights are the official ones. They work on values from 0 to 1.

IMDN-R is section 3.1 of the RFDN paper (arXiv 2009.11551, figure 2b): each convolution that is followed by a channel
split becomes two convolutions, which shows that the split is a 3x3 distillation; RFDN replaces that by a 1x1 one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rfdn_plugin.archs.blocks import CCA, conv, leaky_relu
from rfdn_plugin.archs.distillation import DistillationNetwork


class IMDB(nn.Module):
    """Information multi-distillation block (IMDN paper section 3.1, figure 3).

    Three times a 3x3 convolution is split: `num_distilled` channels are kept, the rest goes on. A fourth convolution
    distils what is left; the four are gated by contrast-aware channel attention, fused, and added to the input.

    Args:
        num_feat: Channels in and out.
        distillation_rate: The share of channels that each split keeps, between 0 and 1.

    Shapes: N x num_feat x H x W to the same.

    Raises:
        ValueError: A rate that keeps no channel or all of them.
    """

    ATTENTION_REDUCTION = 16

    def __init__(self, *, num_feat: int, distillation_rate: float) -> None:
        super().__init__()
        self.num_distilled = int(num_feat * distillation_rate)
        self.num_remaining = num_feat - self.num_distilled
        if self.num_distilled < 1 or self.num_remaining < 1:
            raise ValueError(
                f'distillation_rate is {distillation_rate} with {num_feat} channels: '
                'take a rate between 0 and 1 that keeps at least one channel and leaves one.'
            )
        self._make_splits(num_feat)
        self.c4 = conv(self.num_remaining, self.num_distilled, 3)
        self.cca = CCA(4 * self.num_distilled, self.ATTENTION_REDUCTION)
        self.c5 = conv(4 * self.num_distilled, num_feat, 1)

    def _make_splits(self, num_feat: int) -> None:
        self.c1 = conv(num_feat, num_feat, 3)
        self.c2 = conv(self.num_remaining, num_feat, 3)
        self.c3 = conv(self.num_remaining, num_feat, 3)

    def _split(self, step: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `step` distils from `x`, and what it passes on."""
        return leaky_relu(getattr(self, step)(x)).split((self.num_distilled, self.num_remaining), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        remaining, branches = x, []
        for step in ('c1', 'c2', 'c3'):
            distilled, remaining = self._split(step, remaining)
            branches.append(distilled)
        branches.append(self.c4(remaining))
        return self.c5(self.cca(torch.cat(branches, dim=1))) + x


class IMDBR(IMDB):
    """IMDB with each convolution and split as two convolutions: the distilling `c1_d` and the refining `c1_r`.

    Takes the weights of an `IMDB` too and gives the same output.
    """

    def _make_splits(self, num_feat: int) -> None:
        for step, num_in in (('c1', num_feat), ('c2', self.num_remaining), ('c3', self.num_remaining)):
            self.add_module(f'{step}_d', conv(num_in, self.num_distilled, 3))
            self.add_module(f'{step}_r', conv(num_in, self.num_remaining, 3))
        self.register_load_state_dict_pre_hook(_split_weights)

    def _split(self, step: str, x: Tensor) -> tuple[Tensor, Tensor]:
        return leaky_relu(getattr(self, f'{step}_d')(x)), leaky_relu(getattr(self, f'{step}_r')(x))


def _split_weights(block: IMDBR, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    for step in ('c1', 'c2', 'c3'):
        for kind in ('weight', 'bias'):
            whole = state.pop(f'{prefix}{step}.{kind}', None)
            if whole is not None:
                state[f'{prefix}{step}_d.{kind}'] = whole[: block.num_distilled]
                state[f'{prefix}{step}_r.{kind}'] = whole[block.num_distilled :]


class IMDN(DistillationNetwork):
    """IMDN (paper section 3, figure 2): head, chained IMDBs, fusion of all of them, long skip, pixel shuffle.

    694,404 / 703,059 / 715,176 parameters at x2 / x3 / x4.

    Args:
        num_in_ch: Channels of the input.
        num_out_ch: Channels of the output.
        num_feat: Width of the body.
        num_block: Number of blocks, `IMDB1` to `IMDB{num_block}` among the weights.
        upscale: Scale factor.
        img_range: The body works on values from 0 to `img_range`; outside they are from 0 to 1.
        distillation_rate: See `IMDB`; the paper's is 0.25.
        interpolation_start: Start as a bilinear interpolation instead of from random weights (ours; see
            `blocks.start_as_interpolation`). Needs `num_in_ch == num_out_ch`.

    Shapes: N x num_in_ch x H x W with values from 0 to 1, RGB, to N x num_out_ch x (upscale H) x (upscale W), not
    clamped. Any size from 1 x 1.

    Raises:
        ValueError: An argument outside the above; it names the argument.
    """

    block = IMDB

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 6,
        upscale: int = 4,
        img_range: float = 1.0,
        distillation_rate: float = 0.25,
        interpolation_start: bool = False,
    ) -> None:
        super().__init__(
            'IMDB',
            lambda: self.block(num_feat=num_feat, distillation_rate=distillation_rate),
            num_in_ch=num_in_ch,
            num_out_ch=num_out_ch,
            num_feat=num_feat,
            num_block=num_block,
            upscale=upscale,
            img_range=img_range,
            interpolation_start=interpolation_start,
        )


class IMDN_R(IMDN):  # noqa: N801 (the name that option files use)
    """IMDN-R (RFDN paper section 3.1): IMDN of `IMDBR` blocks. As many parameters as IMDN; takes IMDN's weights.

    Args:
        settings: Further arguments of `IMDN`.
    """

    block = IMDBR

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
