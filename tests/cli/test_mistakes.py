"""Mistakes that newcomers make: each is one line that says what was given and what to give instead."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from rfdn_plugin import cli
from rfdn_plugin.options.shipped import find_option_file
from rfdn_plugin.zoo import weights_path

MISTAKES = {
    'upscale fotos -o big': ['fotos', 'no such file or folder', 'check the path'],
    'upscale film.mp4 -o big': ['film.mp4 is a video', 'ffmpeg'],
    'upscale empty -o big': ['no images in empty', 'name images'],
    'upscale data.lmdb -o big': ['data.lmdb is an LMDB', 'folder of images'],
    'upscale photo.png -o photo.png': ['photo.png', 'name another place'],
    'upscale photo.png -o large.PNG': ['-o large.PNG', 'name a folder'],
    'upscale photo.png -o big --weights x4.safetensors --scale 2': [
        '--scale 2',
        'x4.safetensors is of x4',
        'leave --scale out',
    ],
    'upscale photo.png -o big --weights train.yml': ['train.yml is no checkpoint', 'name a .pth'],
    'upscale x4.safetensors -o big --weights photo.png': ['photo.png is no checkpoint', 'name a .pth'],
    'upscale photo.png -o big --scale 7': ['zoo:RFDN_x7 is not in the zoo', 'take one of zoo:RFDN_x2'],
    'upscale photo.png -o big --device gpu': ['--device gpu', 'give cpu or cuda'],
    'upscale photo.png -o big --precision int8': ['int8', 'rfdn export --precision int8'],
    'train -opt x4.safetensors': ['x4.safetensors is no option file', 'takes a .yml'],
    'train -opt photo.png': ['photo.png is no option file', 'takes a .yml'],
    'train -opt empty': ['empty is a folder', 'name an option file'],
    'train -opt tarin.yml': ['no option file tarin.yml', 'rfdn options list'],
    'train -opt test.yml': ['test.yml is an option file of rfdn test', 'run rfdn test'],
    'test -opt train.yml': ['train.yml is an option file of rfdn train', 'run rfdn train'],
    'train -opt board.yml': ['board.yml is an option file of rfdn leaderboard', 'run rfdn leaderboard'],
    'leaderboard -opt train.yml': ['train.yml is an option file of rfdn train', 'run rfdn train'],
    'prepare --hr fotos -o lmdb': ['fotos does not exist', 'give the folder'],
    'prepare --hr photo.png -o lmdb': ['photo.png is not a folder', 'give the folder'],
    'verify photo.png': ['photo.png is a file', 'give an .lmdb folder'],
    'inspect photo.png': ['photo.png is no checkpoint', 'name a .pth'],
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('newcomer')
    cv2.imwrite(str(folder / 'photo.png'), np.zeros((24, 24, 3), np.uint8))
    (folder / 'film.mp4').write_bytes(b'\0\0\0\x18ftypmp42' + bytes(99))
    (folder / 'empty').mkdir()
    (folder / 'data.lmdb').mkdir()
    (folder / 'data.lmdb/data.mdb').touch()
    shutil.copyfile(weights_path('zoo:RFDN_x4'), folder / 'x4.safetensors')
    names = {'train.yml': 'train_RFDN_x2_scratch', 'test.yml': 'test_RFDN_x2', 'board.yml': 'benchmarks_x2'}
    for name, shipped in names.items():
        shutil.copyfile(find_option_file(shipped), folder / name)
    return folder


@pytest.mark.parametrize('words', MISTAKES)
def test_mistakes(words: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(folder)
    before = sorted(os.listdir())
    assert cli.main(words.split()) in (1, 2)
    said = capsys.readouterr()
    assert said.err.startswith(f'rfdn {words.split()[0]}: ') and said.err.count('\n') == 1 and not said.out
    assert all(part in said.err for part in MISTAKES[words]), said.err
    assert sorted(os.listdir()) == before


def test_files_of_every_shipped_kind_are_taken_for_what_they_are(repository: Path):
    for path in sorted((repository / 'options').rglob('*.yml')):
        assert find_option_file(path, path.relative_to(repository / 'options').parts[0]) == path
