"""Which runtime computes, and exported models in place of weights."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import rfdn_plugin
from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.cli import main
from rfdn_plugin.deploy import choice, memory
from rfdn_plugin.deploy.choice import RunnerForm, fastest, open_form
from rfdn_plugin.deploy.inference import InferenceForm
from rfdn_plugin.deploy.upscale import Upscaler
from rfdn_plugin.utils import machine
from rfdn_plugin.utils.errors import RFDNError


class FakeRunner:
    """What a runtime would be: the network itself, with an error of so many grey levels."""

    def __init__(self, network: torch.nn.Module, backend: str, error: float = 0.0) -> None:
        self.network, self.backend, self.error = network, backend, error
        self.scale, self.precision, self.card = 2, 'fp32', {}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.network(torch.from_numpy(images)).numpy() + self.error / 255


@pytest.fixture
def network(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return rfdn_plugin.load('zoo:RFDN_x2')


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch):
    """Installs runtimes that exist in this test only: milliseconds and error of each."""

    def install(**given: tuple[float, float]) -> list[str]:
        measured: list[str] = []

        def milliseconds(form, size: int) -> float:
            name = form.backend if isinstance(form, RunnerForm) else 'torch'
            measured.append(f'{name} {size}')
            return given[name][0]

        monkeypatch.setattr(choice, 'backends_for', lambda model: list(given))
        monkeypatch.setattr(choice, '_milliseconds', milliseconds)
        monkeypatch.setattr(
            choice, 'open_model', lambda model, backend, **_: FakeRunner(model, backend, given[backend][1])
        )
        return measured

    return install


def test_the_fastest_is_measured_once_for_a_size(network, runtimes):
    measured = runtimes(torch=(20, 0), openvino=(10, 0), ncnn=(30, 0))
    assert [fastest(network, side=side).backend for side in (50, 90, 200, 2000)] == ['openvino'] * 4
    assert measured == [f'{name} {size}' for size in (96, 256) for name in ('torch', 'openvino', 'ncnn')]
    assert fastest(network, precision='bf16').backend == 'openvino' and len(measured) == 9


def test_what_gives_another_image_is_not_taken(network, runtimes):
    runtimes(torch=(20, 0), openvino=(10, 0.5), ncnn=(15, 0.0005))
    assert fastest(network).backend == 'ncnn'


def test_times_are_remembered_and_outputs_are_compared_each_time(network, runtimes):
    """Times depend on the shapes; whether the output is right depends on the weights."""
    runtimes(torch=(20, 0), openvino=(10, 0), ncnn=(15, 0))
    assert fastest(network).backend == 'openvino'
    measured = runtimes(torch=(1, 0), openvino=(1, 0.5), ncnn=(1, 0))
    assert fastest(network).backend == 'ncnn' and not measured
    runtimes(openvino=(1, 0.5), ncnn=(1, float('nan')))
    with pytest.raises(
        RFDNError, match=r'openvino: its output differs from the network by 0\.5 grey levels; ncnn: its'
    ):
        fastest(network)


def test_a_backend_that_is_gone_is_not_taken_and_a_new_one_is_measured(network, runtimes):
    runtimes(torch=(20, 0), openvino=(10, 0))
    assert fastest(network).backend == 'openvino'
    measured = runtimes(torch=(20, 0), ncnn=(30, 0))
    assert fastest(network).backend == 'torch' and measured == ['ncnn 256']


def test_a_memory_that_cannot_be_written_or_read_is_none(network, runtimes, tmp_path: Path):
    (tmp_path / 'cache').write_text('a file where a folder should be')
    measured = runtimes(torch=(20, 0), ncnn=(10, 0))
    assert [fastest(network).backend for _ in range(2)] == ['ncnn', 'ncnn'] and len(measured) == 4


def test_memory_that_a_runtime_has_not_is_found_in_parts(network, runtimes, monkeypatch: pytest.MonkeyPatch):
    runtimes(torch=(20, 0), openvino=(10, 0))
    image = np.random.randint(0, 256, (200, 220, 3), np.uint8)
    upscaler = Upscaler(network, backend='openvino')
    wanted = upscaler(image)
    assert isinstance(upscaler.form, RunnerForm) and upscaler.last_way == 'whole'
    budget = memory.ways(InferenceForm(network), 200, 220)[1].bytes
    monkeypatch.setattr(memory, 'available', lambda limit, device: budget + wanted.nbytes)
    assert np.abs(upscaler(image).astype(int) - wanted).max() <= 1 and 'parts' in upscaler.last_way


def test_memory_that_a_runtime_needs_is_known_for_our_networks(network):
    full = NETWORKS['E_RFDN'](upscale=4)
    for backend, precision in (('openvino', 'fp32'), ('openvino', 'fp16'), ('onnxruntime', 'fp32'), ('ncnn', 'bf16')):
        runner = FakeRunner(full, backend)
        runner.precision = precision
        (known,), (unknown,) = (memory.ways(RunnerForm(runner, of), 720, 1280) for of in (full, torch.nn.Identity()))
        assert known.bytes < 6 << 30 < unknown.bytes
        with pytest.raises(RFDNError, match=r'1280x720 pixels need [\d.]+ GiB of memory, 1\.0 GiB are free'):
            memory.choose(RunnerForm(runner, full), 720, 1280, 1 << 30)
    edited = FakeRunner(full, 'openvino')
    for arguments in ('{"num_feat": "many"}', '[]', '{', '{"num_feat": null}'):
        edited.card = {'network': 'E_RFDN', 'arguments': arguments}
        assert RunnerForm(edited).num_feat is None


@pytest.mark.parametrize(('flags', 'is_slow'), [({'avx2'}, True), ({'avx2', 'avx512_bf16'}, False)])
def test_bf16_that_the_processor_emulates_is_told(flags, is_slow, zoo, tmp_path: Path, monkeypatch, capsys):
    import cv2

    monkeypatch.setattr(machine, 'processor_flags', lambda: flags)
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((8, 8, 3), np.uint8))
    words = ['upscale', str(tmp_path / 'a.png'), '-o', str(tmp_path / 'out'), '--precision', 'bf16']
    assert main(words) == 0
    assert ('--precision bf16 is many times slower than fp32' in capsys.readouterr().err) == is_slow


def test_precisions_and_devices(network):
    for precision in ('fp16', 'int8'):
        with pytest.raises(RFDNError, match=f'take one of these, or .* --precision {precision} and take that'):
            open_form(network, precision=precision)
    with pytest.raises(RFDNError, match='leave --device out'):
        open_form(network, backend='onnxruntime', device='cuda')
    with pytest.raises(RFDNError, match='no backend'):
        open_form(network, backend='tensorrt')


@pytest.mark.skipif(importlib.util.find_spec('onnxruntime') is None, reason='onnxruntime is not installed')
def test_exported_models_in_place_of_weights(network, tmp_path: Path, capsys: pytest.CaptureFixture):
    import cv2

    model, image = tmp_path / 'RFDN_x2.onnx', np.random.randint(0, 256, (20, 24, 3), np.uint8)
    assert main(['export', '--weights', 'zoo:RFDN_x2', '--format', 'onnx', '-o', str(model)]) == 0
    cv2.imwrite(str(tmp_path / 'a.png'), image[..., ::-1])
    command = ['upscale', str(tmp_path / 'a.png'), '-o', str(tmp_path / 'out'), '--weights', str(model)]
    assert main([*command, '--backend', 'onnxruntime', '--scale', '2']) == 0
    result = cv2.imread(str(tmp_path / 'out/a.png'))[..., ::-1].astype(int)
    assert np.abs(result - rfdn_plugin.upscale(image, network)).max() <= 1
    assert np.abs(rfdn_plugin.upscale(image, model, backend='onnxruntime') - result).max() <= 1
    assert main([*command, '--backend', 'onnxruntime', '--scale', '3']) == 2
    assert 'is of x2: leave --scale out' in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / 'gone.onnx')]) == 2
    assert main([*command, '--type', 'RFDN']) == 2
    assert '--type' in capsys.readouterr().err
    with pytest.raises(RFDNError, match='which torch does not run: take onnxruntime, openvino'):
        Upscaler(model, backend='torch')
    assert main([*command, '--backend', 'torch', '--overwrite']) == 1
    assert 'which torch does not run' in capsys.readouterr().err
    assert Upscaler(model).form.backend == 'onnxruntime'
    assert Upscaler(model).form.num_feat == network.fea_conv.out_channels  # by its card


@pytest.mark.parametrize('named', [{'tlie': 64}, {'type': 'RFDN'}, {'img_range': 255}], ids=str)
def test_what_a_loaded_network_does_not_use_is_refused(network, named: dict):
    with pytest.raises(TypeError, match=f'a network that is loaded does not use {next(iter(named))}: leave that out'):
        rfdn_plugin.upscale(np.zeros((8, 8, 3), np.uint8), network, **named)
    if 'img_range' not in named:
        with pytest.raises(TypeError, match=f'an exported model does not use {next(iter(named))}'):
            rfdn_plugin.upscale(np.zeros((8, 8, 3), np.uint8), 'model.onnx', **named)


def test_little_work_is_not_worth_measuring(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import cv2

    def refuse(*_: object, **__: object) -> str:
        raise AssertionError('measured')

    monkeypatch.setattr(choice, 'fastest', refuse)
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((8, 9, 3), np.uint8))
    assert main(['upscale', str(tmp_path / 'a.png'), '-o', str(tmp_path / 'out')]) == 0


def test_what_was_measured_can_be_read(network, runtimes, tmp_path: Path):
    runtimes(torch=(20, 0), ncnn=(10, 0))
    fastest(network)
    (entry,) = json.loads((tmp_path / 'cache/rfdn_plugin/backends.json').read_text()).values()
    assert entry == {'torch': 20, 'ncnn': 10}


def test_a_form_of_a_runner_is_called_with_tensors(network):
    x: Tensor = torch.rand(1, 3, 9, 11)
    form = RunnerForm(FakeRunner(network, 'ncnn'))
    with torch.inference_mode():
        assert torch.allclose(form(x.permute(0, 1, 3, 2)), network(x.permute(0, 1, 3, 2)))


def test_a_model_that_nothing_installed_runs_is_told_what_to_install(tmp_path, monkeypatch):
    from rfdn_plugin.deploy import backends

    (tmp_path / 'x.onnx').write_bytes(b'')
    monkeypatch.setattr(backends, 'missing', lambda name: f'{name} is not installed')
    with pytest.raises(RFDNError, match='no backend runs it: onnxruntime is not installed'):
        fastest(tmp_path / 'x.onnx')
