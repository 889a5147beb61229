"""Names of images that are nothing odd: each command takes what the one before it wrote."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
import yaml
from helpers.images import photograph, write
from helpers.training import option_file, rfdn, small

from rfdn_plugin.cli import main
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


ODD = ('a\nb', '\x1b[31mred', '-lead', '#hash', '{}', 'photo.png', ' ', 'tab\tx', '日本')


def test_names_of_any_characters_stay_on_one_line(tmp_path: Path, capfd: pytest.CaptureFixture):
    """A line feed in a name would break a message, an escape would colour the terminal."""
    for name in ODD:
        (tmp_path / 'images').mkdir(exist_ok=True)
        (tmp_path / 'images' / f'{name}.png').write_bytes(b'\x89PNG\r\n\x1a\n damaged')
    images, out = str(tmp_path / 'images'), str(tmp_path / 'out')
    commands = [
        ['verify', images, '--workers', '1'],
        ['prepare', '--hr', images, '--out', out, '--scales', '2', '--workers', '1'],
        ['prepare', '--hr', images, '--out', out, '--scales', '2', '--folders', '--strict'],
        ['upscale', images, '-o', out, '--backend', 'torch'],
    ]
    for command in commands:
        assert main(command) == 1
        printed = ''.join(capfd.readouterr())
        assert '\x1b[31m' not in printed
        assert not [line for line in printed.split('\n') if line.startswith('b.png')], printed


@pytest.mark.parametrize('command', ['prepare --out out --scales 2 --hr', 'upscale -o out', 'verify'])
def test_what_upscale_wrote_is_read_without_its_record(tmp_path: Path, command: str, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'small' / 'a.png', photograph(1, 24, 24))
    assert main(['upscale', 'small', '-o', 'large', '--backend', 'torch']) == 0
    assert (tmp_path / 'large/.rfdn_upscale.jsonl').is_file()
    assert main([*command.split(), 'large']) == 0
    assert 'jsonl' not in ''.join(capsys.readouterr())


@pytest.mark.parametrize('command', ['prepare --out out --scales 2 --hr', 'upscale -o out'])
def test_an_lmdb_is_no_folder_of_images(prepared: Path, tmp_path: Path, command: str, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*command.split(), str(prepared / 'data/HR_sub.lmdb')]) in (1, 2)
    assert 'is an LMDB' in capsys.readouterr().err


def test_names_that_look_alike_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture):
    for form in ('NFC', 'NFD'):
        write(tmp_path / 'images' / f'{unicodedata.normalize(form, "café")}.png', photograph(1, 48, 48))
    assert main(['prepare', '--hr', str(tmp_path / 'images'), '--out', str(tmp_path / 'out'), '--scales', '2']) == 1
    assert 'e\\u0301' in capsys.readouterr().err


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
