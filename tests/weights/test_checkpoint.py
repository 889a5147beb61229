"""Reading checkpoints: every layout, and nothing that is executed."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from random import Random

import pytest
import torch
from helpers.damage import damaged
from safetensors.torch import save_file

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.cli import main
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.loading import load_network


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    return {'a.weight': torch.rand(3, 2), 'a.bias': torch.rand(3)}


WRAPPERS = [None, 'params', 'params_ema', 'params-ema', 'state_dict', 'model_state_dict', 'net']
KINDS = [(kind, wrapper) for kind in ('zip', 'legacy', 'pkl') for wrapper in WRAPPERS] + [('safetensors', None)]


@pytest.mark.parametrize(('kind', 'wrapper'), KINDS)
@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.', 'net_g.'])
def test_every_layout(tmp_path: Path, tensors: dict, wrapper: str | None, prefix: str, kind: str):
    state = OrderedDict((prefix + name, tensor) for name, tensor in tensors.items())
    path = tmp_path / f'w.{"safetensors" if kind == "safetensors" else "pkl" if kind == "pkl" else "pth"}'
    if kind == 'safetensors':
        save_file(state, path)
    else:
        content = {wrapper: state, 'epoch': 3} if wrapper else state
        torch.save(content, path, _use_new_zipfile_serialization=kind != 'legacy')
    checkpoint = read_checkpoint(path)
    assert checkpoint.layout == (wrapper or 'flat')
    assert checkpoint.prefix == prefix
    assert checkpoint.tensors.keys() == tensors.keys()
    assert all(torch.equal(checkpoint.tensors[name], tensors[name]) for name in tensors)


def test_the_wanted_key_is_preferred_and_the_averaged_one_else(tmp_path: Path, tensors: dict):
    ema = {name: tensor + 1 for name, tensor in tensors.items()}
    torch.save({'params': tensors, 'params_ema': ema}, tmp_path / 'w.pth')
    assert read_checkpoint(tmp_path / 'w.pth').layout == 'params_ema'
    assert read_checkpoint(tmp_path / 'w.pth', 'params').layout == 'params'
    assert read_checkpoint(tmp_path / 'w.pth', 'absent').layout == 'params_ema'


@pytest.mark.parametrize('kind', ['zip', 'pickle in a zip', 'legacy', 'safetensors'])
def test_a_damaged_file_is_read_or_told_whatever_is_wrong_with_it(tmp_path: Path, tensors: dict, kind: str):
    random, path, whole = Random(kind), tmp_path / 'w.pth', tmp_path / 'whole'
    if kind == 'safetensors':
        save_file(tensors, whole)
    else:
        content = {'params': tensors, 'metadata': {'a': 'b'}}
        torch.save(content, whole, _use_new_zipfile_serialization=kind != 'legacy')
    told = 0
    for _ in range(200):
        if kind == 'pickle in a zip':
            with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, 'w') as target:
                for name in source.namelist():
                    entry = source.read(name)
                    target.writestr(name, damaged(entry, random) if name.endswith('data.pkl') else entry)
        else:
            path.write_bytes(damaged(whole.read_bytes(), random))
        try:
            read_checkpoint(path)
        except RFDNError as error:
            told += str(path) in str(error)
    assert told > 100


def test_an_archive_of_something_else_is_told_by_what_it_holds(tmp_path: Path):
    path = tmp_path / 'w.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('models/net_g_latest.pth', b'')
    with pytest.raises(RFDNError, match=r'zip archive without weights of PyTorch \(it has models/net_g_latest\.pth'):
        read_checkpoint(path)


def test_metadata_of_both_formats(tmp_path: Path, tensors: dict):
    torch.save({'params': tensors, 'metadata': {'network': 'RFDN', 'iterations': 5, 'x': [1]}}, tmp_path / 'w.pth')
    save_file(tensors, tmp_path / 'w.safetensors', {'network': 'RFDN', 'iterations': '5'})
    assert read_checkpoint(tmp_path / 'w.pth').metadata == {'network': 'RFDN', 'iterations': '5'}
    assert read_checkpoint(tmp_path / 'w.safetensors').metadata == {'network': 'RFDN', 'iterations': '5'}


def test_the_fingerprint_belongs_to_the_values(tmp_path: Path, tensors: dict):
    torch.save({'params': {f'module.{name}': tensor for name, tensor in reversed(tensors.items())}}, tmp_path / 'w.pth')
    save_file(tensors, tmp_path / 'w.safetensors')
    first, second = read_checkpoint(tmp_path / 'w.pth'), read_checkpoint(tmp_path / 'w.safetensors')
    assert first.fingerprint == second.fingerprint
    torch.save({**tensors, 'a.bias': tensors['a.bias'] + 1e-6}, tmp_path / 'other.pth')
    assert read_checkpoint(tmp_path / 'other.pth').fingerprint != first.fingerprint


# --- hostile and broken files --------------------------------------------------------------------------------------
class Hostile:
    """Unpickled by an unguarded reader, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f'mkdir "{self.marker}"',)


