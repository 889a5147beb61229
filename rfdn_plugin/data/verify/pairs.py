"""Whether an LR image belongs to an HR image: sizes, content and resize."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rfdn_plugin.data.likeness import Likeness
from rfdn_plugin.data.lr_check import Edges, describe_resize, judge_resize
from rfdn_plugin.data.pairing import explain_sizes

# Two images that do not belong together differ by about their contrast (standard deviation); any resize by far less.
_OTHER_IMAGE = 0.5


@dataclass(frozen=True)
class PairCheck:
    """Result of the check of one HR and LR pair.

    Attributes:
        key: The entry of the HR.
        kind: A key of `findings.FINDINGS`, or '' where all is well.
        detail: What more is known, in words.
        hr: A thumbnail of the HR, to find pairs that were exchanged with each other.
        lr: A thumbnail of the LR.
        compared: Whether the resize was compared.
        too_small: Whether the LR is too small to compare the resize.
    """

    key: str
    kind: str
    detail: str
    hr: Likeness
    lr: Likeness
    compared: bool = False
    too_small: bool = False


def check_pair(key: str, hr: np.ndarray, lr: np.ndarray, scale: int, exact: bool, cut: Edges | None) -> PairCheck:
    """Check the sizes and the content of a pair and, where asked for, the resize.

    Args:
        key: The entry of the HR.
        hr: uint8 RGB, H x W x 3.
        lr: uint8 RGB, h x w x 3.
        scale: The factor between them.
        exact: Whether the HR must be the LR times the scale, see `pairing.explain_sizes`.
        cut: The edges of the LR that were cut; None: the resize is not compared.
    """
    height, width = lr.shape[:2]
    # The HR at the size of the LR first: thumbnails of small images of different sizes differ by their sampling.
    covered = hr[: height * scale, : width * scale]
    small = cv2.resize(covered, (width, height), interpolation=cv2.INTER_AREA)
    likenesses = Likeness.of(small), Likeness.of(lr)
    kind, problem = explain_sizes(hr.shape, lr.shape, scale, exact=exact)
    if problem:
        return PairCheck(key, kind, problem, *likenesses)
    difference = float(cv2.absdiff(small, lr).mean())
    if difference > _OTHER_IMAGE * (float(lr.std()) + 4):
        detail = f'the LR is {difference:.0f} levels from the HR made small, in the mean'
        return PairCheck(key, 'not-a-pair', detail, *likenesses)
    if cut is None:
        return PairCheck(key, '', '', *likenesses)
    resize = judge_resize(hr, lr, scale, cut)
    if resize.source == 'other':
        detail = describe_resize(covered, lr, scale, resize.difference)
        return PairCheck(key, 'other-resize', detail, *likenesses, compared=True)
    if resize.source == 'replicate':
        detail = 'equals MATLAB bicubic with a replicated border'
        return PairCheck(key, 'older-border', detail, *likenesses, compared=True)
    is_unknown = resize.source == 'unknown'
    return PairCheck(key, '', '', *likenesses, compared=not is_unknown, too_small=is_unknown)
