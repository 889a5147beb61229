"""Parameters, multiply-adds, and the figures of the NTIRE challenge on efficient super-resolution.

Three conventions that are often confused, all counted here from one pass over tensors without memory (`meta`):

* **conv MACs at 1280x720**: multiply-adds of the convolutions alone, no bias, for an *output* of 1280x720 pixels (an
  input of 640x360, 426x240 or 320x180): "Multi-Adds" of the papers;
* **NTIRE**: for an *input* of 3x256x256, "FLOPs" are conv MACs and one for each output of a ReLU or LeakyReLU (two of a
  batch normalisation), "activations" the outputs of all convolutions, "#Conv" their number;
* **mmengine.analysis** (the same as fvcore, which NTIRE counts by since 2024): conv MACs and four for each output of a
  bilinear interpolation, nothing for activation functions.

The Multi-Adds 95.0 / 42.2 / 23.9 G often quoted beside the 534K of RFDN belong to another network: the AIM 2020 code
with 50 channels, 4 blocks and its x4 upsampler at every scale. RFDN itself has 120.93 / 54.33 / 31.13 G.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rfdn_plugin.leaderboard.measure.predictors import input_channels
from rfdn_plugin.utils.errors import RFDNError

HR_SIZE = (720, 1280)
NTIRE_SIZE = (256, 256)
MULTI_ADDS_NOTE = (
    'The Multi-Adds 95.0 / 42.2 / 23.9 G that are often quoted for RFDN (534 / 541 / 550K) belong to another network, the '
    'AIM 2020 code with its x4 upsampler at every scale; RFDN has 120.93 / 54.33 / 31.13 G.'
)


@dataclass(frozen=True)
class Count:
    """Operations that one forward pass makes.

    Attributes:
        conv_macs: Multiply-adds of the convolutions.
        activations: Outputs of the convolutions.
        convs: Number of convolutions.
        ntire_flops: FLOPs as NTIRE counts them.
        matmul_macs: Multiply-adds of matrix products: linear layers and attention.
    """

    conv_macs: int
    activations: int
    convs: int
    ntire_flops: int
    matmul_macs: int = 0


def lr_size(scale: int) -> tuple[int, int]:
    """Height and width of the input for an output of `HR_SIZE`, rounded down: 240 x 426 at x3."""
    return HR_SIZE[0] // scale, HR_SIZE[1] // scale


# Of these only the shape is needed, and torch takes half a millisecond for each to find it: seconds for a deep network.
_POINTWISE = {f'aten::{name}' for name in ('add', 'sub', 'mul', 'div', 'relu', 'leaky_relu', 'sigmoid')}


class _Counter(TorchDispatchMode):
    """Sees every operation that a forward pass makes, functions and modules alike."""

    def __init__(self, ignored_weights: set[int]) -> None:
        super().__init__()
        self.ignored_weights = ignored_weights
        self.macs = self.activations = self.convs = self.others = self.products = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = function.overloadpacket._qualified_op_name
        if name in _POINTWISE:
            result = args[0].new_empty(torch.broadcast_shapes(*(x.shape for x in args if isinstance(x, Tensor))))
        else:
            result = function(*args, **(kwargs or {}))
        if name == 'aten::convolution':
            self._count_convolution(args, result)
        elif name in ('aten::relu', 'aten::relu_', 'aten::leaky_relu', 'aten::leaky_relu_'):
            self.others += result.numel()
        elif name in ('aten::native_batch_norm', 'aten::_native_batch_norm_legit_no_training'):
            self.others += 2 * result[0].numel()
        elif name in ('aten::addmm', 'aten::mm', 'aten::bmm', 'aten::baddbmm'):
            self.products += result.numel() * args[-1].shape[-2]
        return result

    def _count_convolution(self, args: tuple, result: Tensor) -> None:
        x, weight, transposed = args[0], args[1], args[6]
        if id(weight) in self.ignored_weights:
            return
        # Each element of the input (transposed) or of the output meets one column of the weights.
        self.macs += (x if transposed else result).numel() * math.prod(weight.shape[1:])
        self.activations += result.numel()
        self.convs += 1


class _FreeInterpolation(TorchFunctionMode):
    """An interpolation to a given size without torch's own derivation of its shape, which takes 40 ms each."""

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is nn.functional.interpolate and kwargs.get('size') is not None and len(args) == 1:
            size = kwargs['size']
            sides = (size, size) if isinstance(size, int) else tuple(size)
            return args[0].new_empty(*args[0].shape[:2], *sides)
        return function(*args, **kwargs)


def count(network: nn.Module, size: tuple[int, int]) -> Count:
    """Count one pass over an input of `size` (height, width), 1 x C x H x W. The network is left as it is.

    Fixed filters (buffers, such as IDN's bicubic skip) are no convolutions of the network and are left out.
    """
    import copy

    network = copy.deepcopy(network).to('meta').eval()
    x = torch.zeros(1, input_channels(network), *size, device='meta')
    counter = _Counter({id(buffer) for buffer in network.buffers()})
    with torch.no_grad(), _FreeInterpolation(), counter:
        network(x)
    flops = counter.macs + counter.products + counter.others
    return Count(counter.macs, counter.activations, counter.convs, flops, counter.products)


