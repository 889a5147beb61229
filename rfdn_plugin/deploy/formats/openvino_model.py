"""A network as an OpenVINO model: a description (.xml) and its weights (.bin)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from rfdn_plugin.deploy.formats.onnx_model import onnx_model
from rfdn_plugin.deploy.formats.openvino_graph import rearrange
from rfdn_plugin.utils.errors import RFDNError

if TYPE_CHECKING:
    import openvino

SECTION = 'rfdn'
"""Where in the model's runtime information its card stands."""


def openvino_model(network: nn.Module, *, clamp: bool = False) -> openvino.Model:
    """The network as an OpenVINO model: `input` N x 3 x H x W, float32, RGB, 0..1, to `output`, all sizes free.

    Args:
        network: In eval mode, on the CPU.
        clamp: Cut the output to 0..1.

    Raises:
        RFDNError: OpenVINO or the package onnx is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise RFDNError('exporting to OpenVINO needs it: pip install "rfdn-plugin[openvino]".') from error
    model = openvino.Core().read_model(model=onnx_model(network, clamp=clamp).SerializeToString())
    rearrange(model)
    return model


def save(model: openvino.Model, path: Path, card: Mapping[str, str], *, half: bool) -> None:
    """Write PATH.xml and PATH.bin with the card inside.

    Args:
        model: What to write.
        path: Ends in .xml.
        card: What the model says of itself.
        half: Keep the weights as 16-bit floats.
    """
    import openvino

    for name, value in card.items():
        model.set_rt_info(value, [SECTION, name])
    openvino.save_model(model, path, compress_to_fp16=half)


def card_in(model: openvino.Model) -> dict[str, str]:
    """What a model that `save` wrote says of itself; nothing for others."""
    if not model.has_rt_info([SECTION]):
        return {}
    return {name: str(value) for name, value in model.get_rt_info([SECTION]).value.items()}