def _zip_with_pickle(path: Path, payload: bytes) -> None:
    """A checkpoint in PyTorch's new format whose pickle has been exchanged."""
    buffer = io.BytesIO()
    torch.save({'w': torch.zeros(1)}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, 'w') as target:
        for entry in source.infolist():
            data = source.read(entry)
            target.writestr(entry, payload if entry.filename.endswith('data.pkl') else data)


def _tar_with_pickle(path: Path, payload: bytes) -> None:
    with tarfile.open(path, 'w') as archive:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            entry = tarfile.TarInfo(name)
            entry.size = len(payload)
            archive.addfile(entry, io.BytesIO(payload))


WRITERS = {
    'plain.pth': lambda path, hostile: path.write_bytes(pickle.dumps(hostile)),
    'plain.pkl': lambda path, hostile: path.write_bytes(pickle.dumps(hostile)),
    'protocol0.pkl': lambda path, hostile: path.write_bytes(pickle.dumps(hostile, protocol=0)),
    'legacy.pth': lambda path, hostile: torch.save(
        {'params': {'w': hostile}}, path, _use_new_zipfile_serialization=False
    ),
    'new.pth': lambda path, hostile: torch.save({'params': {'w': torch.zeros(1)}, 'metadata': hostile}, path),
    'zip.pth': lambda path, hostile: _zip_with_pickle(path, pickle.dumps(hostile)),
    'zip.pkl': lambda path, hostile: _zip_with_pickle(path, pickle.dumps(hostile, protocol=2)),
    'tar.pth': lambda path, hostile: _tar_with_pickle(path, pickle.dumps(hostile)),
    'named.safetensors': lambda path, hostile: path.write_bytes(pickle.dumps(hostile)),
    'named.caffemodel': lambda path, hostile: path.write_bytes(pickle.dumps(hostile)),
}
READERS = {
    'read_checkpoint': read_checkpoint,
    'load_network': lambda path: load_network(path, type='E_RFDN', img_range=1),
}
COMMANDS = {
    'inspect': ['{file}'],
    'convert': ['--weights', '{file}', '-o', '{out}'],
    'transfer': ['--weights', '{file}', '--to-scale', '2', '-o', '{out}'],
}


@pytest.fixture(params=WRITERS)
def hostile_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    WRITERS[request.param](path, Hostile(tmp_path / 'executed'))
    return path


def test_the_hostile_file_would_work_on_an_unguarded_reader(tmp_path: Path):
    WRITERS['plain.pkl'](tmp_path / 'w.pkl', Hostile(tmp_path / 'executed'))
    with open(tmp_path / 'w.pkl', 'rb') as stream:
        pickle.load(stream)
    assert (tmp_path / 'executed').is_dir()


