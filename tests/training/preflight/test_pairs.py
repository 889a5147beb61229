"""Pairs in folders, as an option file names them: what is wrong with them and what to write."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.images import photograph, write
from PIL import Image

import rfdn_plugin  # noqa: F401 (basicsr imports after it only)
from rfdn_plugin.training.preflight.datasets import check_sizes, find_pairs


def section(root: Path, **changes: object) -> dict:
    roots = {'dataroot_gt': str(root / 'HR'), 'dataroot_lq': str(root / 'LR')}
    return {'type': 'PairedImageDataset', **roots, 'io_backend': {'type': 'disk'}, 'scale': 2, **changes}


def make(root: Path, lr_name: str, suffix: str = '.png', side: int = 24) -> None:
    for number, name in enumerate(('a', 'b (1)')):
        write(root / 'HR' / f'{name}.png', photograph(number, 48, 48))
        write(root / 'LR' / f'{lr_name.format(name)}{suffix}', photograph(number, side, side))


@pytest.mark.parametrize('template', ['{}x2', '{}x2m', '{}_x2', '{}_LR', '{}_LR_x2', '{}x4'])
def test_the_template_that_would_pair_is_named(tmp_path, template):
    make(tmp_path, template)
    pairs, problems = find_pairs('datasets.val', section(tmp_path))
    assert not pairs and len(problems) == 1
    assert f"write filename_tmpl: '{template}'" in problems[0]
    pairs, problems = find_pairs('datasets.val', section(tmp_path, filename_tmpl=template))
    assert len(pairs) == 2 and not problems


@pytest.mark.parametrize('template', ['{}x4', '{}_LR'])
def test_a_template_that_pairs_the_lr_of_another_scale_is_no_cure(tmp_path, template):
    make(tmp_path, template, side=12)
    (problem,) = find_pairs('datasets.val', section(tmp_path))[1]
    assert problem.endswith('these LR are of scale 4, the options have 2: name the LR of that scale.')


def test_other_file_types_are_told(tmp_path):
    make(tmp_path, '{}', '.bmp')
    (problem,) = find_pairs('datasets.val', section(tmp_path))[1]
    assert 'files of one type only' in problem


def test_folders_that_do_not_pair_in_any_way(tmp_path):
    make(tmp_path, '{}_by_somebody')
    (problem,) = find_pairs('datasets.val', section(tmp_path))[1]
    assert 'differ' in problem and 'filename_tmpl' not in problem


@pytest.mark.parametrize('phase', ['train', 'val'])
def test_hr_and_lr_exchanged_are_told_so(tmp_path, phase):
    make(tmp_path, '{}')
    dataset = section(tmp_path, dataroot_gt=str(tmp_path / 'LR'), dataroot_lq=str(tmp_path / 'HR'))
    dataset |= {'gt_size': 24} if phase == 'train' else {}
    pairs, _ = find_pairs(f'datasets.{phase}', dataset)
    problem = next(iter(check_sizes(f'datasets.{phase}', dataset, pairs, 2)))
    assert 'HR and LR are exchanged' in problem and 'exchange dataroot_gt and dataroot_lq' in problem


def test_the_true_scale_is_named(tmp_path):
    make(tmp_path, '{}', side=12)
    pairs, _ = find_pairs('datasets.val', section(tmp_path))
    (problem,) = check_sizes('datasets.val', section(tmp_path), pairs, 2)
    assert 'the LR is of scale 4, not 2' in problem


@pytest.mark.parametrize('orientation', range(1, 9))
def test_photographs_that_a_camera_has_turned_fit(tmp_path, orientation):
    """HR with the note, LR made upright from what a viewer shows."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = (60, 80)
    stored = shown[::-1] if orientation >= 5 else shown
    for folder in ('HR', 'LR'):
        (tmp_path / folder).mkdir()
    Image.fromarray(photograph(0, *stored)).save(tmp_path / 'HR/a.jpg', exif=exif)
    Image.fromarray(np.ascontiguousarray(photograph(0, 30, 40))).save(tmp_path / 'LR/a.jpg')
    pairs, problems = find_pairs('datasets.val', section(tmp_path))
    assert pairs == {'a.jpg': ((60, 80), (30, 40))} and not problems
    assert not list(check_sizes('datasets.val', section(tmp_path), pairs, 2))


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'names no image'),
        ('a.png\n\n', 'line 2'),
        ('only_the_lr.png\n', 'meta_info_file: only_the_lr.png of it are not in .*HR: correct the list'),
        ('a.png (48,48,3)\nb (1).png\n', "line 2 .* would look for 'b'"),
    ],
)
def test_a_list_that_basicsr_cannot_read(tmp_path, text, words):
    make(tmp_path, '{}')
    write(tmp_path / 'LR/only_the_lr.png', photograph(2, 24, 24))
    (tmp_path / 'list.txt').write_text(text)
    (problem,) = find_pairs('datasets.val', section(tmp_path, meta_info_file=str(tmp_path / 'list.txt')))[1]
    assert re.search(words, problem), problem
