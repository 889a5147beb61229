"""Each set with the network and each metric is tried before a training: what fails there would fail after hours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.training import option_file, small

import rfdn_plugin  # noqa: F401 (basicsr imports after it only)
from rfdn_plugin.options.load import load_training_options
from rfdn_plugin.training import preflight
from rfdn_plugin.training.preflight.evaluation import check_set
from rfdn_plugin.training.preflight.findings import Findings
from rfdn_plugin.utils.errors import RFDNError


def check(tmp_path: Path, tiny_data: Path, photographs: Path, **changes: object) -> Findings:
    entries = small(tiny_data, photographs, **{'train:scheduler:milestones': '[5]', **changes})
    options = load_training_options(option_file(), entries)
    return preflight.check_training(options, tmp_path, world_size=1, auto_resume=False)


@pytest.fixture
def strict_metric():
    """A metric of another package that takes its images and nothing else."""
    from basicsr.utils.registry import METRIC_REGISTRY

    def calculate_mad(img, img2):
        return abs(img.astype(float) - img2).mean()

    METRIC_REGISTRY.register(calculate_mad)
    yield
    del METRIC_REGISTRY._obj_map['calculate_mad']


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'val:metrics:psnr:crop_border': 300}, ['val.metrics.psnr', 'gives nan', '96x96 pixels', 'crop_border 300']),
        ({'val:metrics:psnr:crop_border': 48}, ['val.metrics.psnr', 'gives nan', '96x96 pixels', 'crop_border 48']),
        ({'val:metrics:psnr:input_order': 'CHW'}, ['val.metrics.psnr.input_order', 'images come as HWC, not CHW']),
        ({'val:metrics:ssim:input_order': 'HCW'}, ['val.metrics.ssim.input_order', 'HCW']),
        ({'val:metrics:ssim:crop_border': 45}, ['val.metrics.ssim', 'gives nan', 'crop_border 45']),
        (
            {'val:metrics:niqe': '{type: calculate_niqe, crop_border: 2}'},
            ['val.metrics.niqe: calculate_niqe fails', '96x96 pixels'],
        ),
        ({'val:metrics:m': '{type: calculate_mad, better: lower}'}, ['val.metrics.m', 'let it take **kwargs']),
        ({'val:metrics:t': '{type: calculate_psnr_pt, crop_border: 2}'}, ['val.metrics.t', 'calculate_psnr_pt fails']),
        (
            {'network_g:num_in_ch': 1, 'network_g:num_out_ch': 1, 'datasets:train:color': 'y'},
            ['datasets.val', 'the network fails on its images of 3 channels', 'color'],
        ),
        ({'datasets:val:color': 'y'}, ['datasets.val', 'the network fails on its images of 1 channel ']),
        ({'datasets:train:prefetch_mode': 'cuda', 'datasets:train:pin_memory': 'true'}, ['cuda needs a GPU']),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
@pytest.mark.usefixtures('strict_metric')
def test_what_would_fail_in_the_first_validation(tmp_path, tiny_data, photographs, changes, words):
    (problem,) = check(tmp_path, tiny_data, photographs, **changes).problems
    assert '\n' not in problem and all(word in problem for word in words), problem


def test_what_is_fine_stays_fine(tmp_path, tiny_data, photographs):
    """A crop that leaves a pixel, one channel everywhere."""
    one = {'network_g:num_in_ch': 1, 'network_g:num_out_ch': 1, 'datasets:train:color': 'y', 'datasets:val:color': 'y'}
    assert check(tmp_path, tiny_data, photographs, **{'val:metrics:psnr:crop_border': 47}) == Findings()
    found = check(tmp_path, tiny_data, photographs, **one)
    assert found.problems == [] and ['rounded to 8 bits' in note for note in found.notes] == [True]


def test_a_network_that_gives_more_than_an_image(tiny_data, photographs):
    class Pair(torch.nn.Module):
        def forward(self, x):
            return x, x

    options = load_training_options(option_file(), small(tiny_data, photographs))
    (problem,) = check_set(options, Pair(), 'val', None)
    assert 'datasets.val: the network gives a tuple' in problem


def test_normalised_images_are_noted(tmp_path, tiny_data, photographs):
    normalised = {'datasets:val:mean': '[0.5, 0.5, 0.5]', 'datasets:val:std': '[0.5, 0.5, 0.5]'}
    found = check(tmp_path, tiny_data, photographs, **normalised)
    assert found.problems == [] and ['PSNR is measured on these' in note for note in found.notes] == [True]


@pytest.mark.parametrize(('better', 'refused'), [('', True), (', better: lower', False)])
def test_the_best_of_a_metric_whose_direction_is_not_known(tiny_data, photographs, better, refused):
    from basicsr.utils.registry import METRIC_REGISTRY

    def calculate_mad(img, img2, **_):
        return abs(img.astype(float) - img2).mean()

    METRIC_REGISTRY.register(calculate_mad)
    metric = {'val:metrics:mad': f'{{type: calculate_mad{better}}}', 'logger:save_best': '{metric: mad, dataset: Set5}'}
    entries = small(tiny_data, photographs, **metric)
    try:
        if refused:
            with pytest.raises(RFDNError, match=r'val.metrics.mad has no better.*`better: higher` or `better: lower`'):
                load_training_options(option_file(), entries)
        else:
            assert load_training_options(option_file(), entries)['val']['metrics']['mad']['better'] == 'lower'
    finally:
        del METRIC_REGISTRY._obj_map['calculate_mad']


def test_lower_is_better_for_niqe_without_saying_so(tiny_data, photographs):
    """BasicSR would keep the weights with the worst value as the best."""
    entries = small(tiny_data, photographs, **{'val:metrics:niqe': '{type: calculate_niqe, crop_border: 2}'})
    assert load_training_options(option_file(), entries)['val']['metrics']['niqe']['better'] == 'lower'


@pytest.mark.parametrize('value', ["'no'", '1', "'false'"])
def test_a_switch_that_is_no_switch(tiny_data, photographs, value):
    """Words in quotes are true to who asks `if`: PSNR would be measured on Y, against the file."""
    entries = small(tiny_data, photographs, **{'val:metrics:psnr:test_y_channel': value})
    with pytest.raises(RFDNError, match=r'val.metrics.psnr: test_y_channel: input should be a valid boolean'):
        load_training_options(option_file(), entries)


def test_pyiqa_that_is_not_installed_is_told_before_the_training(tiny_data, photographs, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'pyiqa' else find(name))
    entries = small(tiny_data, photographs, **{'val:metrics:lpips': '{type: pyiqa, metric: lpips}'})
    with pytest.raises(RFDNError, match=r'val.metrics.lpips: pyiqa is not installed: pip install pyiqa') as error:
        load_training_options(option_file(), entries)
    assert '\n' not in str(error.value)