@pytest.mark.parametrize('reader', READERS)
def test_hostile_files_are_refused_and_nothing_runs(hostile_file: Path, reader: str):
    with pytest.raises(RFDNError) as error:
        READERS[reader](hostile_file)
    assert not (hostile_file.parent / 'executed').exists()
    assert hostile_file.name in str(error.value) and '\n' not in str(error.value)
    assert 'weights_only' not in str(error.value), 'no advice to switch the protection off'


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_refuses_them(hostile_file: Path, command: str, capsys: pytest.CaptureFixture):
    output = hostile_file.parent / 'out.pth'
    arguments = [part.format(file=hostile_file, out=output) for part in COMMANDS[command]]
    assert main([command, *arguments]) == 1
    assert not (hostile_file.parent / 'executed').exists() and not output.exists()
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize('damage', ['half', 'empty', 'text', 'a tensor', 'no tensors', 'missing', 'a folder'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.caffemodel'])
def test_broken_files_are_one_line(tmp_path: Path, damage: str, suffix: str, tensors: dict):
    path = tmp_path / f'w{suffix}'
    if damage == 'half':
        torch.save(tensors, path) if suffix == '.pth' else save_file(tensors, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == 'a folder':
        path.mkdir()
    elif damage != 'missing':
        content = {'empty': b'', 'text': b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n'}.get(damage)
        if content is None:
            torch.save(torch.zeros(3) if damage == 'a tensor' else {'epoch': 3}, path)
        else:
            path.write_bytes(content)
    with pytest.raises(RFDNError) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'is empty'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n', 'git lfs pull'),
        (b'\x89PNG\r\n\x1a\n and so on', 'is no checkpoint'),
        (b'some text', 'is no checkpoint'),
        (b'\x08\x08\x12\x07pytorch', 'is no checkpoint'),  # as ONNX files begin
        (b'\n<!DOCTYPE html><html><body>404', 'a page of the web'),
        (pickle.dumps({'a': 1})[:-4], 'is torn'),
        (pickle.dumps(os.getcwd, protocol=2), '(posix.getcwd)'),
    ],
    ids=['empty', 'Git LFS', 'image', 'text', 'ONNX', 'HTML', 'torn', 'code'],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_what_is_no_checkpoint_is_told_for_what_it_is(tmp_path: Path, content: bytes, words: str, suffix: str, recwarn):
    path = tmp_path / f'w{suffix}'
    path.write_bytes(content)
    with pytest.raises(RFDNError) as error:
        read_checkpoint(path)
    told = str(error.value).replace('no whole safetensors file', 'no checkpoint')
    assert words in told and '()' not in told and not recwarn.list


@pytest.mark.parametrize('name', ['w.pth', 'w.safetensors', 'w.bin', 'w'])
@pytest.mark.parametrize('write', [save_file, lambda tensors, path: torch.save({'params': tensors}, path)])
def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path: Path, tensors: dict, name: str, write):
    write(tensors, tmp_path / name)
    assert read_checkpoint(tmp_path / name).fingerprint == fingerprint_of(tensors, tmp_path)


def fingerprint_of(tensors: dict, folder: Path) -> str:
    torch.save(tensors, folder / 'plain.pth')
    return read_checkpoint(folder / 'plain.pth').fingerprint


def test_a_key_that_the_file_does_not_have(tmp_path: Path, tensors: dict):
    torch.save({'params': tensors, 'params_ema': tensors}, tmp_path / 'two.pth')
    torch.save(tensors, tmp_path / 'flat.pth')
    with pytest.raises(RFDNError, match='params_ema, params'):
        read_checkpoint(tmp_path / 'two.pth', 'parms', only_this_key=True)
    with pytest.raises(RFDNError, match='name no key'):
        read_checkpoint(tmp_path / 'flat.pth', 'params', only_this_key=True)
    assert read_checkpoint(tmp_path / 'two.pth', 'params', only_this_key=True).layout == 'params'
    assert read_checkpoint(tmp_path / 'flat.pth', 'params').layout == 'flat'


def test_values_that_are_no_numbers_are_named(tmp_path: Path):
    state = NETWORKS['E_RFDN'](upscale=2, num_feat=16, num_block=1).state_dict()
    state['LR_conv.bias'][3] = float('nan')
    torch.save(state, tmp_path / 'w.pth')
    with pytest.raises(RFDNError, match=r'LR_conv\.bias'):
        load_network(tmp_path / 'w.pth', type='E_RFDN', img_range=1)
