"""Checkpoints that other trainers write for our networks: their wrappers, and what they put beside the weights."""

from __future__ import annotations

import argparse
import datetime
import io
import pathlib
import pickletools
import zipfile
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.cli import main
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights import pickles
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.loading import load_network
from rfdn_plugin.weights.matching import starting_state

NAMED = {'type': 'RFDN', 'img_range': 1}


@pytest.fixture(scope='module')
def network() -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS['RFDN'](upscale=2, num_feat=8, num_block=1)


def prefixed(network: nn.Module, prefix: str, change: float = 0.0) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor + change for name, tensor in network.state_dict().items()}


def mmengine_checkpoint(network: nn.Module) -> dict:
    """As mmengine's runner writes it for a model of mmagic: averaged weights, counters, means, logs, optimizer."""
    from mmengine.logging import HistoryBuffer

    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 3, 8, 8)).mean().backward()
    optimizer.step()
    state = {
        'step_counter': torch.tensor(7),
        **prefixed(network, 'generator.'),
        **prefixed(network, 'generator_ema.', 0.5),
        'generator_ema.n_averaged': torch.tensor(3),
        'data_preprocessor.mean': torch.zeros(3, 1, 1),
    }
    logs = {'train/loss': HistoryBuffer([0.25, 0.125], [1, 1]), 'train/lr': HistoryBuffer([1e-3], [1])}
    hub = {
        'log_scalars': logs,
        'runtime_info': OrderedDict(iter=7, time=np.float64(0.5)),
        'resumed_keys': {'iter': True},
    }
    return {
        'meta': {'epoch': 0, 'iter': 7, 'cfg': "model = dict(type='BaseEditModel')", 'seed': np.int64(3)},
        'state_dict': OrderedDict(state),
        'message_hub': hub,
        'optimizer': optimizer.state_dict(),
        'param_schedulers': [],
    }


def equal(found: dict, wanted: dict) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.fixture
def of_mmengine(network: nn.Module, tmp_path: Path) -> Path:
    pytest.importorskip('mmengine')
    torch.save(mmengine_checkpoint(network), tmp_path / 'iter_7.pth')
    return tmp_path / 'iter_7.pth'


def test_pytorch_itself_refuses_such_a_file(of_mmengine: Path):
    """Else there would be no need for stand-ins."""
    with pytest.raises(Exception, match='Unsupported global'):
        torch.load(of_mmengine, weights_only=True)


@pytest.mark.parametrize(
    ('key', 'prefix'),
    [
        (None, 'generator_ema.'),
        ('params_ema', 'generator_ema.'),
        ('generator_ema', 'generator_ema.'),
        ('params', 'generator.'),
        ('generator', 'generator.'),
    ],
)
def test_mmengine_s_file_gives_the_network_that_is_asked_for(of_mmengine, network, key, prefix):
    checkpoint = read_checkpoint(of_mmengine, key, only_this_key=True)
    assert (checkpoint.layout, checkpoint.prefix) == ('state_dict', prefix)
    wanted = prefixed(network, '', 0.5 if 'ema' in prefix else 0.0)
    assert equal(checkpoint.tensors, wanted)
    assert checkpoint.averaged is (True if 'ema' in prefix else None)


def test_mmengine_s_file_works_in_the_commands(of_mmengine, network, tmp_path: Path, capsys):
    output = tmp_path / 'w.safetensors'
    command = ['convert', '--weights', str(of_mmengine), '-o', str(output), '--type', 'RFDN', '--img-range', '1']
    assert main([*command, '--param-key', 'params']) == 0
    assert equal(read_checkpoint(output).tensors, dict(network.state_dict()))
    assert main(['inspect', str(of_mmengine), '--type', 'RFDN', '--img-range', '1']) == 0
    assert 'prefix: generator_ema.' in capsys.readouterr().out
    assert main([*command, '--param-key', 'parms']) == 1
    assert 'name one of state_dict, generator_ema, generator' in capsys.readouterr().err


def test_training_starts_from_it(of_mmengine, network):
    target = NETWORKS['RFDN'](upscale=2, num_feat=8, num_block=1)
    state, others = starting_state(target, read_checkpoint(of_mmengine, 'params'), strict=True, resample=False)
    assert not others and equal(state, dict(network.state_dict()))


