"""MATLAB's `imresize(image, scale, 'bicubic')` for uint8 images, bit for bit.

What makes MATLAB's result its own: when shrinking, the cubic kernel is stretched by the scale (antialiasing); rows are
resized first and rounded to uint8 before the columns are; the border is mirrored with the edge pixel repeated.
Releases of MATLAB before that mirror clamped at the edge instead: the published LR of Set14, BSD100 and Urban100 come
from those, and `border='replicate'` reproduces them.

For a whole factor s every weight is a multiple of 1 / (16 s^4) when shrinking and of 1 / (16 s^3) when enlarging, so
the weighted sums are computed as whole numbers: exact in floating point, whatever the order of the additions, and ties
round up as MATLAB rounds them. The kernel is that of Keys, "Cubic convolution interpolation for digital image
processing", IEEE Trans. ASSP 29(6), 1981, with a = -1/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

Border = Literal['symmetric', 'replicate']
BORDERS: tuple[Border, ...] = ('symmetric', 'replicate')

_CV2_BORDERS = {'symmetric': cv2.BORDER_REFLECT, 'replicate': cv2.BORDER_REPLICATE}
# Added to an exact whole sum before it is divided and rounded to nearest: ties go up, nothing else changes.
_TIE_BREAK = 0.25
# Up to here 255 * sum(|weight|) + _TIE_BREAK is exact in float32; above it the sums are made in float64.
_LARGEST_FLOAT32_FACTOR = 4
_BLOCK_ROWS = 64  # output rows at a time: keeps the temporaries in the cache


def resize(image: np.ndarray, scale: float | Fraction | tuple[int, int], border: Border = 'symmetric') -> np.ndarray:
    """Resize as MATLAB's `imresize` does with 'bicubic' and its default antialiasing.

    Args:
        image: uint8, (H, W) or (H, W, C), the channels in any order.
        scale: The factor, as 1/2, 3 or Fraction(2, 3), giving ceil(H * scale) rows; or the size (rows, columns).
        border: 'symmetric' as MATLAB does today, 'replicate' as its older releases did.

    Returns:
        uint8, as many dimensions as `image` has.

    Raises:
        ValueError: For another dtype or shape, an empty image, an unknown border, a scale that is not positive.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f'a uint8 image of shape (H, W) or (H, W, C) is needed, not {image.dtype} {image.shape}')
    if border not in _CV2_BORDERS:
        raise ValueError(f"border is 'symmetric' or 'replicate', not {border!r}")
    height, width = image.shape[:2]
    if isinstance(scale, tuple):
        rows, columns = scale
        factors = Fraction(rows, height), Fraction(columns, width)
    else:
        # 1/3 as a float stands for the fraction; no factor in use has a larger denominator.
        factor = Fraction(scale).limit_denominator(1000)
        rows, columns = math.ceil(height * factor), math.ceil(width * factor)
        factors = factor, factor
    if rows < 1 or columns < 1:
        raise ValueError(f'an image of {height}x{width} cannot be resized by {scale}')

    def resize_rows(image: np.ndarray) -> np.ndarray:
        return _resize_rows(image, rows, factors[0], border)

    def resize_columns(image: np.ndarray) -> np.ndarray:
        return cv2.transpose(_resize_rows(cv2.transpose(image), columns, factors[1], border))

    # The dimension with the smaller factor goes first, rows where both are the same.
    rows_first = factors[0] <= factors[1]
    passes: list[Callable] = [resize_rows, resize_columns] if rows_first else [resize_columns, resize_rows]
    channels = image.shape[2:]
    for one_pass in passes:
        image = one_pass(image)
    return image.reshape(rows, columns, *channels)  # OpenCV drops a dimension of one channel


def downscale(image: np.ndarray, factor: int, border: Border = 'symmetric') -> np.ndarray:
    """The LR of an HR image at a whole factor: (H, W[, C]) uint8 to (ceil(H / factor), ceil(W / factor)[, C])."""
    return resize(image, Fraction(1, factor), border)


def upscale(image: np.ndarray, factor: int, border: Border = 'symmetric') -> np.ndarray:
    """The bicubic baseline: (H, W[, C]) uint8 to (H * factor, W * factor[, C])."""
    return resize(image, Fraction(factor), border)


def mod_crop(image: np.ndarray, multiple: int) -> np.ndarray:
    """The top left part of (H, W[, C]) whose height and width are multiples of `multiple`; a view, perhaps empty."""
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]


def _resize_rows(image: np.ndarray, rows: int, factor: Fraction, border: Border) -> np.ndarray:
    """One pass: (H, W[, C]) uint8 to (rows, W[, C]) uint8."""
    if factor == 1:
        return image
    flat = np.ascontiguousarray(image).reshape(image.shape[0], -1)
    if factor.numerator == 1:
        resized = _shrink(flat, rows, factor.denominator, border)
    elif factor.denominator == 1:
        resized = _enlarge(flat, factor.numerator, border)
    else:
        resized = _by_any_factor(flat, rows, float(factor), border)
    return resized.reshape(rows, *image.shape[1:])


