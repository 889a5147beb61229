"""`rfdn export`: a network in another format, run and compared with the network before the file appears."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from rfdn_plugin.deploy import backends
from rfdn_plugin.deploy.formats.form import folded_network
from rfdn_plugin.deploy.formats.openvino_model import openvino_model, save
from rfdn_plugin.deploy.pattern import pattern
from rfdn_plugin.deploy.quantise import MOST_LOSS, Quantised, quantise
from rfdn_plugin.deploy.runner import Runner
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_write, check_output
from rfdn_plugin.weights.card import card_of
from rfdn_plugin.weights.identify import Identity
from rfdn_plugin.weights.loading import build_network


class Format(NamedTuple):
    """How a format is written.

    Attributes:
        suffixes: Of its files; the first is the one to name.
        precisions: What its models can compute in.
        backends: What runs them, and checks them.
    """

    suffixes: tuple[str, ...]
    precisions: tuple[str, ...]
    backends: tuple[str, ...]


FORMATS = {
    'onnx': Format(('.onnx',), ('fp32', 'fp16'), ('onnxruntime', 'openvino')),
    'openvino': Format(('.xml', '.bin'), ('fp32', 'fp16', 'bf16', 'int8'), ('openvino',)),
    'ncnn': Format(('.param', '.bin'), ('fp32',), ('ncnn',)),
    'torch': Format(('.pt2',), ('fp32', 'fp16', 'bf16'), ('torch',)),
    'web': Format(('.html',), ('fp32',), ('onnxruntime', 'openvino')),
}

SIZES = ((1, 1), (15, 15), (16, 16), (17, 31), (96, 64))
"""Heights and widths at which an exported model is compared with the network: around ESA's smallest, odd, unequal."""

TOLERANCE = {'fp32': 0.02, 'fp16': 2.0, 'bf16': 32.0}
"""Grey levels by which an exported model may differ from the network at any pixel. Seen: 0.002, 0.7 and 11."""

ONE_PIXEL = (1, 1)
"""At this size bf16 and int8 are told and not judged: OpenVINO 2026.4 rounds sums of convolutions otherwise there (RFDN x2
in bf16: 35 grey levels, at 1x2 pixels 2; fp32: none)."""

TOLERANCE_INT8 = 32.0
"""The same for int8, of the root of the mean square. Seen: 16 on a hard pattern of 15x15 pixels, 1 on 96x64; what int8
costs is measured in decibels on images."""

_TYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        paths: The files.
        card: What the model says of itself.
        differences: By backend and size, the largest difference from the network in grey levels.
        computed: By backend, the precision that it was compared in: this processor may not have that of the model.
        quantised: Of an int8 model, which layers are and what it costs.
    """

    paths: list[Path]
    card: dict[str, str]
    differences: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
    computed: dict[str, str] = field(default_factory=dict)
    quantised: Quantised | None = None


def export(
    identity: Identity,
    path: str | Path,
    *,
    format: str | None = None,
    precision: str = 'fp32',
    clamp: bool = False,
    calibrate: Path | None = None,
    most_loss: float | None = None,
) -> Exported:
    """Write weights as a model of another format.

    The model takes N x 3 x H x W (RGB, 0..1, 32-bit floats, any size) and gives the enlarged images of the same kind;
    ncnn's takes one image a time, from the network's smallest size on.

    Args:
        identity: The weights and what they are.
        path: The file to write; for openvino and ncnn the one of the two that describes the model. The name of an ncnn
            model gets the scale, as `-x4`, where it does not hold it: upscayl reads it there.
        format: A key of `FORMATS`; by the name's ending where not given.
        precision: What the model computes in.
        clamp: Cut its output to 0..1.
        calibrate: For int8: a folder or LMDB of HR images; see `quantise`.
        most_loss: For int8: decibels of PSNR that it may cost on images left out.

    Raises:
        RFDNError: The name does not fit the format, the format cannot have this precision, a package is missing, or
            the model differs from the network.
        OSError: The file cannot be written.
    """
    path = Path(path)
    format = format or _format_of(path)
    paths = _paths(path, format, identity.upscale)
    if precision not in FORMATS[format].precisions:
        able = ', '.join(FORMATS[format].precisions)
        raise RFDNError(f'{format} models are not made for {precision}: take {able}.')
    runtimes = [name for name in FORMATS[format].backends if backends.missing(name) is None]
    if not runtimes:
        raise RFDNError(f'a model is run before it is written: {backends.missing(FORMATS[format].backends[0])}')
    for file in paths:
        check_output(file)
    if (precision == 'int8') != (calibrate is not None):
        raise RFDNError('int8 is calibrated with images, and only int8: name a folder of HR images (--calibrate).')
    card = export_card(identity, precision=precision, clamp=clamp)
    quantised = None
    with tempfile.TemporaryDirectory(prefix='rfdn-export-') as folder:
        files = [Path(folder) / f'model{suffix}' for suffix in FORMATS[format].suffixes]
        network = folded_network(identity, precision=precision)
        if calibrate is not None:
            quantised = quantise(
                network, calibrate, clamp=clamp, most_loss=MOST_LOSS if most_loss is None else most_loss
            )
            card |= quantised.card()
            model = files[0]
            save(quantised.model, model, card, half=False)
        else:
            model = _WRITERS[format](network, files[0], card, precision, clamp)
        differences, computed = {}, {}
        for name in runtimes:
            runner = _open(model, name, precision)
            differences[name] = compare(build_network(identity), runner, precision, clamp)
            computed[name] = runner.precision
        # The weights first: a model that is there is whole.
        for made, target in reversed(list(zip(files, paths, strict=True))):
            with atomic_write(target) as stream:
                stream.write(made.read_bytes())
    return Exported(paths, card, differences, computed, quantised)


def export_card(identity: Identity, *, precision: str, clamp: bool) -> dict[str, str]:
    """The weights' card, and what the exported model takes, gives and computes in."""
    return card_of(
        identity,
        exported_precision=precision,
        model_input='N x 3 x H x W, float32, RGB, 0..1',
        model_output='N x 3 x (upscale H) x (upscale W), float32, RGB, ' + ('0..1' if clamp else 'not clamped'),
    )


