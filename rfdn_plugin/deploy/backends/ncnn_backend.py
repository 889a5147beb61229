"""ncnn on the CPU."""

from __future__ import annotations

import importlib.util
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rfdn_plugin.archs.blocks import ESA, pad_to_minimum
from rfdn_plugin.deploy.backends.runner import Runner
from rfdn_plugin.utils.errors import RFDNError

# ncnn computes in 16-bit floats of IEEE's kind on ARM processors only; elsewhere it would silently take 32 bits.
PRECISIONS = ('fp32', 'bf16', *(('fp16',) if platform.machine().lower() in ('arm64', 'aarch64') else ()))


def missing() -> str | None:
    """See `backends.missing`."""
    if importlib.util.find_spec('ncnn') is None:
        return 'the backend ncnn is not installed: pip install "rfdn-plugin[ncnn]".'
    return None


class NcnnRunner(Runner):
    """An ncnn model with one input 3 x H x W and one output, run by ncnn; images of a batch one after the other."""

    backend = 'ncnn'

    def __init__(
        self, param: Path, weights: Path, *, precision: str | None, threads: int, name: str, img_range: float = 1.0
    ) -> None:
        import ncnn

        super().__init__(precision=precision or 'fp32', threads=threads, name=name)
        self.net = ncnn.Net()
        options = self.net.opt
        options.num_threads = threads
        options.use_vulkan_compute = False
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = self.precision == 'fp16'
        options.use_bf16_storage = options.use_bf16_packed = self.precision == 'bf16'
        if self.net.load_param(str(param)) != 0 or self.net.load_model(str(weights)) != 0:
            raise RFDNError(f'{name} is no model that ncnn can read: check {param.name} and {weights.name}.')
        inputs, outputs = self.net.input_names(), self.net.output_names()
        if len(inputs) != 1 or len(outputs) != 1:
            raise RFDNError(f'{name} must have one input and one output, not {inputs} and {outputs}.')
        self.input, self.output = inputs[0], outputs[0]
        # ncnn's layers cannot extend an image by a rule that depends on its size, so that is done here.
        self.minimum_size = ESA.MINIMUM_SIZE if _has_esa(param.read_text()) else 1
        self.img_range = np.float32(img_range)

    def run(self, images: np.ndarray) -> np.ndarray:
        import ncnn

        height, width = images.shape[-2:]
        padded = pad_to_minimum(torch.from_numpy(np.ascontiguousarray(images)), self.minimum_size).numpy()
        results = []
        for image in padded * self.img_range if self.img_range != 1 else padded:
            extractor = self.net.create_extractor()
            # A copy in ncnn's own memory: it computes in place, and reads past rows that are not aligned as it wants.
            extractor.input(self.input, ncnn.Mat(np.ascontiguousarray(image)).clone())
            status, output = extractor.extract(self.output)
            if status != 0:
                raise RFDNError(f'{self.name}: ncnn failed (status {status}); was there memory enough?')
            # Its own memory: the extractor's goes with it.
            results.append(np.array(output, np.float32))
        scale = results[0].shape[-1] // padded.shape[-1]
        output = np.stack(results)[:, :, : height * scale, : width * scale]
        return output if self.img_range == 1 else output / self.img_range


def _has_esa(param: str) -> bool:
    """Whether a model has the 7x7 pooling with stride 3 of `archs.blocks.ESA`, which needs 15 pixels."""
    return any(line.startswith('Pooling ') and ' 1=7 ' in line and ' 2=3 ' in line for line in param.splitlines())


def open_runner(
    model: nn.Module | Path, *, precision: str | None, threads: int, name: str, img_range: float = 1.0
) -> NcnnRunner:
    """See `backends.open_model`."""
    if isinstance(model, nn.Module):
        from rfdn_plugin.deploy.export.ncnn_model import ncnn_model

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
    return NcnnRunner(param, weights, precision=precision, threads=threads, name=name, img_range=img_range)
