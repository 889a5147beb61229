"""The numbers of record against BasicSR's functions, and against scikit-image as an independent witness."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.small_sets import photograph

import rfdn_plugin  # noqa: F401
from rfdn_plugin.leaderboard.measure.metrics import Reference, metric_problem, smallest_side
from rfdn_plugin.utils.errors import RFDNError

CROPS = [2, 3, 4]


def noisy(rgb: np.ndarray, sigma: float = 6) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma, rgb.shape)
    return (rgb + noise).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize('crop', CROPS)
@pytest.mark.parametrize('name', ['astronaut', 'coffee'])
def test_numbers_are_basicsr_s(name, crop):
    from basicsr.metrics import calculate_psnr, calculate_ssim

    hr = photograph(name, (97, 121))
    sr = noisy(hr)
    scores = Reference(hr, crop).score(sr)
    bgr = sr[..., ::-1], hr[..., ::-1]
    assert scores['psnr_y'] == calculate_psnr(*bgr, crop, test_y_channel=True)
    assert scores['psnr_rgb'] == pytest.approx(calculate_psnr(*bgr, crop), abs=1e-12)
    assert scores['ssim_y'] == pytest.approx(calculate_ssim(*bgr, crop, test_y_channel=True), abs=1e-12)


@pytest.mark.parametrize('crop', CROPS)
def test_numbers_agree_with_scikit_image(crop):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    hr = photograph('chelsea', (97, 121))
    sr = noisy(hr)
    scores = Reference(hr, crop).score(sr)
    weights = np.array([65.481, 128.553, 24.966]) / 255
    y_hr, y_sr = ((image @ weights + 16)[crop:-crop, crop:-crop] for image in (hr, sr))
    inner_hr, inner_sr = (image[crop:-crop, crop:-crop] for image in (hr, sr))
    assert scores['psnr_y'] == pytest.approx(peak_signal_noise_ratio(y_hr, y_sr, data_range=255), abs=1e-5)
    assert scores['psnr_rgb'] == pytest.approx(peak_signal_noise_ratio(inner_hr, inner_sr, data_range=255), abs=1e-9)
    _, ssim = structural_similarity(
        y_hr,
        y_sr,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        win_size=11,
        use_sample_covariance=False,
        full=True,
    )
    assert scores['ssim_y'] == pytest.approx(ssim[5:-5, 5:-5].mean(), abs=1e-5)


def test_the_crop_is_left_out():
    hr = photograph('coffee')
    framed = hr.copy()
    framed[:4] = framed[-4:] = 0
    framed[:, :4] = framed[:, -4:] = 255
    assert Reference(hr, 4).score(framed) == {'psnr_y': math.inf, 'ssim_y': pytest.approx(1), 'psnr_rgb': math.inf}
    assert Reference(hr, 3).score(framed)['psnr_y'] < 40


def test_colour_order_matters():
    hr = photograph('astronaut')
    sr = noisy(hr)
    assert Reference(hr, 2).score(sr[..., ::-1])['psnr_y'] < Reference(hr, 2).score(sr)['psnr_y'] - 5


def test_another_size_is_refused_with_both():
    hr = photograph('coffee')
    with pytest.raises(RFDNError, match='the image is 74x60 and HR 75x61'):
        Reference(hr, 2).score(hr[:60, :74])


def test_a_image_too_small_for_ssim_is_refused():
    with pytest.raises(RFDNError, match='too small for SSIM'):
        Reference(photograph('coffee', (16, 40)), 4)


def test_further_metrics_are_basicsr_s():
    from basicsr.metrics import calculate_niqe, calculate_ssim

    hr = photograph('astronaut', (210, 220))
    sr = noisy(hr)
    metrics = {
        'niqe': {'type': 'calculate_niqe', 'better': 'lower'},
        'ssim_rgb': {'type': 'calculate_ssim', 'crop_border': 7},
    }
    found = Reference(hr, 4).further(sr, metrics)
    assert found['niqe'] == pytest.approx(calculate_niqe(sr[..., ::-1], 4))
    assert found['ssim_rgb'] == calculate_ssim(sr[..., ::-1], hr[..., ::-1], 7)


@pytest.mark.parametrize(
    ('metric', 'said'),
    [
        ({'type': 'calculate_lpips'}, "no metric 'calculate_lpips' is registered"),
        ({'type': 'calculate_psnr', 'crop_boarder': 2}, 'unknown argument crop_boarder (did you mean crop_border?)'),
        ({'type': 'calculate_psnr', 'crop_border': -1}, 'crop_border: must be a whole number from 0, not -1'),
        ({'type': 'calculate_niqe', 'better': 'best'}, "better: must be 'higher' or 'lower', not 'best'"),
        ({'type': 'pyiqa'}, 'needs `metric`'),
    ],
)
def test_a_metric_that_cannot_be_computed_is_known_before(metric, said):
    assert said in (metric_problem(metric) or '')


def test_a_metric_that_can_be_computed_has_no_problem():
    assert metric_problem({'type': 'calculate_niqe', 'better': 'lower', 'crop_border': 3}) is None


@pytest.mark.parametrize('crop', CROPS)
def test_the_smallest_image_can_be_measured(crop):
    hr = photograph('coffee', (smallest_side(crop), 40))
    assert math.isfinite(Reference(hr, crop).score(noisy(hr))['ssim_y'])


def test_pyiqa_is_optional_and_its_licence_is_said(monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'pyiqa' else find(name))
    problem = metric_problem({'type': 'pyiqa', 'metric': 'lpips'}) or ''
    assert 'pip install pyiqa' in problem and 'Noncommercial' in problem
