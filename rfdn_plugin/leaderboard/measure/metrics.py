"""Quality of one image: the numbers of record are those of BasicSR's `calculate_psnr` and `calculate_ssim`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.metrics.metric_util import to_y_channel
from basicsr.utils.registry import METRIC_REGISTRY

from rfdn_plugin.options.registry import check_metric
from rfdn_plugin.utils.errors import RFDNError

SSIM_WINDOW = 11
"""Side in pixels of the window that SSIM looks through."""


def smallest_side(crop: int) -> int:
    """The side in pixels that an HR image needs so that SSIM has one window after `crop` pixels are left out."""
    return 2 * crop + SSIM_WINDOW


class Reference:
    """An HR image to measure super-resolved ones against.

    Args:
        hr: H x W x 3, RGB, uint8.
        crop: Pixels left out at each side; the scale, by convention.

    Raises:
        RFDNError: The image is too small for an SSIM window after the crop.
    """

    def __init__(self, hr: np.ndarray, crop: int) -> None:
        if min(hr.shape[:2]) < smallest_side(crop):
            raise RFDNError(
                f'an image of {hr.shape[1]}x{hr.shape[0]} is too small for SSIM with {crop} pixels cropped.'
            )
        self.crop = crop
        self.bgr = _bgr(hr)
        self.y = to_y_channel(self.bgr)

    def score(self, sr: np.ndarray) -> dict[str, float]:
        """The numbers of record for a super-resolved image.

        Args:
            sr: H x W x 3 as the HR image, RGB, uint8.

        Returns:
            `psnr_y` and `psnr_rgb` in dB (infinite for equal images), `ssim_y`.

        Raises:
            RFDNError: `sr` has another size than the HR image.
        """
        sr_bgr = _bgr(sr)
        if sr_bgr.shape != self.bgr.shape:
            height, width = self.bgr.shape[:2]
            raise RFDNError(f'the image is {sr.shape[1]}x{sr.shape[0]} and HR {width}x{height}: they must be equal.')
        y = to_y_channel(sr_bgr)
        return {
            'psnr_y': float(calculate_psnr(y, self.y, self.crop)),
            'ssim_y': float(calculate_ssim(y, self.y, self.crop)),
            'psnr_rgb': float(calculate_psnr(sr_bgr, self.bgr, self.crop)),
        }

    def further(self, sr: np.ndarray, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        """Further metrics of BasicSR's registry, or of pyiqa; see `LeaderboardOptions.metrics`.

        Raises:
            RFDNError: A metric does not take these images or arguments; `metric_problem` tells most of it before.
        """
        return {name: self._one_further(name, dict(metric), _bgr(sr)) for name, metric in metrics.items()}

    def _one_further(self, name: str, arguments: dict[str, Any], sr_bgr: np.ndarray) -> float:
        kind = arguments.pop('type')
        arguments.pop('better', None)
        arguments = _with_crop(kind, arguments, self.crop)
        try:
            metric = METRIC_REGISTRY.get(kind)
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', RuntimeWarning)  # NIQE of an image below 96 pixels: it gives NaN
                return float(metric(img=sr_bgr, img2=self.bgr, **arguments))
        except (TypeError, RFDNError) as error:
            raise RFDNError(f'metrics.{name}: {str(error).rstrip(".")}.') from error


def _bgr(rgb: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rgb[..., ::-1])


def metric_problem(section: Mapping[str, Any]) -> str | None:
    """Find what is wrong with a further metric before any image is measured; None where nothing is.

    Args:
        section: The metric as an option file names it: `type`, `better`, and its arguments.
    """
    try:
        check_metric(_with_crop(section['type'], section, 0))
    except ValueError as error:
        return str(error)
    return None


def _with_crop(kind: str, arguments: Mapping[str, Any], crop: int) -> dict[str, Any]:
    """The arguments of a registered metric, with the crop that it takes and is not given."""
    takes_crop = kind in METRIC_REGISTRY and 'crop_border' in inspect.signature(METRIC_REGISTRY.get(kind)).parameters
    return {'crop_border': crop, **arguments} if takes_crop else dict(arguments)
