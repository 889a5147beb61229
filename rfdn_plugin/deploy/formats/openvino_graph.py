"""A model rearranged into what OpenVINO computes faster and more exactly in 16-bit floats; the same function.

Measured on one thread of an AMD EPYC (AVX-512 BF16), E-RFDN x4, 180 x 320: bf16 325 ms become 313 and Set5 32.1495 dB
become 32.1551 (fp32: 32.1589); fp32 697 ms become 667.

* A 1x1 convolution of joined channels is a sum of one 1x1 convolution a branch: nothing is copied together, and each
  addition is part of a convolution. The channels of a branch are padded to the vector width; here the next layer reads
  nothing else, so that its cost is nothing.
* The first convolution reads whole numbers from 0 to 255, which 16-bit floats hold exactly, and its weights are two
  numbers each, the second one being what the first one has been rounded by.

Not worth it, as measured: the output in another order of its axes, fixed sizes, the smallest size handled outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import openvino

VECTOR = 16
"""32-bit floats in a register of AVX-512; the channels of the results are computed in such groups."""

LEVELS = 255


def rearrange(model: openvino.Model) -> None:
    """Rearrange a model of floats in place; parts of another shape than the networks of this package stay as they are."""
    convolutions = [node for node in model.get_ordered_ops() if node.get_type_name() == 'Convolution']
    for node in convolutions:
        if node.input_value(0).get_node().get_type_name() == 'Concat' and _kernel(node).shape[2:] == (1, 1):
            _sum_of_branches(node)
    if convolutions and _kernel(convolutions[0]).shape[1] == 3:
        _whole_numbers(convolutions[0])
    model.validate_nodes_and_infer_types()


def _kernel(convolution: Any) -> np.ndarray:
    """C_out x C_in x k x k; of no size where the weights are not constant."""
    weights = convolution.input_value(1).get_node()
    return weights.data if weights.get_type_name() == 'Constant' else np.empty((0, 0, 0, 0), np.float32)


def _like(convolution: Any, values: Any, kernel: np.ndarray, name: str) -> Any:
    import openvino.opset13 as operations

    settings = {key: convolution.get_attributes()[key] for key in ('strides', 'pads_begin', 'pads_end', 'dilations')}
    new = operations.convolution(values, operations.constant(np.ascontiguousarray(kernel)), **settings)
    new.set_friendly_name(name)
    return new


def _sum_of_branches(convolution: Any) -> None:
    import openvino.opset13 as operations

    kernel, at = _kernel(convolution), 0
    total: Any = None
    for number, branch in enumerate(convolution.input_value(0).get_node().input_values()):
        width = branch.get_partial_shape()[1].get_length()
        share = kernel[:, at : at + width]
        at += width
        branch, share = _padded(branch, share)
        term = _like(convolution, branch, share, f'{convolution.get_friendly_name()}/{number}')
        total = term if total is None else operations.add(total, term)
    convolution.output(0).replace(total.output(0))


def _padded(branch: Any, share: np.ndarray) -> tuple[Any, np.ndarray]:
    """A branch of one convolution, its bias and its activation with channels up to the vector width, which are zero."""
    import openvino.opset13 as operations

    width = share.shape[1]
    more = -width % VECTOR
    chain = [branch.get_node()]
    for kind in ('PRelu', 'Add', 'Convolution'):
        if chain[-1].get_type_name() != kind or len(chain[-1].output(0).get_target_inputs()) != 1:
            return branch, share
        chain.append(chain[-1].input_value(0).get_node())
    activation, addition, convolution, _ = chain
    bias, slope = addition.input_value(1).get_node(), activation.input_value(1).get_node()
    if not more or not len(_kernel(convolution)) or bias.get_type_name() != 'Constant' or slope.data.size != 1:
        return branch, share
    kernel = np.pad(_kernel(convolution), ((0, more), (0, 0), (0, 0), (0, 0)))
    wide = _like(convolution, convolution.input_value(0), kernel, convolution.get_friendly_name())
    values = np.pad(bias.data.reshape(1, width, 1, 1), ((0, 0), (0, more), (0, 0), (0, 0)))
    result = operations.prelu(operations.add(wide, operations.constant(values)), slope.output(0))
    return result.output(0), np.pad(share, ((0, 0), (0, more), (0, 0), (0, 0)))


def _whole_numbers(convolution: Any) -> None:
    import openvino.opset13 as operations

    values = convolution.input_value(0)
    is_scaled = values.get_node().get_type_name() == 'Multiply'  # the network's own range, which was not folded
    levels = values if is_scaled else operations.multiply(values, operations.constant(np.float32(LEVELS))).output(0)
    kernel = _kernel(convolution) / np.float32(1 if is_scaled else LEVELS)
    first = (kernel.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)  # a bfloat16 is the upper half of a float
    twice, both = operations.concat([levels, levels], 1), np.concatenate([first, kernel - first], axis=1)
    convolution.output(0).replace(_like(convolution, twice, both, convolution.get_friendly_name()).output(0))
