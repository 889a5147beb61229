"""ncnn on the CPU, in a process of its own (`ncnn_server`)."""

from __future__ import annotations

import contextlib
import json
import math
import platform
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rfdn_plugin.archs.blocks import ESA, pad_to_minimum
from rfdn_plugin.deploy.runner import Runner
from rfdn_plugin.utils.errors import RFDNError

# ncnn computes in 16-bit floats of IEEE's kind on ARM processors only; elsewhere it would silently take 32 bits.
PRECISIONS = ('fp32', 'bf16', *(('fp16',) if platform.machine().lower() in ('arm64', 'aarch64') else ()))

SECONDS_TO_END = 10
"""How long the process of ncnn may take to end when its input has ended."""


class NcnnRunner(Runner):
    """An ncnn model with one input 3 x H x W and one output; images of a batch one after the other.

    Attributes:
        server: The process that computes.
    """

    backend = 'ncnn'

    def __init__(self, param: Path, weights: Path, *, precision: str | None, threads: int, name: str) -> None:
        super().__init__(precision=precision or 'fp32', threads=threads, name=name)
        command = [sys.executable, str(Path(__file__).with_name('ncnn_server.py'))]
        pipe = subprocess.PIPE
        self.server = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        weakref.finalize(self, _end, self.server)
        settings = {'threads': threads, 'precision': self.precision, 'param': str(param), 'weights': str(weights)}
        names, _ = self._ask(settings)
        if 'error' in names:
            raise RFDNError(f'{name} is no model that ncnn can read: check {param.name} and {weights.name}.')
        if len(names['inputs']) != 1 or len(names['outputs']) != 1:
            raise RFDNError(f'{name} must have one input and one output, not {names["inputs"]} and {names["outputs"]}.')
        # ncnn's layers cannot extend an image by a rule that depends on its size, so that is done here.
        self.minimum_size = ESA.MINIMUM_SIZE if _has_esa(param.read_text(errors='replace')) else 1

    def run(self, images: np.ndarray) -> np.ndarray:
        height, width = images.shape[-2:]
        padded = pad_to_minimum(torch.from_numpy(np.ascontiguousarray(images)), self.minimum_size).numpy()
        results = []
        for image in padded:
            head, content = self._ask({'shape': image.shape}, np.ascontiguousarray(image, np.float32))
            if 'status' in head:
                raise RFDNError(f'{self.name}: ncnn failed (status {head["status"]}); was there memory enough?')
            results.append(np.frombuffer(content, np.float32).reshape(head['shape']))
        scale = results[0].shape[-1] // padded.shape[-1]
        return np.stack(results)[:, :, : height * scale, : width * scale]

    def _ask(self, head: dict[str, Any], values: np.ndarray | None = None) -> tuple[dict[str, Any], bytes]:
        """Send a line of JSON and values to the process of ncnn; its answer, with the bytes of the values in it."""
        to, back = self.server.stdin, self.server.stdout
        assert to is not None and back is not None  # both are pipes
        line = b''
        with contextlib.suppress(BrokenPipeError):  # it has ended: there is no answer
            to.write(json.dumps(head).encode() + b'\n')
            if values is not None:
                to.write(values.tobytes())
            to.flush()
            line = back.readline()
        if not line:
            raise RFDNError(f'{self.name}: ncnn ended (exit code {self.server.wait()}): try another backend.')
        answer = json.loads(line)
        return answer, back.read(4 * math.prod(answer['shape'])) if 'shape' in answer else b''


def _end(server: subprocess.Popen) -> None:
    for pipe in (server.stdin, server.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    try:
        server.wait(timeout=SECONDS_TO_END)
    except (
        subprocess.TimeoutExpired
    ):  # it does not see the end of its input, or still computes: nobody wants the result
        server.kill()
        server.wait()


def _has_esa(param: str) -> bool:
    """Whether a model has the 7x7 pooling with stride 3 of `archs.blocks.ESA`, which needs 15 pixels."""
    return any(line.startswith('Pooling ') and ' 1=7 ' in line and ' 2=3 ' in line for line in param.splitlines())


def open_runner(model: nn.Module | Path, *, precision: str | None, threads: int, name: str) -> NcnnRunner:
    """See `backends.open_model`."""
    if isinstance(model, nn.Module):
        from rfdn_plugin.deploy.formats.ncnn_model import ncnn_model

        content = ncnn_model(model)
        with tempfile.TemporaryDirectory(prefix='rfdn-ncnn-') as folder:
            param, weights = Path(folder) / 'network.param', Path(folder) / 'network.bin'
            param.write_text(content.param)
            weights.write_bytes(content.bin)
            return NcnnRunner(param, weights, precision=precision, threads=threads, name=name)
    param, weights = model.with_suffix('.param'), model.with_suffix('.bin')
    for path in (param, weights):
        if not path.is_file():
            raise RFDNError(f'{model} has no {path.name} beside it: an ncnn model is both files.')
    return NcnnRunner(param, weights, precision=precision, threads=threads, name=name)
