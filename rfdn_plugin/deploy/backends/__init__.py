"""One interface for the runtimes that can run a model: PyTorch, ONNX Runtime, OpenVINO and ncnn.

`open_model` takes a network, a weights file, or an exported model, and gives a `Runner`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from rfdn_plugin.deploy.runner import PRECISIONS, Runner
from rfdn_plugin.utils.errors import RFDNError

__all__ = ['BACKENDS', 'PRECISIONS', 'Runner', 'backends_for', 'kind_of', 'missing', 'open_model', 'precisions_of']

BACKENDS = ('torch', 'onnxruntime', 'openvino', 'ncnn')

_EXTRAS = {'onnxruntime': 'onnx', 'openvino': 'openvino', 'ncnn': 'ncnn'}
"""Of this package, which install the module that is named as the backend; PyTorch is always there."""

_READS = {
    'torch': ('network',),
    'onnxruntime': ('network', 'onnx'),
    'openvino': ('network', 'onnx', 'openvino'),
    'ncnn': ('network', 'ncnn'),
}
_KINDS = {'.onnx': 'onnx', '.xml': 'openvino', '.param': 'ncnn', '.bin': 'ncnn'}
_WORDS = {
    'network': 'a network or weights',
    'onnx': 'an ONNX model',
    'openvino': 'an OpenVINO model',
    'ncnn': 'an ncnn model',
}


def open_model(
    model: nn.Module | str | Path,
    *,
    backend: str,
    precision: str | None = None,
    threads: int | None = None,
    img_range: float = 1.0,
) -> Runner:
    """Make a model ready to run.

    Args:
        model: A network of this package (in eval mode, on the CPU; N x 3 x H x W, RGB, 0..1), or a file: weights of any
            layout that `rfdn inspect` reads, an ONNX model (.onnx), an OpenVINO model (.xml, its .bin beside it), or an
            ncnn model (.param or .bin, the other one beside it). Networks and weights run with every backend.
        backend: One of `BACKENDS`.
        precision: One of `PRECISIONS`; None takes what the model is made for: fp32 but for models that were exported in
            another one.
        threads: How many threads to compute with; None takes as many as PyTorch does.
        img_range: The values that a model from elsewhere works on, 0..1 or 0..255; the runner takes 0..1 all the same.

    Raises:
        RFDNError: The backend is not installed (the message says what to install), cannot run this kind of model or
            this precision, or the file is none; each in one line.
    """
    module = _module(backend)
    if problem := missing(backend):
        raise RFDNError(problem)
    kind = kind_of(model)
    if kind not in _READS[backend]:
        able = ', '.join(name for name in BACKENDS if kind in _READS[name])
        raise RFDNError(f'{model} is {_WORDS[kind]}, which {backend} does not run: take {able}.')
    if precision not in (None, *module.PRECISIONS):
        able = ', '.join(module.PRECISIONS)
        raise RFDNError(f'{backend} does not compute in {precision}: take {able}.')
    if kind == 'network':
        network, name = _network(model)
    else:
        network, name = None, str(model)
        if not Path(str(model)).is_file():
            raise RFDNError(f'no model file {model}: check the path.')
    runner = module.open_runner(
        network if network is not None else Path(str(model)),
        precision=precision,
        threads=threads or torch.get_num_threads(),
        name=name,
    )
    if network is None:
        runner.img_range = img_range
    runner.scale = runner.find_scale()
    return runner


def kind_of(model: nn.Module | str | Path) -> str:
    """What a model is: 'network' (also of a weights file), 'onnx', 'openvino' or 'ncnn'; a file by its name's ending."""
    return 'network' if isinstance(model, nn.Module) else _KINDS.get(Path(model).suffix.lower(), 'network')


def backends_for(model: nn.Module | str | Path) -> list[str]:
    """The installed backends that can run a model, PyTorch first."""
    kind = kind_of(model)
    return [name for name in BACKENDS if kind in _READS[name] and missing(name) is None]


def missing_for(model: nn.Module | str | Path) -> list[str]:
    """A line for each backend that could run a model and is not installed, as `missing`."""
    kind = kind_of(model)
    return [line for name in BACKENDS if kind in _READS[name] and (line := missing(name)) is not None]


def missing(backend: str) -> str | None:
    """None where a backend is installed, else a line that says what is missing and what to install."""
    extra = _EXTRAS.get(_known(backend))
    if extra is None or importlib.util.find_spec(backend) is not None:
        return None
    return f'the backend {backend} is not installed: pip install "rfdn-plugin[{extra}]".'


def precisions_of(backend: str) -> tuple[str, ...]:
    """The precisions that a backend can compute in on this machine, of those that its model allows."""
    return _module(backend).PRECISIONS


def _known(backend: str) -> str:
    if backend not in BACKENDS:
        raise RFDNError(f'{backend!r} is no backend: take one of {", ".join(BACKENDS)}.')
    return backend


def _module(backend: str) -> ModuleType:
    return importlib.import_module(f'{__name__}.{_known(backend)}_backend')


def _network(model: nn.Module | str | Path) -> tuple[nn.Module, str]:
    if isinstance(model, nn.Module):
        return model, type(model).__name__
    from rfdn_plugin.weights.loading import load_network

    return load_network(model)[0], str(model)