def measure(network: nn.Module, scale: int, *, mmengine: bool = True) -> dict[str, Any]:
    """All figures of a network; with `mmengine`, one run of mmengine.analysis on a 256x256 input (seconds).

    Returns:
        `params`, `conv_macs_hr720`, `matmul_macs_hr720`, `ntire` (`flops`, `activations`, `convs`) and `mmengine`
        (`flops`, `activations`, or None where it was not asked for): whole numbers.
    """
    params = sum(parameter.numel() for parameter in network.parameters())
    by_mmengine = mmengine_count(network, NTIRE_SIZE) if mmengine else None
    return _costs(params, count(network, NTIRE_SIZE), count(network, lr_size(scale)), by_mmengine)


def _costs(params: int, ntire: Count, hr720: Count, mmengine: dict[str, int] | None) -> dict[str, Any]:
    return {
        'params': params,
        'conv_macs_hr720': hr720.conv_macs,
        'matmul_macs_hr720': hr720.matmul_macs,
        'ntire': {'flops': ntire.ntire_flops, 'activations': ntire.activations, 'convs': ntire.convs},
        'mmengine': mmengine,
    }


def mmengine_count(network: nn.Module, size: tuple[int, int]) -> dict[str, int]:
    """FLOPs (multiply-adds, in truth) and activations by `mmengine.analysis`, for an input of `size`."""
    from mmengine.analysis import get_model_complexity_info
    from mmengine.logging import MMLogger

    # It warns of every operation that it holds to be free; the module's docstring says which those are.
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        shape = (input_channels(network), *size)
        result = get_model_complexity_info(network, shape, show_table=False, show_arch=False)
    finally:
        logger.setLevel(level)
    return {'flops': int(result['flops']), 'activations': int(result['activations'])}


def measure_onnx(path: str | Path, scale: int) -> dict[str, Any]:
    """Count the costs of an ONNX file as `measure` does, from the shapes of its layers' outputs; mmengine cannot count it.

    Raises:
        RFDNError: onnx is not installed, or cannot infer the shapes of all layers.
    """
    try:
        import onnx
    except ImportError as error:
        raise RFDNError('the cost of an ONNX entry needs onnx: pip install "rfdn-plugin[onnx]".') from error
    model = onnx.load(str(path))
    weighted = {name for node in model.graph.node if node.op_type in _WEIGHTED_NODES for name in node.input}
    params = sum(math.prod(tensor.dims) for tensor in model.graph.initializer if tensor.name in weighted)
    return _costs(params, _count_onnx(path, model, NTIRE_SIZE), _count_onnx(path, model, lr_size(scale)), None)


_WEIGHTED_NODES = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'PRelu', 'BatchNormalization')


def _count_onnx(path: str | Path, model: Any, size: tuple[int, int]) -> Count:
    counted = [node for node in model.graph.node if node.op_type in ('Conv', 'ConvTranspose', 'Relu', 'LeakyRelu')]
    shapes = _inferred_shapes(path, model, [node.output[0] for node in counted], size)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    macs = activations = convs = others = 0
    for node, shape in zip(counted, shapes, strict=True):
        outputs = math.prod(shape)
        if node.op_type in ('Relu', 'LeakyRelu'):
            others += outputs
            continue
        if node.input[1] not in weights:
            raise RFDNError(f'{path}: a convolution with computed weights cannot be counted.')
        macs += _onnx_macs(node, weights[node.input[1]], outputs)
        activations += outputs
        convs += 1
    return Count(macs, activations, convs, macs + others)


def _inferred_shapes(
    path: str | Path, model: Any, names: Sequence[str], size: tuple[int, int]
) -> list[tuple[int, ...]]:
    """Shapes of named outputs for an input of `size`, as ONNX infers them."""
    import onnx

    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for dimension, value in zip(sized.graph.input[0].type.tensor_type.shape.dim, (1, 3, *size), strict=True):
        dimension.dim_value = value
    del sized.graph.value_info[:]
    for output in sized.graph.output:
        output.type.tensor_type.ClearField('shape')
    inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    found = {
        value.name: tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.output)
    }
    shapes = [found.get(name, ()) for name in names]
    if not all(shape and all(shape) for shape in shapes):
        raise RFDNError(f'{path}: ONNX cannot infer the shapes of all its layers.')
    return shapes


def _onnx_macs(node: Any, weight: tuple[int, ...], outputs: int) -> int:
    if node.op_type == 'Conv':
        return outputs * math.prod(weight[1:])
    attributes = {attribute.name: attribute for attribute in node.attribute}
    stride = math.prod(attributes['strides'].ints) if 'strides' in attributes else 1
    groups = attributes['group'].i if 'group' in attributes else 1
    # weight is (in, out / groups, kernel): outputs / (out * stride) input positions, each with all of the weights.
    return outputs // (weight[1] * groups * stride) * math.prod(weight)
