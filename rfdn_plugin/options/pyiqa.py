"""The metrics of the package pyiqa in option files, `{type: pyiqa, metric: lpips}`: what is known of them before they run."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from typing import Any

NOT_INSTALLED = (
    'pyiqa is not installed: pip install pyiqa. Its licence (PolyForm Noncommercial) forbids commercial use, so it is no '
    'dependency of this package'
)


def check_pyiqa(metric: Mapping[str, Any]) -> dict[str, Any]:
    """The section of a metric of pyiqa, with `better` filled in.

    Raises:
        ValueError: It names none, pyiqa is not installed, or has no such metric.
    """
    from rfdn_plugin.options.yaml_io import did_you_mean

    name = metric.get('metric')
    if not isinstance(name, str):
        raise ValueError('type pyiqa needs `metric`, the name of one of its metrics, e.g. lpips')
    if importlib.util.find_spec('pyiqa') is None:
        raise ValueError(NOT_INSTALLED)
    known = _configurations()
    if name not in known:
        raise ValueError(f'metric: pyiqa has no {name!r}{did_you_mean(name, known)}')
    return {'better': 'lower' if known[name].get('lower_better') else 'higher', **metric}


def is_without_reference(metric: str) -> bool:
    """Whether a metric of pyiqa judges an image alone."""
    return _configurations().get(metric, {}).get('metric_mode') == 'NR'


@functools.cache
def _configurations() -> dict[str, Any]:
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    return dict(DEFAULT_CONFIGS)
