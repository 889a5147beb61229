"""Whether an LR image is what MATLAB's bicubic makes of an HR image: the one rule of `rfdn verify` and the leaderboard.

An LR sub-image was cut from the LR of a whole image. Its pixels near a cut edge depend on HR pixels outside of the HR
sub-image, so they are left out of the comparison; `CutEdges` knows which edges these are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from rfdn_plugin.data.bicubic import BORDERS, downscale
from rfdn_plugin.data.prepare.database import read_records, read_settings
from rfdn_plugin.data.prepare.tiles import tiles_of

# The cubic kernel is four LR pixels wide: so many LR pixels at an edge depend on what lies behind it.
_REACH = 2
# Resizes that are compared to tell how an LR was made reach further, Lanczos by three pixels.
_LONGEST_REACH = 3
# Mean absolute difference below which an LR is taken for this resize: rounding and JPEG of high quality stay below it.
_SAME_RESIZE = 0.02
# An LR further than this from every resize that is known was treated in some other way.
_KNOWN_RESIZE = 0.6
_SUB_IMAGE = re.compile(r'(?P<image>.+)_s(?P<number>\d{3,})')


class Edges(NamedTuple):
    """The edges of an LR image behind which its whole image may have gone on."""

    top: bool = False
    left: bool = False
    bottom: bool = False
    right: bool = False

    def inside(self, lr_shape: tuple[int, ...], reach: int = _REACH) -> tuple[slice, slice]:
        """The rows and columns of an LR image that do not depend on what lies behind these edges; perhaps none."""
        height, width = lr_shape[:2]
        rows = slice(reach * self.top, max(height - reach * self.bottom, 0))
        return rows, slice(reach * self.left, max(width - reach * self.right, 0))


WHOLE = Edges()
_ANY = Edges(True, True, True, True)
# LR that was given is cropped at the right and below, and so is what others have prepared.
_CROPPED = Edges(bottom=True, right=True)


class CutEdges:
    """The edges that were cut of the entries of a database, from what `rfdn prepare` wrote beside it or from the keys.

    Args:
        hr: The HR database.
        lr: The LR database.
    """

    def __init__(self, hr: Path, lr: Path) -> None:
        self._settings = read_settings(hr)
        self._sizes = {
            record['key']: (record['height'], record['width'])
            for record in (read_records(hr) if self._settings else ())
            if 'key' in record
        }
        of_lr = read_settings(lr)
        self._at_the_end = WHOLE if of_lr and of_lr.get('LR') != 'given' else _CROPPED

    def of(self, key: str) -> Edges:
        """The edges of an entry that were cut, or may have been where nothing tells."""
        match = _SUB_IMAGE.fullmatch(key)
        if self._settings is None:
            return _ANY if match else _CROPPED
        crop_size, step = self._settings['crop_size'], self._settings['step']
        if not crop_size:
            return self._at_the_end
        size = self._sizes.get(match['image']) if match else None
        if match is None or size is None:
            return _ANY
        tiles = tiles_of(*size, crop_size, step)
        number = int(match['number']) - 1
        if not 0 <= number < len(tiles):
            return _ANY
        tile = tiles[number]
        return Edges(
            top=tile.top > 0,
            left=tile.left > 0,
            bottom=tile.top + tile.height < size[0] or self._at_the_end.bottom,
            right=tile.left + tile.width < size[1] or self._at_the_end.right,
        )


class Resize(NamedTuple):
    """How an LR image was made of an HR image.

    Attributes:
        source: The border rule of MATLAB's bicubic that gives these pixels ('symmetric' where both do), 'other' for
            none, 'unknown' where the LR is too small to tell.
        difference: Mean absolute difference from the nearer border rule in grey levels.
    """

    source: Literal['symmetric', 'replicate', 'other', 'unknown']
    difference: float


def judge_resize(hr: np.ndarray, lr: np.ndarray, scale: int, cut: Edges = WHOLE) -> Resize:
    """Compare an LR with MATLAB's bicubic of an HR, pixel by pixel.

    Args:
        hr: uint8, H x W x 3; it may be larger than the LR times the scale by less than the scale, or smaller.
        lr: uint8, h x w x 3, the channels in the same order.
        scale: The whole factor between them.
        cut: The edges behind which the whole image may have gone on.

    Returns:
        The border rule that gives exactly these pixels, or 'other' with the mean absolute difference in levels of 0..255.
    """
    regions = [region.inside(lr.shape) for region in dict.fromkeys((WHOLE, cut))]
    if not all(lr[inside].size for inside in regions):
        return Resize('unknown', 0.0)
    differences: list[float] = []
    for border in BORDERS:  # a smooth sub-image may equal the other rule at edges that were cut
        for made in _made(hr, lr.shape, scale, border):
            found = [_mean_difference(made[inside], lr[inside]) for inside in regions]
            if 0 in found:
                return Resize(border, 0.0)
            differences += found
    return Resize('other', min(differences))


def _made(hr: np.ndarray, lr_shape: tuple[int, ...], scale: int, border: Literal['symmetric', 'replicate']) -> Iterator:
    """The LR of the HR cropped to the LR, and where the HR is no multiple of the scale also that of the whole HR."""
    height, width = lr_shape[:2]
    if height * scale <= hr.shape[0] and width * scale <= hr.shape[1]:
        yield downscale(hr[: height * scale, : width * scale], scale, border)
    if hr.shape[:2] != (height * scale, width * scale):
        yield downscale(hr, scale, border)[:height, :width]


def describe_resize(hr: np.ndarray, lr: np.ndarray, scale: int, difference: float) -> str:
    """How an LR that is not MATLAB's bicubic was probably made, in words.

    Args:
        hr: uint8, (h * scale) x (w * scale) x 3.
        lr: uint8, h x w x 3.
        scale: The whole factor between them.
        difference: Difference of the LR from MATLAB's bicubic, as `judge_resize` gives it.
    """
    inside = _ANY.inside(lr.shape, _LONGEST_REACH)
    if lr[inside].size == 0:
        inside = WHOLE.inside(lr.shape)
    known = [(_mean_difference(made[inside], lr[inside]), name) for name, made in _other_resizes(hr, scale)]
    closest, name = min(known)
    if closest <= _SAME_RESIZE and closest < difference:
        likely = f'made by {name}'
    elif closest < min(difference, _KNOWN_RESIZE):
        likely = f'closest to {name}, {closest:.2f} levels'
    elif difference <= _KNOWN_RESIZE:
        likely = 'MATLAB bicubic, but compressed or rounded otherwise'
    else:
        likely = 'of no resize that is known here; it may be shifted, sharpened or compressed'
    return f'{difference:.2f} levels from MATLAB bicubic in the mean: {likely}'


def _mean_difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(cv2.absdiff(np.ascontiguousarray(first), np.ascontiguousarray(second)).mean())


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
