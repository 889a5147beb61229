"""Every backend runs every network and gives what the network gives; what cannot be run is told in one line."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from helpers.damage import damaged
from helpers.networks import GREY_LEVEL, noise, outputs_of, small_network, small_weights
from helpers.processes import assert_runs
from torch import nn

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.deploy import backends
from rfdn_plugin.deploy.backends import ncnn_backend
from rfdn_plugin.deploy.formats.ncnn_model import ncnn_model
from rfdn_plugin.deploy.formats.onnx_model import onnx_model
from rfdn_plugin.utils.errors import RFDNError

SIZES = [(1, 1), (3, 40), (14, 15), (15, 15), (16, 16), (17, 31)]


def require(backend: str) -> None:
    if problem := backends.missing(backend):
        pytest.skip(problem)


@pytest.mark.parametrize('backend', backends.BACKENDS)
@pytest.mark.parametrize('name', NETWORKS)
def test_every_backend_gives_what_the_network_gives_at_every_size(name: str, backend: str) -> None:
    require(backend)
    network = small_network(name)
    runner = backends.open_model(network, backend=backend, threads=1)
    assert (runner.scale, runner.backend, runner.precision) == (2, backend, 'fp32')
    for height, width in SIZES:
        x = noise(1, height, width)
        output = runner(x)
        assert (output.dtype, output.shape) == (np.float32, (1, 3, 2 * height, 2 * width))
        assert abs(output - outputs_of(network, x)).max() < 1e-2 * GREY_LEVEL
    batch = noise(3, 20, 16)
    np.testing.assert_allclose(runner(batch), outputs_of(network, batch), atol=1e-2 * GREY_LEVEL)


@pytest.mark.parametrize('backend', backends.BACKENDS)
def test_an_earlier_result_is_not_written_over(backend: str) -> None:
    require(backend)
    runner = backends.open_model(small_network('RFDN'), backend=backend, threads=1)
    x = noise(2, 16, 16)
    first = runner(x[:1])
    kept = first.copy()
    runner(x[1:])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize('backend', backends.BACKENDS)
def test_the_images_stay_as_they_were(backend: str) -> None:
    """ncnn computed in the caller's memory where a network begins with a multiplication by its range."""
    require(backend)
    network = small_network('E_RFDN', img_range=255.0)
    runner = backends.open_model(network, backend=backend, threads=1)
    x = noise(1, 33, 19)
    before = x.copy()
    for _ in range(2):
        assert abs(runner(x) - outputs_of(network, before)).max() < 2e-2 * GREY_LEVEL
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize('backend', backends.BACKENDS)
def test_sixteen_bits_are_near_and_are_not_thirty_two(backend: str) -> None:
    require(backend)
    network = small_network('RFDN', interpolation_start=True)
    x = noise(1, 24, 24)
    for precision in {'bf16', 'fp16'} & set(backends.precisions_of(backend)):
        try:
            runner = backends.open_model(network, backend=backend, precision=precision, threads=1)
        except RFDNError as error:  # a processor or a model without it: said in one line
            assert precision in str(error)
            continue
        difference = abs(runner(x) - outputs_of(network, x)).max()
        assert runner.precision == precision
        assert 1e-5 < difference < 0.05


def test_torch_leaves_the_network_and_the_number_of_threads_as_they_were() -> None:
    network = small_network('RFDN')
    before = torch.get_num_threads()
    backends.open_model(network, backend='torch', precision='bf16', threads=before + 1)(noise(1, 16, 16))
    assert torch.get_num_threads() == before
    assert next(network.parameters()).dtype == torch.float32


def test_weights_files_run_with_every_backend(tmp_path: Path) -> None:
    network = small_network('E_RFDN')
    path = tmp_path / 'net_g_latest.pth'
    torch.save({'params_ema': network.state_dict()}, path)
    x = noise(1, 16, 18)
    for backend in backends.backends_for(path):
        with pytest.raises(RFDNError, match='img-range'):
            backends.open_model(path, backend=backend)
    path, network = small_weights(tmp_path, 'E_RFDN')
    assert backends.backends_for(path)[0] == 'torch'
    for backend in backends.backends_for(path):
        output = backends.open_model(path, backend=backend, threads=1)(x)
        assert abs(output - outputs_of(network, x)).max() < 1e-2 * GREY_LEVEL


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
@pytest.mark.parametrize('img_range', [1, 255])
def test_onnx_files_also_those_of_another_range(tmp_path: Path, backend: str, img_range: int) -> None:
    require(backend)

    network = small_network('RFDN')

    class Foreign(nn.Module):
        upscale = 2

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x / img_range) * img_range

    path = tmp_path / 'model.onnx'
    path.write_bytes(onnx_model(Foreign()).SerializeToString())
    runner = backends.open_model(path, backend=backend, threads=1, img_range=img_range)
    x = noise(1, 18, 20)
    assert abs(runner(x) - outputs_of(network, x)).max() < 1e-2 * GREY_LEVEL


