"""A network as an ONNX model."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from rfdn_plugin.deploy.formats.form import ExportForm
from rfdn_plugin.utils.errors import RFDNError

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""The operator set: of 2022, which every runtime of today reads."""

INPUT, OUTPUT = 'input', 'output'


def onnx_model(
    network: nn.Module,
    *,
    clamp: bool = False,
    dtype: torch.dtype = torch.float32,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """The network as an ONNX model: `input` N x 3 x H x W, float32, RGB, 0..1, to `output`, all sizes free.

    Args:
        network: In eval mode, on the CPU.
        clamp: Cut the output to 0..1.
        dtype: What it computes in: torch.float32 or torch.float16.
        metadata: What the model says of itself.

    Raises:
        RFDNError: The package onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise RFDNError('exporting to ONNX needs the package onnx: pip install "rfdn-plugin[onnx]".') from error
    form = ExportForm(network, clamp=clamp, dtype=dtype).eval()
    example = torch.rand(1, 3, 24, 20)  # larger than every smallest size, the sides unequal
    free = {INPUT: {0: 'N', 2: 'H', 3: 'W'}, OUTPUT: {0: 'N', 2: 'H_out', 3: 'W_out'}}
    content = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter by tracing is named old, but needs no further package and gives what every runtime reads.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            form,
            (example,),
            content,  # type: ignore[arg-type]
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
    model = slimmed(onnx.load_from_string(content.getvalue()))
    onnx.helper.set_model_props(model, dict(metadata or {}))
    return model


def slimmed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without operations that can be computed beforehand; as it is where onnxslim is not installed."""
    try:
        import onnxslim
    except ImportError:
        return model
    # It writes what it does to the log of the whole process, and knows no smaller model of ours that computes otherwise.
    return onnxslim.slim(model, verbose=False) or model