PREFIXES = [
    'model.',
    'net.',
    'module.',
    'netG.',
    'net_g.',
    'generator.',
    '_orig_mod.',
    'network.',
    '_fsdp_wrapped_module.',
]
NESTED = ['module._orig_mod.', 'model.module.', 'net.generator.', 'module.model.net_g.', '_orig_mod.module.netG.']
BESIDE = [
    {},
    {'step_counter': torch.tensor(1)},
    {'n_averaged': torch.tensor(1), 'loss.weight': torch.zeros(2), 'discriminator.0.weight': torch.zeros(2)},
]


@pytest.mark.parametrize('prefix', ['', *PREFIXES, *NESTED])
@pytest.mark.parametrize('beside', BESIDE, ids=['alone', 'a counter', 'other networks'])
@pytest.mark.parametrize('wrapper', [None, 'state_dict', 'model', 'model/state_dict'])
def test_any_wrapper_with_anything_beside_it(tmp_path: Path, network, prefix: str, beside: dict, wrapper: str | None):
    if not prefix and len(beside) > 1:
        pytest.skip('without a prefix nothing tells the network from another one beside it')
    content = {**prefixed(network, prefix), **beside}
    for key in reversed(wrapper.split('/') if wrapper else []):
        content = {key: content, 'epoch': 3}
    torch.save(content, tmp_path / 'w.pth')
    loaded, identity = load_network(tmp_path / 'w.pth', **NAMED)
    assert equal(dict(loaded.state_dict()), dict(network.state_dict())) and identity.checkpoint.prefix == prefix


@pytest.mark.parametrize(
    'key', ['checkpoint', 'weights', 'G', 'gen', 'my own/model/state_dict', 'state_dict_ema', 'ema_model']
)
def test_the_only_key_with_weights_is_taken_whatever_it_is_called(tmp_path: Path, network, key: str):
    content = dict(network.state_dict())
    for word in reversed(key.split('/')):
        content = {
            word: content,
            'epoch': 3,
            'optimizer': {'state': {0: {'step': torch.tensor(1)}}, 'param_groups': []},
        }
    torch.save(content, tmp_path / 'w.pth')
    loaded, _ = load_network(tmp_path / 'w.pth', **NAMED)
    assert equal(dict(loaded.state_dict()), dict(network.state_dict()))


@pytest.mark.parametrize('inner', ['net_g', 'backbone', 'state_dict'])
def test_the_only_key_with_weights_below_a_known_one_is_taken(tmp_path: Path, network, inner: str):
    torch.save({'model': {inner: network.state_dict(), 'step': 5}, 'epoch': 1}, tmp_path / 'w.pth')
    assert equal(read_checkpoint(tmp_path / 'w.pth').tensors, dict(network.state_dict()))


def test_of_several_unknown_keys_one_is_to_be_named(tmp_path: Path, network):
    torch.save({'G': network.state_dict(), 'D': {'0.weight': torch.zeros(2, 2)}}, tmp_path / 'w.pth')
    with pytest.raises(RFDNError, match='name one of G, D'):
        read_checkpoint(tmp_path / 'w.pth')
    assert read_checkpoint(tmp_path / 'w.pth', 'G').tensors.keys() == network.state_dict().keys()


def test_the_state_of_a_training_is_told(tmp_path: Path):
    state = {
        'epoch': 1,
        'iter': 2,
        'optimizers': [],
        'schedulers': [],
        'random': {'torch': torch.zeros(9, dtype=torch.uint8)},
    }
    torch.save(state, tmp_path / '2.state')
    with pytest.raises(RFDNError, match='state of a training'):
        read_checkpoint(tmp_path / '2.state')


@pytest.mark.parametrize('word', ['_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module'])
def test_layers_that_are_wrapped_one_by_one(tmp_path: Path, network, word: str):
    inside = {name.replace('B1.', f'B1.{word}.'): value for name, value in network.state_dict().items()}
    torch.save({**inside, 'total_ops': torch.zeros(1), 'B1.total_params': torch.zeros(1)}, tmp_path / 'w.pth')
    loaded, _ = load_network(tmp_path / 'w.pth', **NAMED)
    assert equal(dict(loaded.state_dict()), dict(network.state_dict()))


@pytest.mark.parametrize('prefix', PREFIXES + NESTED)
def test_a_network_of_another_package_is_found_by_its_own_names(tmp_path: Path, prefix: str):
    own = nn.Sequential(OrderedDict(first=nn.Conv2d(3, 4, 3), last=nn.Conv2d(4, 3, 3)))
    torch.save({**prefixed(own, prefix), 'step_counter': torch.tensor(1)}, tmp_path / 'w.pth')
    state, _ = starting_state(own, read_checkpoint(tmp_path / 'w.pth'), strict=True, resample=False)
    assert equal(state, dict(own.state_dict()))