@pytest.mark.parametrize('backend', backends.BACKENDS)
def test_what_cannot_be_run_is_one_line(tmp_path: Path, backend: str) -> None:
    require(backend)
    network = small_network('RFDN')
    cases = {
        'no.onnx': None,
        'text.onnx': b'this is text',
        'empty.onnx': b'',
        'text.xml': b'<net>',
        'lonely.param': b'7767517\n',
        'text.pth': b'text',
        'absent.pth': None,
    }
    for name, content in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(RFDNError) as caught:
            backends.open_model(tmp_path / name, backend=backend)
        assert '\n' not in str(caught.value) and name in str(caught.value), name
    with pytest.raises(RFDNError, match=r'^\S.* take '):
        backends.open_model(network, backend=backend, precision='int4')
    with pytest.raises(RFDNError, match='int8'):
        backends.open_model(network, backend=backend, precision='int8')
    runner = backends.open_model(network, backend=backend)
    for wrong in (np.zeros((3, 16, 16), np.float32), np.zeros((1, 1, 16, 16), np.float32), np.zeros((1, 3, 16, 16))):
        with pytest.raises(ValueError, match='N x 3 x H x W'):
            runner(wrong)


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino', 'ncnn'])
def test_a_damaged_model_runs_or_is_told_in_a_line(tmp_path: Path, backend: str) -> None:
    """Most of the damage is in the first 400 bytes, where the headers are."""
    require(backend)
    random, network, path = Random(1), small_network('RFDN'), tmp_path / 'model.onnx'
    if backend == 'ncnn':
        model, path = ncnn_model(network), tmp_path / 'model.param'
        path.with_suffix('.bin').write_bytes(model.bin)
        whole = model.param.encode()
    else:
        whole = onnx_model(network).SerializeToString()
    told = 0
    for _ in range(20):
        path.write_bytes(damaged(whole[:400], random) + whole[400:])
        try:
            backends.open_model(path, backend=backend, threads=1)
        except RFDNError as error:
            told += 1
            assert '\n' not in str(error) and path.name in str(error)
    assert told > 5
    path.write_bytes(whole.replace(b'output', b'\xff\xfeut'))
    with pytest.raises(RFDNError, match=path.name):
        backends.open_model(path, backend=backend, threads=1)(noise(1, 16, 16))


def test_an_unknown_backend_and_one_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RFDNError, match='tensorrt'):
        backends.open_model(small_network('RFDN'), backend='tensorrt')
    import importlib.util

    find = importlib.util.find_spec
    for backend in backends.BACKENDS[1:]:
        monkeypatch.setattr(
            importlib.util, 'find_spec', lambda name, away=backend: None if name == away else find(name)
        )
        with pytest.raises(RFDNError, match=r'pip install "rfdn-plugin\[\w+\]"'):
            backends.open_model(small_network('RFDN'), backend=backend)
        assert backend not in backends.backends_for(small_network('RFDN'))


def test_a_damaged_network_is_told_before_it_is_used() -> None:
    network = small_network('RFDN')
    with torch.no_grad():
        network.fea_conv.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(RFDNError, match='finite'):
        backends.open_model(network, backend='torch')


def test_openvino_reports_nothing(tmp_path: Path) -> None:
    """It would fork a process that talks to Google Analytics, and leave an identity in the user's home."""
    require('openvino')
    code = """
        from rfdn_plugin.deploy import backends
        import openvino.tools.ovc, sys
        assert sys.modules['openvino_telemetry'] is None
    """
    assert_runs(code, env={'HOME': str(tmp_path)})
    assert not list(tmp_path.iterdir())


def test_a_process_of_ncnn_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    server = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], stdin=subprocess.PIPE)
    monkeypatch.setattr(ncnn_backend, 'SECONDS_TO_END', 0.1)
    ncnn_backend._end(server)
    assert server.returncode == -signal.SIGKILL
