"""The metrics of the package pyiqa as one metric of BasicSR's registry, `{type: pyiqa, metric: lpips}`."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
from basicsr.utils import img2tensor
from basicsr.utils.registry import METRIC_REGISTRY

from rfdn_plugin.options.pyiqa import NOT_INSTALLED
from rfdn_plugin.utils.errors import RFDNError


def pyiqa(img: np.ndarray, img2: np.ndarray | None = None, *, metric: str, better: str = '', **arguments: Any) -> float:
    """A metric of pyiqa, on a GPU where there is one; its weights are fetched once.

    Args:
        img: H x W x 3, BGR, uint8.
        img2: HR, likewise; metrics that judge an image alone leave it aside.
        metric: Its name, `lpips` for example.
        arguments: Further ones of `pyiqa.create_metric`.

    Raises:
        RFDNError: pyiqa is not installed.
    """
    scorer = _scorer(metric, json.dumps(arguments, sort_keys=True))
    images = [image for image in (img, img2) if image is not None]
    tensors = [img2tensor(np.ascontiguousarray(image)).div(255).unsqueeze(0) for image in images]
    return float(scorer(*tensors) if scorer.metric_mode == 'FR' else scorer(tensors[0]))


@functools.cache
def _scorer(metric: str, arguments: str) -> Any:
    try:
        from pyiqa import create_metric
    except ImportError as error:
        raise RFDNError(f'{NOT_INSTALLED}.') from error
    return create_metric(metric, **json.loads(arguments))


METRIC_REGISTRY.register(pyiqa)
