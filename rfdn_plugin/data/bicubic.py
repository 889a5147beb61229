"""The LR of an HR image: MATLAB's `imresize(image, 1 / factor, 'bicubic')` for uint8 images, bit for bit.

What makes MATLAB's result its own: the cubic kernel is stretched by the factor (antialiasing); rows are resized first and
rounded to uint8 before the columns are; the border is mirrored with the edge pixel repeated. Releases of MATLAB before
that mirror clamped at the edge instead: the published LR of Set14, BSD100 and Urban100 come from those, and
`border='replicate'` reproduces them.

For a whole factor s every weight is a multiple of 1 / (16 s^4), so the weighted sums are computed as whole numbers: exact
in floating point, whatever the order of the additions, and ties round up as MATLAB rounds them. The kernel is that of
Keys, "Cubic convolution interpolation for digital image processing", IEEE Trans. ASSP 29(6), 1981, with a = -1/2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from rfdn_plugin.utils.kernels import cubic

Border = Literal['symmetric', 'replicate']
BORDERS: tuple[Border, ...] = ('symmetric', 'replicate')

_CV2_BORDERS = {'symmetric': cv2.BORDER_REFLECT, 'replicate': cv2.BORDER_REPLICATE}
# Added to an exact whole sum before it is divided and rounded to nearest: ties go up, nothing else changes.
_TIE_BREAK = 0.25
# Up to here 255 * sum(|weight|) + _TIE_BREAK is exact in float32; above it the sums are made in float64.
_LARGEST_FLOAT32_FACTOR = 4
_BLOCK_ROWS = 64  # output rows at a time: keeps the temporaries in the cache


def downscale(image: np.ndarray, factor: int, border: Border = 'symmetric') -> np.ndarray:
    """The LR of an HR image as MATLAB makes it, with 'bicubic' and its default antialiasing.

    Args:
        image: uint8, (H, W) or (H, W, C), the channels in any order.
        factor: How many HR pixels make an LR pixel, in each direction.
        border: 'symmetric' as MATLAB does today, 'replicate' as its older releases did.

    Returns:
        uint8, (ceil(H / factor), ceil(W / factor)[, C]), as many dimensions as `image` has.

    Raises:
        ValueError: For another dtype or shape, an empty image, an unknown border, a factor that is no whole number from 1.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f'a uint8 image of shape (H, W) or (H, W, C) is needed, not {image.dtype} {image.shape}')
    if border not in _CV2_BORDERS:
        raise ValueError(f"border is 'symmetric' or 'replicate', not {border!r}")
    if factor != int(factor) or factor < 1:
        raise ValueError(f'factor is a whole number from 1, not {factor}')
    if factor == 1:
        return image
    rows = _shrink_rows(image, factor, border)
    both = cv2.transpose(_shrink_rows(cv2.transpose(rows), factor, border))
    return both.reshape(*both.shape[:2], *image.shape[2:])  # OpenCV drops a dimension of one channel


def mod_crop(image: np.ndarray, multiple: int) -> np.ndarray:
    """The top left part of (H, W[, C]) whose height and width are multiples of `multiple`; a view, perhaps empty."""
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]


def _shrink_rows(image: np.ndarray, factor: int, border: Border) -> np.ndarray:
    """One pass, (H, W[, C]) to (ceil(H / factor), W[, C]): row r weighs 4 * factor rows from r * factor - before on.

    Seen as 4 consecutive groups of `factor` rows each, that is, for each place within a group, a 4-tap filter over
    the groups: no row is computed that is not wanted, and OpenCV's filter runs at full width.
    """
    flat = np.ascontiguousarray(image).reshape(image.shape[0], -1)
    rows = -(-flat.shape[0] // factor)
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
            part = cv2.filter2D(taps, depth, kernel, anchor=(0, 0), delta=delta, borderType=cv2.BORDER_REPLICATE)[
                :count
            ]
            if total is None:
                total = part
            elif place < factor - 1:
                cv2.add(total, part, dst=total)
            else:
                # Not cv2.multiply by a number: for arrays of one or four elements it takes the number for a vector.
                result[start : start + count] = cv2.addWeighted(
                    total, 1 / divisor, part, 1 / divisor, 0, dtype=cv2.CV_8U
                )
    return result.reshape(rows, *image.shape[1:])


@lru_cache
def _shrink_kernels(factor: int) -> tuple[list[np.ndarray], int, int, int]:
    """For each place in a group of `factor` rows its four weights, the rows padded before, the divisor, the depth."""
    # Row 0 is centred at (factor - 1) / 2 and reaches less than 2 * factor to either side. An odd factor needs one tap
    # fewer than 4 * factor: its last weight is zero.
    before = 3 * factor // 2
    distances = (np.arange(4 * factor) - before - (factor - 1) / 2) / factor
    weights = np.rint(cubic(distances) * 16 * factor**3)
    exact = factor <= _LARGEST_FLOAT32_FACTOR
    kernel_type, depth = (np.float32, cv2.CV_32F) if exact else (np.float64, cv2.CV_64F)
    kernels = [weights[place::factor, None].astype(kernel_type) for place in range(factor)]
    return kernels, before, int(weights.sum()), depth
