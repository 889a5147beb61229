"""Images that a validation writes: none over another."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import cv2
import lmdb
import numpy as np
import pytest
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import sr_model
from helpers.models import build

from rfdn_plugin.models import validation
from rfdn_plugin.models.validation import image_names

NAMES = {
    'as BasicSR has them': (['/d/a.png', '/d/b.x.png'], ['a', 'b.x']),
    'folders': (['a/0001', 'b/0001', 'c'], ['a_0001', 'b_0001', 'c']),
    'folders on a disk': (['/d/a/0001.png', '/d/b/0001.png'], ['a_0001_png', 'b_0001_png']),
    'suffixes': (['/d/x.png', '/d/x.jpg'], ['x_png', 'x_jpg']),
    'keys with dots': (['x.1', 'x.2'], ['x_1', 'x_2']),
    'what they would become is taken': (['a/1', 'b/1', 'a_1'], ['a_1_2', 'b_1', 'a_1']),
    'even below each other': (['a/b/1', 'a_b/1'], ['a_b_1', 'a_b_1_2']),
}


@pytest.mark.parametrize('case', NAMES)
@pytest.mark.parametrize('pairs', [True, False])
def test_every_image_has_a_name_of_its_own(case, pairs):
    paths, expected = NAMES[case]
    names = image_names([{'lq_path': path} for path in paths] if pairs else paths, '/d')
    assert [names[path] for path in paths] == expected


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What validations log."""
    lines: list[str] = []
    logger = SimpleNamespace(warning=lines.append, info=lines.append)
    for module in (validation, sr_model):
        monkeypatch.setattr(module, 'get_root_logger', lambda: logger)
    return lines


def flat_set(folder: Path) -> dict:
    """Three pairs, of which the second is black: a network that gives black makes its PSNR infinite."""
    for which, side in (('gt', 36), ('lq', 12)):
        (folder / which).mkdir()
        for name, value in (('a', 60), ('b', 0), ('c', 120)):
            cv2.imwrite(str(folder / which / f'{name}.png'), np.full((side, side, 3), value, np.uint8))
    roots = {f'dataroot_{which}': str(folder / which) for which in ('gt', 'lq')}
    return {'name': 'flat', 'type': 'PairedImageDataset', 'scale': 3, 'io_backend': {'type': 'disk'}, **roots}


@pytest.mark.parametrize('is_train', [True, False])
def test_an_infinite_value_leaves_the_mean_of_the_others(
    is_train: bool, options: dict, tmp_path: Path, lines: list[str]
):
    """In a training it is never the best: a black image equals its HR from the first iteration on, or from some later one."""
    options['path'] |= {'pretrain_network_g': None}
    options |= {'is_train': is_train, 'logger': {}}
    options['val'] = {'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}
    data = {**flat_set(tmp_path), 'phase': 'val' if is_train else 'test'}
    model = build(options)
    for network in (model.net_g, getattr(model, 'net_g_ema', model.net_g)):
        for tensor in network.state_dict().values():
            tensor.zero_()
    model.validation(build_dataloader(build_dataset(data), data), 5, None)
    expected = np.mean([20 * math.log10(255 / value) for value in (60, 120)])
    assert model.metric_results['psnr'] == pytest.approx(expected, abs=1e-9)
    warning, result = lines[-2:]
    assert warning.startswith('flat: psnr is infinite for 1 of 3 images') and f'The mean, {expected:.4f},' in warning
    assert f'# psnr: {expected:.4f}' in result
    assert model.best_metric_results['flat']['psnr']['iter'] == (-1 if is_train else 5)
    assert ('does not count for the best' in warning) == is_train


@pytest.mark.parametrize(('value', 'said'), [(math.inf, 'infinite for 2 of 2'), (math.nan, 'not a number for 2 of 2')])
def test_a_mean_that_is_no_number_is_never_the_best(value: float, said: str, options: dict, lines: list[str]):
    options['path'] |= {'pretrain_network_g': None}
    options['val'] = {'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}
    model = build(options)
    model._initialize_best_metric_results('set')
    before = dict(model.best_metric_results['set']['psnr'])
    model.metric_results, model._of_images = {'psnr': value}, [{'psnr': value}] * 2
    model._update_best_metric_result('set', 'psnr', value, 5)
    assert model.best_metric_results['set']['psnr'] == before
    assert said in lines[-1] and 'The mean' not in lines[-1]
    model._update_best_metric_result('set', 'psnr', 31.5, 10)
    assert model.best_metric_results['set']['psnr'] == before | {'val': 31.5, 'iter': 10}


def test_images_of_two_folders_are_both_written(options: dict, tmp_path: Path):
    keys = ['a/0001', 'b/0001', 'c']
    values = {'gt': (36, 10), 'lq': (12, 20)}
    for which, (side, value) in values.items():
        folder = tmp_path / f'{which}.lmdb'
        with lmdb.open(str(folder), map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
            for number, key in enumerate(keys):
                image = np.full((side, side, 3), value + 60 * number, np.uint8)
                transaction.put(key.encode(), cv2.imencode('.png', image)[1].tobytes())
        (folder / 'meta_info.txt').write_text(''.join(f'{key}.png ({side},{side},3) 1\n' for key in keys))
    options['path'] |= {'pretrain_network_g': None, 'visualization': str(tmp_path / 'images')}
    options['logger'] = {}
    options['val'] = {'save_img': True, 'suffix': None}
    data = {
        'name': 'set',
        'type': 'PairedImageDataset',
        'phase': 'val',
        'scale': 3,
        'io_backend': {'type': 'lmdb'},
        'dataroot_gt': str(tmp_path / 'gt.lmdb'),
        'dataroot_lq': str(tmp_path / 'lq.lmdb'),
    }
    build(options).validation(build_dataloader(build_dataset(data), data), 5, None, save_img=True)
    written = sorted(str(path.relative_to(tmp_path / 'images')) for path in (tmp_path / 'images').rglob('*.png'))
    assert written == ['a_0001/a_0001_0.png', 'b_0001/b_0001_0.png', 'c/c_0.png']
    images = [cv2.imread(str(tmp_path / 'images' / name)) for name in written]
    assert all((first != second).any() for first, second in itertools.pairwise(images))
