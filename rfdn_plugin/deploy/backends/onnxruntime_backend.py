"""ONNX Runtime on the CPU. A model runs in the precision that it was exported in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from rfdn_plugin.deploy.runner import Runner
from rfdn_plugin.utils.errors import RFDNError

PRECISIONS = ('fp32', 'fp16', 'int8')


class OnnxRuntimeRunner(Runner):
    """An ONNX model with one float input N x 3 x H x W and one output, run by ONNX Runtime."""

    backend = 'onnxruntime'

    def __init__(self, model: str | bytes, *, precision: str | None, threads: int, name: str) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(model, settings, providers=['CPUExecutionProvider'])
        except Exception as error:  # ONNX Runtime raises a class of its own for every status code
            raise RFDNError(f'{name} is no model that ONNX Runtime can run ({_first_line(error)}).') from error
        card: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        own = card.get('exported_precision', 'fp32')
        if precision not in (None, own):
            raise RFDNError(
                f'{name} is made for {own}, and ONNX Runtime computes in what a model is made for: export it with '
                f'--precision {precision}, or take {own}.'
            )
        super().__init__(precision=own, threads=threads, name=name)
        self.card = card
        self._check()
        self.input = self.session.get_inputs()[0].name

    def _check(self) -> None:
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != 'tensor(float)':
            raise RFDNError(f'{self.name} must have one float input N x 3 x H x W and one output.')
        if any(isinstance(side, int) for side in inputs[0].shape[2:]):
            raise RFDNError(
                f'{self.name} takes {inputs[0].shape[2:]} pixels only: export it with free height and width.'
            )

    def run(self, images: np.ndarray) -> np.ndarray:
        try:
            return self.session.run(None, {self.input: images})[0]
        except Exception as error:  # as above
            raise RFDNError(f'{self.name}: ONNX Runtime failed ({_first_line(error)}).') from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def open_runner(model: nn.Module | Path, *, precision: str | None, threads: int, name: str) -> OnnxRuntimeRunner:
    """See `backends.open_model`."""
    content: str | bytes = str(model)
    if isinstance(model, nn.Module):
        from rfdn_plugin.deploy.formats.onnx_model import onnx_model

        content = onnx_model(model).SerializeToString()
    return OnnxRuntimeRunner(content, precision=precision, threads=threads, name=name)
