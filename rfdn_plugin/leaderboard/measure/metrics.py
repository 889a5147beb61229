"""Quality of one image: the numbers of record are those of BasicSR's `calculate_psnr` and `calculate_ssim`.

PSNR is BasicSR's function itself. SSIM on Y is computed here with the same window in two separable passes, and with
what depends on HR alone computed once for all entries: a third of the time, equal to 1e-12. `Reference.score` can be
told to hold the two against each other, and the evaluation does so on the first image of every set and entry.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.metrics.metric_util import to_y_channel
from basicsr.utils.registry import METRIC_REGISTRY

from rfdn_plugin.utils.errors import RFDNError

_WINDOW = cv2.getGaussianKernel(11, 1.5)  # Wang et al. 2004: 11 taps, sigma 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
LARGEST_DEVIATION = 1e-9
"""Of our SSIM from BasicSR's, before the run is stopped."""


class Reference:
    """A HR image with what of the metrics depends on it alone.

    Args:
        hr: H x W x 3, RGB, uint8.
        crop: Pixels left out at each side; the scale, by convention.

    Raises:
        RFDNError: The image is too small for an SSIM window after the crop.
    """

    def __init__(self, hr: np.ndarray, crop: int) -> None:
        if min(hr.shape[:2]) < 2 * crop + 11:
            raise RFDNError(
                f'an image of {hr.shape[1]}x{hr.shape[0]} is too small for SSIM with {crop} pixels cropped.'
            )
        self.crop = crop
        self.bgr = _bgr(hr)
        self.y = to_y_channel(self.bgr)
        self._signal = _cropped(self.y, crop)
        self._mean, self._square = _blur(self._signal), _blur(self._signal**2)

    def score(self, sr: np.ndarray, *, verify: bool = False) -> dict[str, float]:
        """The numbers of record for a super-resolved image.

        Args:
            sr: Of the size of HR, RGB, uint8.
            verify: Compute SSIM by BasicSR's function too and compare.

        Returns:
            `psnr_y` and `psnr_rgb` in dB (infinite for equal images), `ssim_y`.

        Raises:
            RFDNError: Another size.
        """
        sr_bgr = _bgr(sr)
        if sr_bgr.shape != self.bgr.shape:
            height, width = self.bgr.shape[:2]
            raise RFDNError(f'the image is {sr.shape[1]}x{sr.shape[0]} and HR {width}x{height}: they must be equal.')
        y = to_y_channel(sr_bgr)
        ssim_y = self._ssim(_cropped(y, self.crop))
        if verify:
            of_record = calculate_ssim(y, self.y, self.crop)
            if not abs(ssim_y - of_record) < LARGEST_DEVIATION:
                raise RFDNError(
                    f'SSIM is {ssim_y!r} here and {of_record!r} by BasicSR: report this with your versions.'
                )
        return {
            'psnr_y': float(calculate_psnr(y, self.y, self.crop)),
            'ssim_y': ssim_y,
            'psnr_rgb': float(calculate_psnr(sr_bgr, self.bgr, self.crop)),
        }

    def _ssim(self, signal: np.ndarray) -> float:
        mean, square, product = _blur(signal), _blur(signal**2), _blur(signal * self._signal)
        means = mean * self._mean
        mean_squares = mean**2 + self._mean**2
        luminance = (2 * means + _C1) / (mean_squares + _C1)
        structure = (2 * (product - means) + _C2) / (square + self._square - mean_squares + _C2)
        return float((luminance * structure).mean())

    def further(self, sr: np.ndarray, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        """Further metrics of BasicSR's registry, or of pyiqa; see `LeaderboardOptions.metrics`.

        Raises:
            RFDNError: No such metric, or arguments that it does not take.
        """
        return {name: self._one_further(name, dict(metric), _bgr(sr)) for name, metric in metrics.items()}

    def _one_further(self, name: str, arguments: dict[str, Any], sr_bgr: np.ndarray) -> float:
        kind = arguments.pop('type')
        arguments.pop('better', None)
        if kind == 'pyiqa':
            return _pyiqa(name, sr_bgr, self.bgr, **arguments)
        arguments.setdefault('crop_border', self.crop)
        try:
            metric = METRIC_REGISTRY.get(kind)
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', RuntimeWarning)  # NIQE of an image below 96 pixels: it gives NaN
                return float(metric(img=sr_bgr, img2=self.bgr, **arguments))
        except KeyError as error:
            known = ', '.join(METRIC_REGISTRY.keys())
            raise RFDNError(f'metrics.{name}: BasicSR has no metric {kind}: it has {known}.') from error
        except TypeError as error:
            raise RFDNError(f'metrics.{name}: {error}.') from error


def _bgr(rgb: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rgb[..., ::-1])


def _cropped(y: np.ndarray, crop: int) -> np.ndarray:
    inner = slice(crop, -crop or None)
    return np.ascontiguousarray(y[inner, inner, 0], dtype=np.float64)


def _blur(signal: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(signal, -1, _WINDOW, _WINDOW)[5:-5, 5:-5]


_PYIQA: dict[str, Any] = {}


def _pyiqa(name: str, sr_bgr: np.ndarray, hr_bgr: np.ndarray, *, metric: str, **arguments: Any) -> float:
    try:
        import pyiqa
    except ImportError as error:
        raise RFDNError(
            f'metrics.{name}: install pyiqa for it (pip install pyiqa). Its licence (PolyForm Noncommercial) forbids '
            'commercial use, so it is no dependency of this package.'
        ) from error
    from basicsr.utils import img2tensor

    if name not in _PYIQA:
        _PYIQA[name] = pyiqa.create_metric(metric, **arguments)
    tensors = [img2tensor(image).div(255).unsqueeze(0) for image in (sr_bgr, hr_bgr)]
    scorer = _PYIQA[name]
    return float(scorer(*tensors) if scorer.metric_mode == 'FR' else scorer(tensors[0]))
