"""PSNR and SSIM of a network on the public benchmark images, with BasicSR's own functions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import nn

from rfdn_plugin import compat  # noqa: F401 (patches basicsr before it is imported)


class Quality(NamedTuple):
    """Of one image or the mean of several: Y of BT.601, border of `scale` pixels left out, SSIM, and PSNR of RGB."""

    psnr_y: float
    ssim_y: float
    psnr_rgb: float


def measure(network: nn.Module, data_root: Path, scale: int, dataset: str = 'Set5') -> dict[str, Quality]:
    """The quality of each image by its name; LR is the set's published bicubic."""
    from basicsr.metrics import calculate_psnr, calculate_ssim

    results = {}
    for path in sorted((data_root / 'benchmarks' / dataset / 'HR').glob('*.png')):
        low = data_root / 'benchmarks' / dataset / 'LR_bicubic' / f'X{scale}' / f'{path.stem}x{scale}.png'
        output_bgr, high_bgr = enlarge_bgr(network, cv2.imread(str(low))), cv2.imread(str(path))
        high_bgr = high_bgr[: output_bgr.shape[0], : output_bgr.shape[1]]
        results[path.stem] = Quality(
            calculate_psnr(output_bgr, high_bgr, crop_border=scale, test_y_channel=True),
            calculate_ssim(output_bgr, high_bgr, crop_border=scale, test_y_channel=True),
            calculate_psnr(output_bgr, high_bgr, crop_border=scale),
        )
    return results


def mean(results: dict[str, Quality]) -> Quality:
    return Quality(*np.mean(list(results.values()), axis=0))


def enlarge_bgr(network: nn.Module, low_bgr: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(low_bgr[..., ::-1].transpose(2, 0, 1).copy()).float() / 255
    with torch.inference_mode():
        out = network(x[None])[0].clamp(0, 1)
    return np.ascontiguousarray((out * 255).round().byte().numpy().transpose(1, 2, 0)[..., ::-1])
