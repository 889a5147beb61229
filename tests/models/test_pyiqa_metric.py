"""Metrics of pyiqa in `val.metrics`: through a small package with pyiqa's interface, since pyiqa itself is no dependency.

Tried by hand with pyiqa 0.1.16: `ssim` in a training with `save_best`, a misspelt name, `lpips` without network access.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import rfdn_plugin  # noqa: F401 (basicsr imports after it only)
from rfdn_plugin.models.pyiqa_metric import _scorer
from rfdn_plugin.options import pyiqa as known
from rfdn_plugin.options.registry import check_metric, needs_reference

PACKAGE = {
    '__init__.py': 'from .api import create_metric',
    'default_model_configs.py': """
DEFAULT_CONFIGS = {
    'difference': {'metric_mode': 'FR', 'lower_better': True},
    'brightness': {'metric_mode': 'NR'},
}
""",
    'api.py': """
class Metric:
    def __init__(self, name, factor):
        self.name, self.factor = name, factor
        self.metric_mode = 'NR' if name == 'brightness' else 'FR'

    def __call__(self, target, ref=None):
        assert target.shape[:2] == (1, 3) and 0 <= target.min() and target.max() <= 1
        value = target[0, 0].mean() if self.metric_mode == 'NR' else (target - ref).abs().mean()
        return value * self.factor


def create_metric(name, factor=1):
    return Metric(name, factor)
""",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch):
    (tmp_path / 'pyiqa').mkdir()
    for name, text in PACKAGE.items():
        (tmp_path / 'pyiqa' / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition('.')[0] == 'pyiqa']:
        del sys.modules[name]
    _scorer.cache_clear()
    known._configurations.cache_clear()


def test_the_value_is_that_of_rgb_from_0_to_1(installed):
    from basicsr.metrics import calculate_metric

    bgr = np.zeros((4, 5, 3), np.uint8)
    bgr[..., 2] = 51  # red, which pyiqa gets first
    images = {'img': bgr, 'img2': np.zeros_like(bgr)}
    section = check_metric({'type': 'pyiqa', 'metric': 'difference', 'factor': 3})
    assert section['better'] == 'lower' and needs_reference(section)
    assert calculate_metric(images, section) == pytest.approx(0.2)
    section = check_metric({'type': 'pyiqa', 'metric': 'brightness'})
    assert section['better'] == 'higher' and not needs_reference(section)
    assert calculate_metric(images, section) == pytest.approx(0.2)
    del images['img2']
    assert calculate_metric(images, section) == pytest.approx(0.2)


def test_who_knows_better_says_so(installed):
    assert check_metric({'type': 'pyiqa', 'metric': 'brightness', 'better': 'lower'})['better'] == 'lower'


@pytest.mark.parametrize(
    ('section', 'said'),
    [
        ({'type': 'pyiqa'}, 'needs `metric`'),
        ({'type': 'pyiqa', 'metric': 'diference'}, "pyiqa has no 'diference' (did you mean difference?)"),
        ({'type': 'pyiqa', 'metric': 3}, 'needs `metric`'),
        ({'type': 'calculate_lpips'}, 'metrics of pyiqa are written {type: pyiqa, metric: lpips}'),
    ],
)
def test_a_wrong_name_is_told(installed, section, said):
    with pytest.raises(ValueError) as caught:
        check_metric(section)
    assert said in str(caught.value)
