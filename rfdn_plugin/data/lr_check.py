"""Whether an LR image belongs to an HR image, and whether it was made by MATLAB's bicubic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from rfdn_plugin.data.bicubic import downscale
from rfdn_plugin.data.likeness import Likeness

# An LR sub-image was cut from the LR of the whole image: so many LR pixels at its edge depend on HR outside.
_EDGE = 3
# Two images that do not belong together differ by about their contrast (standard deviation); any resize by far less.
_OTHER_IMAGE = 0.5
# Mean absolute difference below which an LR is taken for this resize: rounding and JPEG of high quality stay below it.
_SAME_RESIZE = 0.02
# An LR further than this from every resize that is known was treated in some other way.
_KNOWN_RESIZE = 0.6


@dataclass(frozen=True)
class PairCheck:
    """What was found about a pair; `kind` is a key of `verify.FINDINGS`, or '' where all is well."""

    key: str
    kind: str
    detail: str
    hr: Likeness
    lr: Likeness
    compared: bool


def check_pair(key: str, hr: np.ndarray, lr: np.ndarray, scale: int, compare: bool) -> PairCheck:
    """Check sizes and content of a pair and, where `compare`, the resize; both are uint8 RGB, (H, W, 3)."""
    height, width = lr.shape[:2]
    # The HR at the size of the LR first: thumbnails of small images of different sizes differ by their sampling.
    small = cv2.resize(hr, (width, height), interpolation=cv2.INTER_AREA)
    likenesses = Likeness.of(small), Likeness.of(lr)

    def result(kind: str = '', detail: str = '') -> PairCheck:
        return PairCheck(key, kind, detail, *likenesses, compared=compare)

    if hr.shape[:2] != (lr.shape[0] * scale, lr.shape[1] * scale):
        sizes = 'HR {}x{}, LR {}x{}'.format(*hr.shape[:2], *lr.shape[:2])
        return result('wrong-scale', f'{sizes}: not x{scale}')
    difference = _mean_difference(small, lr)
    if difference > _OTHER_IMAGE * (float(lr.std()) + 4):
        return result('not-a-pair', f'the LR is {difference:.0f} levels from the HR made small, in the mean')
    return result(*_check_resize(hr, lr, scale)) if compare else result()


def _check_resize(hr: np.ndarray, lr: np.ndarray, scale: int) -> tuple[str, str]:
    """The kind and detail of what is wrong with the LR, ('', '') for nothing."""
    whole = downscale(hr, scale)
    if np.array_equal(whole, lr):
        return '', ''
    inner = tuple(slice(_EDGE, -_EDGE) if length > 4 * _EDGE else slice(None) for length in lr.shape[:2])
    if np.array_equal(whole[inner], lr[inner]):
        if np.array_equal(downscale(hr, scale, 'replicate'), lr):
            return 'older-border', 'equals MATLAB bicubic with a replicated border'
        return '', ''  # cut from the LR of a larger image
    difference = _mean_difference(whole[inner], lr[inner])
    known = [(_mean_difference(made[inner], lr[inner]), name) for name, made in _other_resizes(hr, scale)]
    closest, name = min(known)
    if closest <= _SAME_RESIZE and closest < difference:
        likely = f'made by {name}'
    elif closest < min(difference, _KNOWN_RESIZE):
        likely = f'closest to {name}, {closest:.2f} levels'
    elif difference <= _KNOWN_RESIZE:
        likely = 'MATLAB bicubic, but compressed or rounded otherwise'
    else:
        likely = 'of no resize that is known here; it may be shifted, sharpened or compressed'
    return 'other-resize', f'{difference:.2f} levels from MATLAB bicubic in the mean: {likely}'


def _mean_difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(cv2.absdiff(first, second).mean())


def _other_resizes(hr: np.ndarray, scale: int) -> Iterator[tuple[str, np.ndarray]]:
    height, width = hr.shape[0] // scale, hr.shape[1] // scale
    for name, method in (
        ('Pillow bicubic', Image.Resampling.BICUBIC),
        ('Pillow Lanczos', Image.Resampling.LANCZOS),
        ('Pillow bilinear', Image.Resampling.BILINEAR),
    ):
        yield name, np.asarray(Image.fromarray(hr).resize((width, height), method))
    for name, flag in (
        ('OpenCV INTER_CUBIC, without antialiasing', cv2.INTER_CUBIC),
        ('OpenCV INTER_LINEAR', cv2.INTER_LINEAR),
        ('OpenCV INTER_AREA', cv2.INTER_AREA),
        ('OpenCV INTER_LANCZOS4', cv2.INTER_LANCZOS4),
    ):
        yield name, cv2.resize(hr, (width, height), interpolation=flag)
    yield 'taking every n-th pixel', hr[::scale, ::scale]
    yield 'MATLAB bicubic of the HR shifted by one pixel', downscale(np.roll(hr, (1, 1), axis=(0, 1)), scale)
