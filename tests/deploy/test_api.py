"""`rfdn_plugin.load` and `rfdn_plugin.upscale`."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import rfdn_plugin
from rfdn_plugin.deploy import api
from rfdn_plugin.utils.errors import RFDNError


def test_names_files_and_networks_give_the_same(zoo: Path):
    image = (np.random.rand(20, 30, 3) * 255).astype(np.uint8)
    network = rfdn_plugin.load('zoo:RFDN_x2')
    assert isinstance(network, torch.nn.Module) and not network.training and network.upscale == 2
    outputs = [rfdn_plugin.upscale(image, model) for model in (network, 'zoo:RFDN_x2', zoo / 'RFDN_x2.safetensors')]
    assert outputs[0].shape == (40, 60, 3) and all((output == outputs[0]).all() for output in outputs)
    assert (rfdn_plugin.upscale(image) == outputs[0]).all()  # the default
    assert rfdn_plugin.upscale(image, 'zoo:E_RFDN_x3', precision='bf16', tile=16).shape == (60, 90, 3)


def test_a_file_that_changes_is_read_again(zoo: Path):
    image = (np.random.rand(20, 30, 3) * 255).astype(np.uint8)
    assert rfdn_plugin.upscale(image, 'zoo:RFDN_x2').shape == (40, 60, 3)
    (zoo / 'RFDN_x2.safetensors').write_bytes((zoo / 'E_RFDN_x3.safetensors').read_bytes())
    assert rfdn_plugin.upscale(image, 'zoo:RFDN_x2').shape == (60, 90, 3)


def test_what_cannot_be_loaded(zoo: Path):
    for call in (rfdn_plugin.load, lambda weights: rfdn_plugin.upscale(np.zeros((8, 8, 3), np.uint8), weights)):
        with pytest.raises(RFDNError, match='zoo:RFDN_x2'):
            call('zoo:nothing')
        with pytest.raises(RFDNError, match='no weights file'):
            call('nothing.pth')


def test_importing_the_package_imports_nothing_heavy():
    code = """
import sys, time
start = time.process_time()
import rfdn_plugin
seconds = time.process_time() - start
assert 'load' in dir(rfdn_plugin) and 'upscale' in dir(rfdn_plugin)
try:
    rfdn_plugin.nothing
except AttributeError as error:
    assert 'nothing' in str(error)
assert not {'torch', 'numpy', 'cv2', 'PIL', 'basicsr', 'pydantic'} & set(sys.modules)
print(seconds)
"""
    runs = [subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.05


@pytest.mark.parametrize('function', [api.load, api.upscale], ids=lambda function: function.__name__)
def test_the_examples_of_the_docstrings(function, zoo: Path, monkeypatch: pytest.MonkeyPatch):
    import doctest

    monkeypatch.setenv('RFDN_ZOO', str(zoo))
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    (example,) = finder.find(function, function.__name__, globs={})
    assert example.examples and runner.run(example).failed == 0


def test_both_are_typed():
    for function in (api.load, api.upscale):
        signature = inspect.signature(function)
        assert all(parameter.annotation is not inspect.Parameter.empty for parameter in signature.parameters.values())
        assert signature.return_annotation is not inspect.Signature.empty
