"""OpenVINO on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from rfdn_plugin.deploy.formats.openvino_model import card_in, openvino_model
from rfdn_plugin.deploy.runner import Runner
from rfdn_plugin.utils.errors import RFDNError

if TYPE_CHECKING:
    import openvino

PRECISIONS = ('fp32', 'bf16', 'fp16', 'int8')
_HINTS = {'fp32': 'f32', 'bf16': 'bf16', 'fp16': 'f16'}


class OpenVinoRunner(Runner):
    """An OpenVINO or ONNX model with one input N x 3 x H x W and one output, run by OpenVINO's CPU plugin."""

    backend = 'openvino'

    def __init__(self, model: Path | openvino.Model, *, precision: str | None, threads: int, name: str) -> None:
        import openvino

        core = openvino.Core()
        try:
            graph = core.read_model(model=model) if isinstance(model, Path) else model
        except Exception as error:  # OpenVINO raises RuntimeError and its own
            raise RFDNError(f'{name} is no model that OpenVINO can read ({_last_line(error)}).') from error
        made_for = _own_precision(graph)
        # A model for 16-bit floats runs in 32 where the processor has none of its kind.
        own = made_for if made_for == 'int8' or made_for in _available(core) else 'fp32'
        if (precision == 'int8') != (own == 'int8') and precision is not None:
            raise RFDNError(
                f'{name} is made for {own}: take that, or export it with --precision {precision}.'
                if own == 'int8'
                else f'{name} is not quantised: export it with --precision int8 first.'
            )
        super().__init__(precision=precision or own, threads=threads, name=name)
        self.card = card_in(graph)
        rest = self.precision if self.precision != 'int8' else _rest_of_int8(core)
        settings = {
            'INFERENCE_PRECISION_HINT': _HINTS[rest],
            'INFERENCE_NUM_THREADS': threads,
            'NUM_STREAMS': 1,
            'PERFORMANCE_HINT': 'LATENCY',
        }
        if rest not in _available(core):
            raise RFDNError(f'this processor does not compute in {rest} with OpenVINO: take fp32.')
        if (
            len(graph.inputs) != 1
            or len(graph.outputs) != 1
            or graph.input().get_partial_shape().rank.get_length() != 4
        ):
            raise RFDNError(f'{name} must have one input N x 3 x H x W and one output.')
        if any(graph.input().get_partial_shape()[axis].is_static for axis in (2, 3)):
            raise RFDNError(f'{name} takes {graph.input().get_partial_shape()} only: export it with free sizes.')
        self.compiled = core.compile_model(graph, 'CPU', settings)

    def run(self, images: np.ndarray) -> np.ndarray:
        try:
            output = self.compiled(np.ascontiguousarray(images))[0]
        except Exception as error:  # as above
            raise RFDNError(f'{self.name}: OpenVINO failed ({_last_line(error)}).') from error
        # Its own memory: OpenVINO writes the next result into the same place.
        return np.array(output, np.float32)


def _own_precision(graph: Any) -> str:
    """What a model was made for: int8 where it quantises its activations, else what its card says."""
    if any(node.get_type_name() == 'FakeQuantize' for node in graph.get_ops()):
        return 'int8'
    return card_in(graph).get('exported_precision', 'fp32')


def _available(core: Any) -> set[str]:
    """The float precisions that OpenVINO computes in on this processor."""
    capabilities = core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    return {'fp32'} | {name for name in ('bf16', 'fp16') if name.upper() in capabilities}


def _rest_of_int8(core: Any) -> str:
    """What a quantised model's other layers are computed in."""
    return 'bf16' if 'bf16' in _available(core) else 'fp32'


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip('.') if lines else type(error).__name__


def open_runner(model: nn.Module | Path, *, precision: str | None, threads: int, name: str) -> OpenVinoRunner:
    """See `backends.open_model`."""
    if isinstance(model, nn.Module):
        return OpenVinoRunner(openvino_model(model), precision=precision, threads=threads, name=name)
    if model.suffix == '.xml' and not model.with_suffix('.bin').is_file():
        raise RFDNError(f'{model} has no {model.with_suffix(".bin").name} beside it, which holds its weights.')
    return OpenVinoRunner(model, precision=precision, threads=threads, name=name)