def compare(network: nn.Module, runner: Runner, precision: str, clamp: bool) -> dict[tuple[int, int], float]:
    """The largest difference in grey levels at each of `SIZES`.

    Args:
        network: What `runner` was made from.
        runner: The model that is to be checked.
        precision: Sets how much it may differ.
        clamp: Whether it cuts its output to 0..1.

    Raises:
        RFDNError: It differs by more than `TOLERANCE`, or gives another size.
    """
    differences = {}
    for size in SIZES:
        image = pattern(*size)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(image)).numpy()
        got = runner(image)
        wanted = wanted.clip(0, 1) if clamp else wanted
        if got.shape != wanted.shape:
            raise RFDNError(
                f'the exported model gives {got.shape} in {runner.backend} where it must be {wanted.shape}.'
            )
        difference = abs(got - wanted) * 255
        differences[size] = float(difference.max())
        judged = float(np.sqrt((difference**2).mean())) if precision == 'int8' else differences[size]
        allowed = TOLERANCE.get(precision, TOLERANCE_INT8)
        if size == ONE_PIXEL and precision in ('bf16', 'int8'):
            allowed = 255.0
        if not judged <= allowed:  # also where it is no number
            raise RFDNError(
                f'the exported model differs from the network by {judged:.3g} grey levels at {size[0]}x{size[1]} in '
                f'{runner.backend}, {allowed:g} are allowed in {precision}: nothing was written.'
            )
    return differences


# --- files ---------------------------------------------------------------------------------------------------------
def _format_of(path: Path) -> str:
    for name, format in FORMATS.items():
        if path.suffix.lower() == format.suffixes[0]:
            return name
    endings = ', '.join(f'{format.suffixes[0]} ({name})' for name, format in FORMATS.items())
    raise RFDNError(f'{path}: its ending says no format: name --format, or let it end in {endings}.')


def _paths(path: Path, format: str, scale: int) -> list[Path]:
    """The files of a model; `path` may be named without its ending.

    Raises:
        RFDNError: The ending is another format's.
    """
    suffixes = FORMATS[format].suffixes
    known = {suffix for each in FORMATS.values() for suffix in each.suffixes}
    if path.suffix.lower() in known and path.suffix.lower() not in suffixes:
        raise RFDNError(f'{path} is no name for a model of {format}: let it end in {suffixes[0]}.')
    stem = path.with_suffix('') if path.suffix.lower() in suffixes else path
    if format == 'ncnn' and not any(mark in stem.name.lower() for mark in (f'x{scale}', f'{scale}x')):
        stem = stem.with_name(f'{stem.name}-x{scale}')
    return [stem.with_name(stem.name + suffix) for suffix in suffixes]


def _open(path: Path, backend: str, precision: str) -> Runner:
    threads = torch.get_num_threads()
    if path.suffix == '.pt2':
        from rfdn_plugin.deploy.formats.torch_program import ProgramRunner

        return ProgramRunner(path, precision=precision, threads=threads)
    return backends.open_model(path, backend=backend, threads=threads)


Writer = Callable[[nn.Module, Path, dict[str, str], str, bool], Path]
"""Writes a model and gives the file that is to be checked."""


def _write_onnx(network: nn.Module, path: Path, card: dict[str, str], precision: str, clamp: bool) -> Path:
    from rfdn_plugin.deploy.formats.onnx_model import onnx_model

    model = onnx_model(network, clamp=clamp, dtype=_TYPES[precision], metadata=card)
    path.write_bytes(model.SerializeToString())
    return path


def _write_openvino(network: nn.Module, path: Path, card: dict[str, str], precision: str, clamp: bool) -> Path:
    save(openvino_model(network, clamp=clamp), path, card, half=precision == 'fp16')
    return path


def _write_ncnn(network: nn.Module, path: Path, card: dict[str, str], precision: str, clamp: bool) -> Path:
    from rfdn_plugin.deploy.formats.ncnn_model import ncnn_model

    model = ncnn_model(_Clamped(network) if clamp else network)
    path.write_text(model.param)
    path.with_suffix('.bin').write_bytes(model.bin)
    return path


class _Clamped(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x).clamp(0, 1)


def _write_torch(network: nn.Module, path: Path, card: dict[str, str], precision: str, clamp: bool) -> Path:
    from rfdn_plugin.deploy.formats.torch_program import save_program

    save_program(network, path, card, clamp=clamp, dtype=_TYPES[precision])
    return path


def _write_web(network: nn.Module, path: Path, card: dict[str, str], precision: str, clamp: bool) -> Path:
    from rfdn_plugin.deploy.formats.web import web_page

    model = _write_onnx(network, path.with_suffix('.onnx'), card, precision, clamp)
    path.write_text(web_page(model.read_bytes(), card), encoding='utf-8')
    return model


_WRITERS: dict[str, Writer] = {
    'onnx': _write_onnx,
    'openvino': _write_openvino,
    'ncnn': _write_ncnn,
    'torch': _write_torch,
    'web': _write_web,
}