def test_a_network_whose_own_names_begin_like_a_wrapper_keeps_them(tmp_path: Path):
    own = nn.Sequential(OrderedDict(model=nn.Conv2d(3, 4, 3), net=nn.Conv2d(4, 3, 3)))
    torch.save(own.state_dict(), tmp_path / 'w.pth')
    state, _ = starting_state(own, read_checkpoint(tmp_path / 'w.pth'), strict=True, resample=False)
    assert equal(state, dict(own.state_dict()))


# --- foreign objects -----------------------------------------------------------------------------------------------
class Settings(dict):
    """As addict's and mmengine's dictionaries."""


class Options:
    """As a project's own class of options, made by its constructor."""

    def __init__(self, scale: int) -> None:
        self.scale = scale


def make_settings() -> Settings:
    return Settings(a=1)


OBJECTS = {
    'namespace': argparse.Namespace(lr=1e-3, scale=[2, 3]),
    'path': pathlib.PurePosixPath('a/b'),
    'date': datetime.datetime(2024, 1, 2),
    'array': np.arange(3.0),
    'numpy scalar': np.float32(2.5),
    'options': Options(2),
    'dictionary': Settings(a=1, b=Settings(c=2)),
    'function': partial(make_settings),
    'set': {1, 2},
}


@pytest.mark.parametrize('kind', OBJECTS)
@pytest.mark.parametrize('new', [True, False], ids=['new format', 'old format'])
def test_objects_beside_the_weights_are_skipped(tmp_path: Path, network, kind: str, new: bool):
    content = {'params': network.state_dict(), 'args': OBJECTS[kind], 'all': [OBJECTS[kind]]}
    torch.save(content, tmp_path / 'w.pth', _use_new_zipfile_serialization=new)
    assert equal(read_checkpoint(tmp_path / 'w.pth').tensors, dict(network.state_dict()))


def test_nothing_of_a_foreign_object_is_called(tmp_path: Path, network, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise AssertionError('it was called')

    torch.save({'params': network.state_dict(), 'args': Options(2)}, tmp_path / 'w.pth')
    for name in ('__init__', '__new__', '__setstate__'):
        monkeypatch.setattr(Options, name, fail, raising=False)
    content = pickles.read_pickle(tmp_path / 'w.pth')
    assert type(content['args']) is not Options and content['args'] == []


def test_a_whole_model_is_told_for_what_it_is(tmp_path: Path, network):
    torch.save(network, tmp_path / 'w.pth')
    with pytest.raises(RFDNError, match=r'whole object \(rfdn_plugin\.archs\.rfdn\.RFDN\).*state_dict'):
        read_checkpoint(tmp_path / 'w.pth')


DANGEROUS = ['builtins.eval', 'builtins.exec', 'os.system', 'posix.system', 'subprocess.Popen', 'runpy.run_path']
DANGEROUS += [
    'importlib.import_module',
    'shutil.rmtree',
    'socket.socket',
    'sys.exit',
    'builtins.__import__',
    'types.CodeType',
]

DANGEROUS += ['__builtin__.eval', 'commands.getoutput']  # as Python 2 called builtins and subprocess


@pytest.mark.parametrize('name', DANGEROUS)
def test_names_that_could_do_harm_are_refused_by_name(tmp_path: Path, network, name: str):
    buffer = io.BytesIO()
    torch.save({'params': network.state_dict(), 'x': datetime.date(2024, 1, 2)}, buffer)
    module, _, attribute = name.rpartition('.')
    path = tmp_path / 'w.pth'
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, 'w') as target:
        for entry in source.infolist():
            data = source.read(entry)
            target.writestr(entry, data.replace(b'cdatetime\ndate\n', f'c{module}\n{attribute}\n'.encode()))
    with zipfile.ZipFile(path) as archive:
        pickle = archive.read(next(entry for entry in archive.namelist() if entry.endswith('data.pkl')))
    assert f'{module} {attribute}' in [argument for _, argument, _ in pickletools.genops(pickle)]
    with pytest.raises(RFDNError, match='holds more than tensors') as error:
        read_checkpoint(path)
    today = {'__builtin__.eval': 'builtins.eval', 'commands.getoutput': 'subprocess.getoutput'}.get(name, name)
    assert f'({today})' in str(error.value)
