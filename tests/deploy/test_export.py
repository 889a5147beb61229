"""`rfdn export`: each format gives what the network gives, at every size, and says what it is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.networks import GREY_LEVEL, noise, outputs_of, small_network, small_weights

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.archs.blocks import pad_to_minimum
from rfdn_plugin.cli import main
from rfdn_plugin.deploy import backends, export
from rfdn_plugin.deploy.backends import open_model
from rfdn_plugin.deploy.formats.form import extended
from rfdn_plugin.deploy.formats.onnx_model import OPSET, onnx_model
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.loading import identify_file, load_network

MODELS = {name: format for name, format in export.FORMATS.items() if name != 'web'}  # see test_web
SIZES = [(1, 1), (15, 15), (16, 16), (17, 31), (40, 50)]


def require(format: str) -> None:
    problems = [backends.missing(name) for name in export.FORMATS[format].backends]
    if all(problems):
        pytest.skip(problems[0])


def exit_code(weights: Path, target: Path, *flags: str) -> int:
    return main(['export', '--weights', str(weights), '-o', str(target), *flags])


@pytest.mark.parametrize('height', [1, 2, 7, 8, 9, 14, 15, 16, 40])
@pytest.mark.parametrize('width', [1, 8, 15, 33])
def test_a_graph_extends_small_images_as_the_networks_do(height: int, width: int) -> None:
    x = torch.from_numpy(noise(2, height, width))
    assert torch.equal(extended(x, 15), pad_to_minimum(x, 15))


@pytest.mark.parametrize(
    ('name', 'format'),
    [(name, 'onnx') for name in NETWORKS]
    + [(name, format) for format in MODELS for name in ('E_RFDN', 'IMDN') if format != 'onnx'],
)
def test_every_network_in_every_format(name: str, format: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    require(format)
    weights, network = small_weights(tmp_path, name, img_range=255.0)
    target = tmp_path / 'out' / f'{name}_x2{export.FORMATS[format].suffixes[0]}'
    assert exit_code(weights, target) == 0
    assert 'differs from the network' in capsys.readouterr().out
    assert sorted(path.name for path in target.parent.iterdir()) == sorted(
        target.with_suffix(suffix).name for suffix in export.FORMATS[format].suffixes
    )
    for runner in runners(target):
        assert runner.scale == 2
        for height, width in SIZES:
            x = noise(1, height, width)
            assert abs(runner(x) - outputs_of(network, x)).max() < 2e-2 * GREY_LEVEL
        batch = noise(2, 20, 18)
        assert abs(runner(batch) - outputs_of(network, batch)).max() < 2e-2 * GREY_LEVEL


def runners(target: Path):
    """The exported model in each installed runtime that reads it."""
    if target.suffix == '.pt2':
        module = torch.export.load(target).module()

        class Program(backends.Runner):
            backend, scale = 'torch', 2

            def run(self, images: np.ndarray) -> np.ndarray:
                with torch.inference_mode():
                    return module(torch.from_numpy(images)).numpy()

        return [Program(precision='fp32', threads=1, name=str(target))]
    return [open_model(target, backend=name, threads=1) for name in backends.backends_for(target)]


@pytest.mark.parametrize('size', [(10, 12), (15, 15), (40, 50)])
def test_sizes_fixed_by_a_runtime_change_nothing(size: tuple[int, int]) -> None:
    """OpenVINO computed a selection wrongly once the sizes of the graph were fixed."""
    openvino = pytest.importorskip('openvino')
    network = small_network('E_RFDN')
    core = openvino.Core()
    model = core.read_model(model=onnx_model(network).SerializeToString())
    model.reshape({0: [1, 3, *size]})
    x = noise(1, *size)
    output = core.compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})(x)[0]
    assert abs(output - outputs_of(network, x)).max() < 2e-2 * GREY_LEVEL


@pytest.mark.parametrize(
    ('format', 'precision'),
    [
        (name, precision)
        for name, format in MODELS.items()
        for precision in format.precisions
        if precision in ('fp16', 'bf16')
    ],
)
def test_sixteen_bits(format: str, precision: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    require(format)
    weights, network = small_weights(tmp_path, 'E_RFDN', img_range=255.0, interpolation_start=True)
    whole, half = (tmp_path / f'{name}{export.FORMATS[format].suffixes[0]}' for name in ('whole', 'half'))
    assert exit_code(weights, whole) == 0
    assert exit_code(weights, half, '--precision', precision) == 0
    said = capsys.readouterr().out
    for runner in runners(half):
        where = '' if runner.precision == precision else f', which computes it in {runner.precision} here,'
        assert f'{runner.backend}{where} differs from' in said or half.suffix == '.pt2'
        x = noise(1, 20, 24)
        assert abs(runner(x) - outputs_of(network, x)).max() < 16 * GREY_LEVEL
        if half.suffix != '.pt2' and runner.backend == export.FORMATS[format].backends[0]:
            assert runner.precision in (precision, 'fp32')  # fp32 where the processor has no such floats


def test_clamp_is_part_of_the_model(tmp_path: Path) -> None:
    weights, network = small_weights(tmp_path, 'E_RFDN')
    x = noise(1, 16, 16) * 8 - 4
    free = outputs_of(network, x)
    assert free.min() < 0 or free.max() > 1
    for format, described in MODELS.items():
        if all(backends.missing(name) for name in described.backends):
            continue
        target = tmp_path / f'{format}_x2{described.suffixes[0]}'
        assert exit_code(weights, target, '--clamp') == 0
        for runner in runners(target):
            assert abs(runner(x) - free.clip(0, 1)).max() < 2e-2 * GREY_LEVEL


def test_onnx_says_what_it_is(tmp_path: Path) -> None:
    onnx = pytest.importorskip('onnx')
    weights, _ = small_weights(tmp_path, 'E_RFDN', img_range=255.0)
    target = tmp_path / 'model.onnx'
    assert exit_code(weights, target) == 0
    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [('', OPSET)]
    card = {entry.key: entry.value for entry in model.metadata_props}
    assert (card['network'], card['upscale'], card['exported_precision']) == ('E_RFDN', '2', 'fp32')
    assert json.loads(card['arguments'])['num_feat'] == 12
    assert '0..1' in card['model_input'] and 'not clamped' in card['model_output']
    (image,) = model.graph.input
    assert image.name == 'input' and [side.dim_param or side.dim_value for side in image.type.tensor_type.shape.dim] == [
        'N', 3, 'H', 'W',
    ]  # fmt: skip
    assert model.graph.output[0].name == 'output'


def test_ncnn_names_are_those_that_upscayl_reads(tmp_path: Path) -> None:
    require('ncnn')
    weights, _ = small_weights(tmp_path, 'RFDN')
    for named, written in (('mine.param', 'mine-x2'), ('mine', 'mine-x2'), ('mine_2x.param', 'mine_2x')):
        assert exit_code(weights, tmp_path / named, '--format', 'ncnn') == 0
        lines = (tmp_path / f'{written}.param').read_text().splitlines()
        assert (tmp_path / f'{written}.bin').is_file()
        assert lines[0] == '7767517'
        assert lines[2].split() == ['Input', lines[2].split()[1], '0', '1', 'data']
        assert lines[-1].split()[0] != 'Input' and 'output' in lines[-1].split()
        assert not any('::' in line or '"' in line for line in lines)  # nothing that only the newest ncnn reads


def test_programs_run_without_this_package(tmp_path: Path) -> None:
    weights, network = small_weights(tmp_path, 'RFDN')
    target = tmp_path / 'program.pt2'
    assert exit_code(weights, target) == 0
    x = noise(1, 20, 24)
    np.save(tmp_path / 'x.npy', x)
    code = (
        'import sys, json, numpy, torch\n'
        'extra = {"card.json": ""}\n'
        'module = torch.export.load("program.pt2", extra_files=extra).module()\n'
        'numpy.save("y.npy", module(torch.from_numpy(numpy.load("x.npy"))).detach().numpy())\n'
        'assert json.loads(extra["card.json"])["network"] == "RFDN"\n'
        'assert not any(name.startswith("rfdn_plugin") for name in sys.modules)\n'
    )
    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True)
    assert abs(np.load(tmp_path / 'y.npy') - outputs_of(network, x)).max() < 1e-2 * GREY_LEVEL


def test_a_model_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    weights, network = small_weights(tmp_path, 'E_RFDN')
    damaged = small_network('E_RFDN')
    assert not torch.equal(damaged.fea_conv.weight, network.fea_conv.weight)
    monkeypatch.setattr(export, 'folded_network', lambda identity, precision: damaged)
    for described in MODELS.values():
        if all(backends.missing(name) for name in described.backends):
            continue
        target = tmp_path / f'model_x2{described.suffixes[0]}'
        target.write_bytes(b'as before')
        assert exit_code(weights, target) == 1
        assert 'differs from the network' in capsys.readouterr().err
        assert target.read_bytes() == b'as before'
    assert not list(tmp_path.glob('.*'))


@pytest.mark.parametrize(
    ('target', 'flags', 'told'),
    [
        ('model.pth', [], r'let it end in \.onnx'),
        ('model.onnx', ['--format', 'ncnn'], r'let it end in \.param'),
        ('model.onnx', ['--precision', 'bf16'], 'fp32, fp16'),
        ('folder', ['--format', 'onnx'], 'folder'),
    ],
)
def test_what_does_not_fit_is_one_line(target: str, flags: list, told: str, tmp_path: Path, capsys) -> None:
    weights, _ = small_weights(tmp_path, 'RFDN')
    (tmp_path / 'folder.onnx').mkdir()
    assert exit_code(weights, tmp_path / target, *flags) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    import re

    assert re.search(told, error)


def test_an_onnx_runtime_must_be_there_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, _ = small_weights(tmp_path, 'RFDN')
    monkeypatch.setattr(export.backends, 'missing', lambda name: f'{name} is not installed: pip install it.')
    with pytest.raises(RFDNError, match='pip install'):
        export.export(identify_file(weights), tmp_path / 'model.onnx')


@pytest.mark.parametrize('format', ['onnx', 'ncnn'])
def test_official_weights(format: str, data_root: Path, tmp_path: Path) -> None:
    require(format)
    weights = data_root / 'weights' / 'official' / 'RFDN_AIM.pth'
    network, identity = load_network(weights)
    target = tmp_path / f'RFDN_x4{export.FORMATS[format].suffixes[0]}'
    assert exit_code(weights, target) == 0
    for runner in runners(target):
        assert runner.scale == identity.upscale
        for height, width in ((15, 15), (16, 16), (17, 31)):
            x = noise(1, height, width)
            assert abs(runner(x) - outputs_of(network, x)).max() < 5e-3 * GREY_LEVEL


def test_the_shipped_weights_in_sixteen_bits(tmp_path: Path) -> None:
    """OpenVINO rounds an image of one pixel otherwise; that must not hold up the model."""
    require('openvino')
    assert exit_code(Path('zoo:RFDN_x2'), tmp_path / 'x2.xml', '--precision', 'bf16') == 0


@pytest.mark.slow
def test_a_whole_hd_image(data_root: Path, tmp_path: Path) -> None:
    """Compared with the inference form, which is within 2e-3 grey levels of the network; 8 GiB of memory."""
    weights = data_root / 'weights' / 'official' / 'RFDN_AIM.pth'
    assert exit_code(weights, tmp_path / 'x4.onnx') == 0
    x = noise(1, 1080, 1920)
    wanted = open_model(weights, backend='torch', threads=1)(x)
    for backend in backends.backends_for(tmp_path / 'x4.onnx'):
        started = time.process_time()
        output = open_model(tmp_path / 'x4.onnx', backend=backend, threads=1)(x)
        seconds = time.process_time() - started
        assert output.shape == (1, 3, 4320, 7680)
        output -= wanted
        difference = max(output.max(), -output.min()) / GREY_LEVEL
        print(f'{backend}: {seconds:.1f} s of a core, differs by {difference:.2g} grey levels')
        assert difference < 5e-3
