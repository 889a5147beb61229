"""A network as an ncnn model, by pnnx: a text with the layers (.param) and their weights (.bin).

The weights stay 32-bit floats. ncnn halves them itself when it loads them where it computes so (on GPUs and ARM), and
ncnn 1.0.20261020 reads files of 16-bit weights wrongly on x86: garbage, or the end of the process.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from rfdn_plugin.utils.errors import RFDNError

INPUT, OUTPUT = 'data', 'output'
"""The blobs' names that upscayl and realesrgan-ncnn-vulkan read."""


class NcnnModel(NamedTuple):
    """The content of the two files."""

    param: str
    bin: bytes


def ncnn_model(network: nn.Module) -> NcnnModel:
    """The network as an ncnn model: `data` 3 x H x W, RGB, 0..1, to `output`, any size from the network's smallest.

    Args:
        network: In eval mode, on the CPU, with 32-bit weights.

    Raises:
        RFDNError: pnnx is not installed, fails, or finds no ncnn layer for something that the network does.
    """
    try:
        import pnnx
    except ImportError as error:
        raise RFDNError('exporting to ncnn needs the package pnnx: pip install "rfdn-plugin[ncnn]".') from error
    # Two sizes, so that pnnx takes neither for the only one.
    examples = torch.rand(1, 3, 48, 40), torch.rand(1, 3, 64, 100)
    with tempfile.TemporaryDirectory(prefix='rfdn-ncnn-') as folder:
        traced = Path(folder) / 'network.pt'
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter('ignore')  # of the padding of images that are smaller than the examples
            torch.jit.trace(network, examples[0], check_trace=False).save(str(traced))
        shapes = [f'[{",".join(map(str, example.shape))}]f32' for example in examples]
        command = [pnnx.EXEC_PATH, traced.name, f'inputshape={shapes[0]}', f'inputshape2={shapes[1]}', 'fp16=0']
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors='replace', check=False)
        param, weights = Path(folder) / 'network.ncnn.param', Path(folder) / 'network.ncnn.bin'
        if done.returncode != 0 or not (param.is_file() and weights.is_file()):
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise RFDNError(
                f'pnnx cannot convert {type(network).__name__} ({lines[-1] if lines else done.returncode}).'
            )
        return NcnnModel(_with_our_names(param.read_text(), type(network).__name__), weights.read_bytes())


def _with_our_names(param: str, name: str) -> str:
    """The text with the blobs named as upscayl reads them, without what ncnn of before 2025 does not know.

    Raises:
        RFDNError: It holds an operation that ncnn has no layer for.
    """
    lines = []
    for line in param.splitlines():
        words = line.split()
        if words and ('::' in words[0] or words[0].startswith(('prim', 'pnnx', 'nn.', 'F.', 'torch.', 'Tensor.'))):
            raise RFDNError(f'ncnn has no layer for {words[0]} of {name}: take another format.')
        if words and words[0] == 'Interp':
            # The size is also given by the second blob, which every ncnn reads; the expression only new ones.
            line = re.sub(r' 9="[^"]*"', '', line)
        for old, new in (('in0', INPUT), ('out0', OUTPUT)):
            line = re.sub(rf'(?<=\s){old}(?=\s|$)', new, line)
        lines.append(line)
    return '\n'.join(lines) + '\n'
