"""Names of images that are nothing odd: each command takes what the one before it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from helpers.images import photograph, write
from helpers.training import option_file, rfdn, small

from rfdn_plugin.data.lmdb import shapes_of

NAMES = (
    'name with space (1)',
    'my photo',
    'a.b (2)',
    'é [3]',
    '50% {4}',
    'x (96,96,3) 1.png',
    "quote's; $HOME & co",
)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('names')
    for number, name in enumerate(NAMES):
        write(folder / 'images' / f'{name}.png', photograph(number, 96, 96))
    arguments = ('--hr', 'images', '--out', 'data', '--scales', '2', '--crop-size', '96', '--workers', '1')
    outcome = rfdn('prepare', *arguments, cwd=folder)
    assert outcome.returncode == 0, outcome.stderr
    outcome = rfdn('prepare', '--folders', '--hr', 'images', '--out', 'set', '--scales', '2', cwd=folder)
    assert outcome.returncode == 0, outcome.stderr
    return folder


def test_every_command_takes_every_name(prepared: Path):
    # A slash after .lmdb is what tab completion leaves.
    hr, lr = 'data/HR_sub.lmdb/', 'data/LR_bicubic_X2_sub.lmdb/'
    assert len(shapes_of(prepared / hr)) == len(NAMES)
    assert 'name with space (1)_s001' in shapes_of(prepared / hr)

    outcome = rfdn('verify', hr, lr, '--pair', hr, lr, '2', '--all', '--workers', '1', cwd=prepared)
    assert outcome.returncode == 0 and f'{len(NAMES)} pairs' in outcome.stdout, outcome.stdout + outcome.stderr

    changes = {
        'datasets:train:dataroot_gt': hr,
        'datasets:train:dataroot_lq': lr,
        'datasets:val:dataroot_gt': 'set/HR/',
        'datasets:val:dataroot_lq': 'set/LR_bicubic/X2/',
        'datasets:val:io_backend:type': 'disk',
        'datasets:val:filename_tmpl': "'{}x2'",
        'train:total_iter': 4,
        'val:val_freq': 4,
    }
    changes = small(prepared / 'data', prepared / 'images', **changes)
    outcome = rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=prepared)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    weights = prepared / 'experiments/train_RFDN_x2_scratch/models/net_g_latest.pth'

    for source in (hr, 'images/'):
        command = ('transfer', '--weights', weights, '--to-scale', '3', '--fit', source, '-o', 'x3.pth')
        outcome = rfdn(*command, cwd=prepared)
        assert outcome.returncode == 0, outcome.stderr[-2000:]
        assert 'skipped' not in outcome.stdout

    entry = {'name': 'ours', 'scale': 2, 'weights': str(weights), 'param_key': 'params_ema'}
    content = {
        'name': 'names',
        'sets': {'Database': {'hr': hr, 'lr': lr}, 'Folder': {'hr': 'set/HR/', 'lr': 'set/LR_bicubic/X{scale}/'}},
        'entries': [{'type': 'bicubic', 'scale': 2}, entry],
        'report': {'images': 0},
    }
    (prepared / 'board.yml').write_text(yaml.safe_dump(content))
    outcome = rfdn('leaderboard', '-opt', 'board.yml', '--out', 'board', '--workers', '1', cwd=prepared)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    board = json.loads((prepared / 'board/leaderboard.json').read_text())
    for row in board['entries']:
        assert set(row['sets']['Folder']['images']) == set(NAMES)
        assert set(row['sets']['Database']['images']) == set(shapes_of(prepared / hr))
