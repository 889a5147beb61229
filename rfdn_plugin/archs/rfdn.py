"""RFDN, RFDN-L and E-RFDN: residual feature distillation networks for light-weight super-resolution.

Paper: J. Liu, J. Tang, G. Wu, "Residual Feature Distillation Network for Lightweight Image Super-Resolution",
ECCV Workshops 2020, arXiv 2009.11551. E-RFDN won the AIM 2020 challenge on efficient super-resolution (arXiv
2009.06943); its official weights (njulj/RFDN, MIT) load with `strict=True`: the names of all weights are the official
ones.

What was settled by running the official weights and by counting the published parameters:

* the published 534 / 541 / 550K (RFDN) and 626 / 633 / 643K (RFDN-L) are met only with contrast-aware channel
  attention (reduction 4) after the fusion `c5`; the 433K of E-RFDN with ESA;
* E-RFDN has no residual around a block. The paper's figure has it for RFDN; the first author calls it the one
  difference between the figure and the AIM code (njulj/RFDN issue 3);
* E-RFDN's official weights work on values from 0 to 255 (`img_range=255`).
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from rfdn_plugin.archs.blocks import CCA, ESA, activate_and_join, conv, leaky_relu
from rfdn_plugin.archs.distillation import DistillationNetwork

Attention = Literal['cca', 'esa']
LastBranch = Literal['distilled', 'remaining']


class RFDB(nn.Module):
    """Residual feature distillation block (paper section 3.2, figure 2c) and, by its switches, the ablation's blocks.

    Three times a 1x1 convolution distils `num_distilled` channels from the features (the feature distillation
    connection, in place of IMDN's channel split) while a 3x3 convolution refines all of them, with a shallow residual:
    the input is added before the activation (SRB, figure 2d). What was distilled and a last 3x3 convolution are fused
    by a 1x1 convolution and gated by attention.

    Args:
        num_feat: Channels in and out.
        distillation_rate: The share of channels that is distilled, above 0 and up to 1.
        attention: 'cca' (reduction 4), 'esa' (a quarter of the channels), or None.
        block_residual: Add the block's input to its output.
        shallow_residual: The identity in each refining convolution (SRB); without it a plain convolution.
        feature_distillation: The distillation connections (FDC); without them the block is the chain of four 3x3
            convolutions alone, at full width, and its fusion. The ablation's exact shapes are not published; what the
            text says is met: the shallow residual adds no parameters to either.
        last_branch: 'distilled': the last convolution gives as many channels as each distillation. 'remaining': it
            gives what three distillations leave of `num_feat`, so that the fusion keeps the width (IMDN's way).

    Shapes: N x num_feat x H x W to the same; with ESA, H and W from 15 pixels up.

    Raises:
        ValueError: A rate or name outside the above, or a rate of 1/3 and more with 'remaining'.
    """

    def __init__(
        self,
        *,
        num_feat: int,
        distillation_rate: float,
        attention: Attention | None,
        block_residual: bool,
        shallow_residual: bool,
        feature_distillation: bool,
        last_branch: LastBranch,
    ) -> None:
        super().__init__()
        num_distilled = int(num_feat * distillation_rate)
        if not 0 < distillation_rate <= 1 or num_distilled < 1:
            raise ValueError(
                f'distillation_rate is {distillation_rate} with {num_feat} channels: '
                'take a rate above 0 and up to 1 that leaves at least one channel.'
            )
        if last_branch not in ('distilled', 'remaining'):
            raise ValueError(f"last_branch is {last_branch!r}: it must be 'distilled' or 'remaining'.")
        num_last = num_distilled if last_branch == 'distilled' else num_feat - 3 * num_distilled
        if num_last < 1:
            raise ValueError(
                f"last_branch 'remaining' leaves {num_last} of {num_feat} channels at distillation_rate "
                f'{distillation_rate}: take a rate below 1/3.'
            )
        if not feature_distillation:
            num_distilled, num_last = 0, num_feat

        self.block_residual = block_residual
        self.shallow_residual = shallow_residual
        self.feature_distillation = feature_distillation
        if feature_distillation:
            self.c1_d = conv(num_feat, num_distilled, 1)
            self.c2_d = conv(num_feat, num_distilled, 1)
            self.c3_d = conv(num_feat, num_distilled, 1)
        self.c1_r = conv(num_feat, num_feat, 3)
        self.c2_r = conv(num_feat, num_feat, 3)
        self.c3_r = conv(num_feat, num_feat, 3)
        self.c4 = conv(num_feat, num_last, 3)
        self.c5 = conv(3 * num_distilled + num_last, num_feat, 1)
        if attention == 'esa':
            self.esa = ESA(num_feat, num_feat // 4)
        elif attention == 'cca':
            self.cca = CCA(num_feat, reduction=4)
        elif attention is not None:
            raise ValueError(f"attention is {attention!r}: it must be 'cca', 'esa' or None.")
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        features, branches = x, []
        for step in ('c1', 'c2', 'c3'):
            if self.feature_distillation:
                branches.append(getattr(self, f'{step}_d')(features))
            refined = getattr(self, f'{step}_r')(features)
            features = leaky_relu(refined + features if self.shallow_residual else refined)
        branches.append(self.c4(features))
        out = self.c5(activate_and_join(branches))
        if self.attention is not None:
            out = getattr(self, self.attention)(out)
        return out + x if self.block_residual else out


class RFDN(DistillationNetwork):
    """RFDN (paper section 3.1, figure 1): head, chained RFDBs, fusion of all of them, long skip, pixel shuffle.

    With its defaults it is the paper's RFDN: 534,036 / 540,531 / 549,624 parameters at x2 / x3 / x4.

    Args:
        num_in_ch: Channels of the input.
        num_out_ch: Channels of the output.
        num_feat: Width of the body.
        num_block: Number of blocks, `B1` to `B{num_block}` among the weights.
        upscale: Scale factor.
        img_range: The body works on values from 0 to `img_range`; outside they are from 0 to 1. The official AIM 2020
            weights want 255.
        distillation_rate, attention, block_residual, shallow_residual, feature_distillation, last_branch: See `RFDB`.
            Rate 0.25 with 'remaining', 'esa' and the block residual is the block that several articles on RFDN describe.
        interpolation_start: Start as a bilinear interpolation instead of from random weights (ours; see
            `blocks.start_as_interpolation`). Needs `num_in_ch == num_out_ch`.

    Shapes: N x num_in_ch x H x W with values from 0 to 1, RGB, to N x num_out_ch x (upscale H) x (upscale W), not
    clamped. Any size from 1 x 1: below ESA's 15 pixels the input is extended and the output cropped.

    Raises:
        ValueError: An argument outside the above; it names the argument.
    """

    def __init__(
        self,
        *,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 48,
        num_block: int = 6,
        upscale: int = 4,
        img_range: float = 1.0,
        distillation_rate: float = 0.5,
        attention: Attention | None = 'cca',
        block_residual: bool = True,
        shallow_residual: bool = True,
        feature_distillation: bool = True,
        last_branch: LastBranch = 'distilled',
        interpolation_start: bool = False,
    ) -> None:
        super().__init__(
            'B',
            lambda: RFDB(
                num_feat=num_feat,
                distillation_rate=distillation_rate,
                attention=attention,
                block_residual=block_residual,
                shallow_residual=shallow_residual,
                feature_distillation=feature_distillation,
                last_branch=last_branch,
            ),
            num_in_ch=num_in_ch,
            num_out_ch=num_out_ch,
            num_feat=num_feat,
            num_block=num_block,
            upscale=upscale,
            img_range=img_range,
            interpolation_start=interpolation_start,
            minimum_size=ESA.MINIMUM_SIZE if attention == 'esa' else 1,
        )


class RFDN_L(RFDN):  # noqa: N801 (the name that option files use)
    """RFDN-L: RFDN with 52 channels; 625,962 / 632,997 / 642,846 parameters at x2 / x3 / x4 (paper section 4.4).

    Args:
        num_feat: Width of the body.
        settings: The other arguments of `RFDN`.
    """

    def __init__(self, *, num_feat: int = 52, **settings: Any) -> None:
        super().__init__(num_feat=num_feat, **settings)


class E_RFDN(RFDN):  # noqa: N801 (the name that option files use)
    """E-RFDN, winner of AIM 2020: 50 channels, 4 blocks, ESA; 417,212 / 423,977 / 433,448 parameters (section 4.5).

    Args:
        num_feat, num_block, attention, block_residual: See `RFDN`.
        settings: The other arguments of `RFDN`.
    """

    def __init__(
        self,
        *,
        num_feat: int = 50,
        num_block: int = 4,
        attention: Attention | None = 'esa',
        block_residual: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(
            num_feat=num_feat, num_block=num_block, attention=attention, block_residual=block_residual, **settings
        )