def _shrink(flat: np.ndarray, rows: int, factor: int, border: Border) -> np.ndarray:
    """Output row r weighs the 4 * factor input rows from r * factor - before on.

    Seen as 4 consecutive groups of `factor` rows each, that is, for each place within a group, a 4-tap filter over
    the groups: no row is computed that is not wanted, and OpenCV's filter runs at full width.
    """
    kernels, before, divisor, depth = _shrink_kernels(factor)
    padded_rows = (rows + 3) * factor
    after = padded_rows - before - flat.shape[0]
    groups = cv2.copyMakeBorder(flat, before, after, 0, 0, _CV2_BORDERS[border]).reshape(rows + 3, -1)
    width = flat.shape[1]
    result = np.empty((rows, width), np.uint8)
    for start in range(0, rows, _BLOCK_ROWS):
        count = min(_BLOCK_ROWS, rows - start)
        total = None
        for place, kernel in enumerate(kernels):
            taps = groups[start : start + count + 3, place * width : (place + 1) * width]
            delta = _TIE_BREAK if place == 0 else 0
            part = _filter_rows(taps, kernel, depth, delta)
            if total is None:
                total = part
            elif place < factor - 1:
                cv2.add(total, part, dst=total)
            else:
                result[start : start + count] = _divided_sum(total, 1 / divisor, part, 1 / divisor)
    return result


def _enlarge(flat: np.ndarray, factor: int, border: Border) -> np.ndarray:
    """Output row r * factor + phase weighs the input rows r - 2 to r + 2; each phase has its own five weights."""
    kernels, divisor, depth = _enlarge_kernels(factor)
    height, width = flat.shape
    padded = cv2.copyMakeBorder(flat, 2, 2, 0, 0, _CV2_BORDERS[border])
    result = np.empty((height, factor, width), np.uint8)
    for start in range(0, height, _BLOCK_ROWS):
        count = min(_BLOCK_ROWS, height - start)
        for phase, kernel in enumerate(kernels):
            taps = padded[start : start + count + 4]
            total = _filter_rows(taps, kernel, depth, _TIE_BREAK)
            result[start : start + count, phase] = _divided_sum(total, 1 / divisor, total, 0)
    return result.reshape(height * factor, width)


def _filter_rows(taps: np.ndarray, kernel: np.ndarray, depth: int, delta: float) -> np.ndarray:
    """Each row and those below it weighed by `kernel`, plus `delta`; for every row that has all of them below it."""
    rows = taps.shape[0] - len(kernel) + 1
    return cv2.filter2D(taps, depth, kernel, anchor=(0, 0), delta=delta, borderType=cv2.BORDER_REPLICATE)[:rows]


def _divided_sum(first: np.ndarray, alpha: float, second: np.ndarray, beta: float) -> np.ndarray:
    """`first * alpha + second * beta`, rounded to nearest and clipped to uint8."""
    # Not cv2.multiply by a number: for arrays of one or four elements it takes the number for a vector.
    return cv2.addWeighted(first, alpha, second, beta, 0, dtype=cv2.CV_8U)


def _by_any_factor(flat: np.ndarray, rows: int, factor: float, border: Border) -> np.ndarray:
    """MATLAB's own way, in float64: for each output row its input rows and normalised weights."""
    height = flat.shape[0]
    stretch = min(factor, 1.0)
    centres = (np.arange(rows) + 0.5) / factor - 0.5
    first = np.floor(centres - 2 / stretch).astype(np.int64)
    indices = first[:, None] + np.arange(math.ceil(4 / stretch) + 2)
    weights = _cubic((centres[:, None] - indices) * stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    if border == 'symmetric':
        mirrored = np.concatenate([np.arange(height), np.arange(height)[::-1]])
        indices = mirrored[indices % (2 * height)]
    else:
        indices = indices.clip(0, height - 1)
    total = np.zeros((rows, flat.shape[1]))
    for tap in range(indices.shape[1]):
        total += weights[:, tap, None] * flat[indices[:, tap]]
    return np.floor(total + 0.5).clip(0, 255).astype(np.uint8)


def _cubic(distance: np.ndarray) -> np.ndarray:
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@lru_cache
def _shrink_kernels(factor: int) -> tuple[list[np.ndarray], int, int, int]:
    """For each place in a group of `factor` rows its four weights, the rows padded before, the divisor, the depth."""
    # Row 0 is centred at (factor - 1) / 2 and reaches less than 2 * factor to either side. An odd factor needs one tap
    # fewer than 4 * factor: its last weight is zero.
    before = 2 * factor - (factor + 1) // 2 if factor % 2 == 0 else 2 * factor - 1 - (factor - 1) // 2
    distances = (np.arange(4 * factor) - before - (factor - 1) / 2) / factor
    weights = np.rint(_cubic(distances) * 16 * factor**3)
    kernel_type, depth = _precision(factor)
    kernels = [weights[place::factor, None].astype(kernel_type) for place in range(factor)]
    return kernels, before, int(weights.sum()), depth


@lru_cache
def _enlarge_kernels(factor: int) -> tuple[list[np.ndarray], int, int]:
    """For each of the `factor` output rows between two input rows its five weights, the divisor, the depth."""
    phases = (np.arange(factor) + 0.5) / factor - 0.5
    weights = np.rint(_cubic(phases[:, None] - np.arange(-2, 3)) * 16 * factor**3)
    kernel_type, depth = _precision(factor)
    return [row[:, None].astype(kernel_type) for row in weights], 16 * factor**3, depth


def _precision(factor: int) -> tuple[type, int]:
    return (np.float32, cv2.CV_32F) if factor <= _LARGEST_FLOAT32_FACTOR else (np.float64, cv2.CV_64F)
