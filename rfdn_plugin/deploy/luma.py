"""Colour images through a network of the Y channel, as IDN: Cb and Cr are enlarged by bicubic interpolation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rfdn_plugin.deploy.layers import Region

Store = Callable[[Region, np.ndarray], None]


def upscale_luma(image: np.ndarray, scale: int, run: Callable[[np.ndarray, Store], None]) -> np.ndarray:
    """Enlarge an image by a network that knows Y alone (BT.601, 16/255 to 235/255).

    Args:
        image: H x W x 3, RGB, of uint8, uint16 or float from 0 to 1.
        scale: The network's scale factor.
        run: Computes the enlarged Y, 32-bit floats, of a plane H x W, and stores it by LR regions.

    Returns:
        (scale H) x (scale W) x 3, RGB, 32-bit floats.
    """
    from basicsr.utils.color_util import rgb2ycbcr, ycbcr2rgb
    from basicsr.utils.matlab_functions import imresize

    values = image.astype(np.float32)
    if image.dtype.kind == 'u':
        values /= np.iinfo(image.dtype).max
    ycbcr = rgb2ycbcr(values)
    luma = np.empty((image.shape[0] * scale, image.shape[1] * scale), np.float32)

    def store(region: Region, part: np.ndarray) -> None:
        luma[region.top * scale : region.bottom * scale, region.left * scale : region.right * scale] = part

    run(np.ascontiguousarray(ycbcr[..., 0]), store)
    enlarged = imresize(ycbcr, scale)
    enlarged[..., 0] = luma.clip(16 / 255, 235 / 255)
    return ycbcr2rgb(enlarged.astype(np.float32))
