"""Weights by name: `zoo:NAME` wherever weights may be named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from helpers import REPOSITORY

from rfdn_plugin import zoo as package_zoo
from rfdn_plugin.cli import main
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import sha256
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.loading import load_network


@pytest.mark.parametrize(('name', 'type', 'scale'), [('RFDN_x2', 'RFDN', 2), ('E_RFDN_x3', 'E_RFDN', 3)])
def test_a_name_is_the_file(zoo: Path, name: str, type: str, scale: int):
    network, identity = load_network(f'zoo:{name}')
    assert (identity.type, identity.upscale) == (type, scale)
    assert read_checkpoint(f'zoo:{name}').path == zoo / f'{name}.safetensors'
    assert package_zoo.default_name(type, scale) == f'zoo:{name}'
    assert network(torch.zeros(1, 3, 4, 5)).shape == (1, 3, 4 * scale, 5 * scale)


@pytest.mark.parametrize('name', ['RFDN_x5', '', '../zoo/RFDN_x2', 'RFDN_x2.pth'])
def test_an_unknown_name_lists_what_is_there(zoo: Path, name: str, capsys: pytest.CaptureFixture):
    assert main(['inspect', f'zoo:{name}']) == 1
    error = capsys.readouterr().err
    assert f'zoo:{name}' in error and 'zoo:RFDN_x2' in error and 'zoo:E_RFDN_x3' in error and error.count('\n') == 1


def test_an_empty_zoo_says_so(tmp_path: Path):
    with pytest.raises(RFDNError, match='holds no weights: name a weights file'):
        package_zoo.weights_path('zoo:RFDN_x2', tmp_path)
    assert package_zoo.list_zoo(tmp_path) == []


def test_a_torn_file_is_named(zoo: Path):
    whole = (zoo / 'RFDN_x2.safetensors').read_bytes()
    for content in (b'', whole[:100], b'\xff' * 40):
        (zoo / 'RFDN_x2.safetensors').write_bytes(content)
        with pytest.raises(RFDNError, match='RFDN_x2'):
            package_zoo.list_zoo()


def test_list(zoo: Path, capsys: pytest.CaptureFixture):
    assert main(['list', '--zoo']) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line for line in lines if not line.startswith(' ')]
    assert [name.split(', ')[0] for name in names] == ['zoo:E_RFDN_x3: E_RFDN x3', 'zoo:RFDN_x2: RFDN x2']
    assert {'  training_data: nothing', '  licence: MIT'} <= set(lines[lines.index(names[1]) :])
    assert main(['list', '--zoo', '--json']) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry['name'] for entry in entries] == ['zoo:E_RFDN_x3', 'zoo:RFDN_x2']
    assert entries[1]['card']['upscale'] == '2' and entries[1]['bytes'] == os.path.getsize(zoo / 'RFDN_x2.safetensors')


def test_commands_take_names(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(['inspect', 'zoo:RFDN_x2', '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['sha256'] == sha256(zoo / 'RFDN_x2.safetensors') and report['network'] == 'RFDN'
    assert main(['convert', '--weights', 'zoo:RFDN_x2', '-o', str(tmp_path / 'a.pth')]) == 0
    assert main(['transfer', '--weights', 'zoo:RFDN_x2', '--to-scale', '3', '-o', str(tmp_path / 'b.pth')]) == 0
    assert load_network(tmp_path / 'a.pth')[1].upscale == 2 and load_network(tmp_path / 'b.pth')[1].upscale == 3


def test_the_training_model_takes_names(zoo: Path, tmp_path: Path):
    import basicsr  # noqa: F401

    from rfdn_plugin.models.rfdn_model import RFDNModel

    network = {'type': 'RFDN', 'num_feat': 12, 'num_block': 2, 'upscale': 2}
    path = {'pretrain_network_g': 'zoo:RFDN_x2', 'strict_load_g': True}
    options = {'name': 'test', 'num_gpu': 0, 'is_train': False, 'dist': False, 'rank': 0, 'scale': 2}
    model = RFDNModel({**options, 'network_g': network, 'path': path})
    wanted = read_checkpoint(zoo / 'RFDN_x2.safetensors').tensors
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.net_g.state_dict().items())


def test_the_leaderboard_takes_names(zoo: Path, photographs: Path, tmp_path: Path):
    hr, lr = tmp_path / 'hr', tmp_path / 'lr'
    hr.mkdir(), lr.mkdir()
    image = cv2.imread(str(photographs / 'photo4.png'))
    cv2.imwrite(str(hr / 'a.png'), image)
    cv2.imwrite(str(lr / 'a.png'), image[::2, ::2])
    options = {
        'name': 'zoo',
        'sets': {'a': {'hr': str(hr), 'lr': str(lr)}},
        'entries': [{'name': 'ours', 'scale': 2, 'weights': 'zoo:RFDN_x2'}],
        'report': {'images': 0},
    }
    (tmp_path / 'board.yml').write_text(json.dumps(options))
    assert (
        main(['leaderboard', '-opt', str(tmp_path / 'board.yml'), '--out', str(tmp_path / 'out'), '--workers', '1'])
        == 0
    )
    row = json.loads((tmp_path / 'out/leaderboard.json').read_text())['entries'][0]
    assert row['weights_sha256'] == sha256(zoo / 'RFDN_x2.safetensors') and row['sets']['a']['psnr_y'] > 20


def test_the_wheel_holds_the_weights(tmp_path: Path):
    """What setuptools packs by pyproject.toml, of a package that has weights in its zoo."""
    for name in ('pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(REPOSITORY / name, tmp_path)
    package = tmp_path / 'rfdn_plugin' / 'zoo'
    package.mkdir(parents=True)
    for path in (package.parent / '__init__.py', package / '__init__.py', package / 'RFDN_x2.safetensors'):
        path.touch()
    shutil.copytree(REPOSITORY / 'rfdn_plugin/utils', package.parent / 'utils')  # holds the version
    command = [sys.executable, '-c', 'import setuptools; setuptools.setup()', '-q', 'build_py', '-d', 'built']
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / 'built/rfdn_plugin/zoo/RFDN_x2.safetensors').is_file()
