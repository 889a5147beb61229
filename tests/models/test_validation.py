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


@pytest.mark.parametrize('value', [math.inf, math.nan, -math.inf])
def test_a_mean_that_is_no_number_is_never_the_best(options: dict, value: float, monkeypatch):
    """A black image of a validation set equals its HR from the first iteration on: its PSNR is infinite."""
    options['path'] |= {'pretrain_network_g': None}
    options['val'] = {'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}
    model = build(options)
    model._initialize_best_metric_results('flat images')
    before = dict(model.best_metric_results['flat images']['psnr'])
    lines: list[str] = []
    monkeypatch.setattr(validation, 'get_root_logger', lambda: SimpleNamespace(warning=lines.append))
    model._update_best_metric_result('flat images', 'psnr', value, 5)
    assert model.best_metric_results['flat images']['psnr'] == before
    (line,) = lines
    assert line.startswith(f'flat images: the mean of psnr is {value:g}') and 'equals its HR' in line
    model._update_best_metric_result('flat images', 'psnr', 31.5, 10)
    assert model.best_metric_results['flat images']['psnr'] == before | {'val': 31.5, 'iter': 10}


def test_images_of_two_folders_are_both_written(options: dict, tmp_path: Path):
    from basicsr.data import build_dataloader, build_dataset

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
