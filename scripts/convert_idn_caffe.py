#!/usr/bin/env python
"""Convert an official Caffe file of IDN (Zheng222/IDN-Caffe) into weights that every command reads.

    python scripts/convert_idn_caffe.py IDN_x2.caffemodel -o IDN_x2.safetensors

Needs protobuf (`pip install protobuf`). Caffe's own message definitions have hundreds of fields; those declared here
are the few that weights need. protobuf skips fields that a message does not declare.
"""

from __future__ import annotations

import argparse
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfdn_plugin.utils.errors import RFDNError, explain
from rfdn_plugin.utils.files import sha256
from rfdn_plugin.weights.card import model_card
from rfdn_plugin.weights.convert import layout_for, write_weights

# (field name, number, type, repeated) of each message, as in Caffe's caffe.proto (BSD 2-clause).
_MESSAGES: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    'BlobShape': (('dim', 1, 'int64', True),),
    'Blob': (('data', 5, 'float', True), ('shape', 7, 'BlobShape', False)),
    'Convolution': (('stride', 6, 'uint32', True),),
    'Layer': (('name', 1, 'string', False), ('blobs', 7, 'Blob', True), ('convolution', 106, 'Convolution', False)),
    'Net': (('layer', 100, 'Layer', True),),
}


@cache
def _net_class() -> type:
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise RFDNError('reading a .caffemodel needs protobuf: pip install protobuf.') from error
    field_class = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name='rfdn_plugin/caffe.proto', package='rfdn_plugin.caffe')
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for name, number, type_name, repeated in fields:
            label = field_class.LABEL_REPEATED if repeated else field_class.LABEL_OPTIONAL
            field = message.field.add(name=name, number=number, label=label)
            if type_name in _MESSAGES:
                field.type, field.type_name = field_class.TYPE_MESSAGE, f'.{file.package}.{type_name}'
            else:
                field.type = getattr(field_class, f'TYPE_{type_name.upper()}')
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f'{file.package}.Net'))


def read_caffemodel(path: str | Path) -> tuple[dict[str, Tensor], int]:
    """The weights of an IDN file by the names of `rfdn_plugin.archs.idn.IDN`, and its scale.

    Caffe's layers `conv{n}_{k}` and `down{n}` of the n-th block are `block{n}.conv{k}` and `block{n}.down` here.

    Args:
        path: The .caffemodel file.

    Returns:
        Tensors by name, and the stride of the deconvolution, which is the scale.

    Raises:
        RFDNError: The file is torn, no Caffe file, another network, or protobuf is missing.
    """
    net = _net_class()()
    from google.protobuf.message import DecodeError

    try:
        net.ParseFromString(Path(path).read_bytes())
    except DecodeError as error:
        raise RFDNError(f'{path} is no whole Caffe file ({error}): fetch it again.') from error
    layers = {layer.name: layer for layer in net.layer if layer.blobs}
    if 'upsample' not in layers:
        found = f'it has no layer "upsample" among {", ".join(sorted(layers))}' if layers else 'it has no layers'
        raise RFDNError(f'{path} is no IDN: {found}.')
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        for kind, blob in zip(('weight', 'bias'), layer.blobs, strict=False):
            tensors[f'{_our_name(name)}.{kind}'] = _tensor_of(blob, f'{path}, layer {name}')
    strides = list(layers['upsample'].convolution.stride)
    if not strides:
        raise RFDNError(f'{path}: the layer "upsample" has no stride, so the scale is not known: fetch the file again.')
    return tensors, strides[0]


def _our_name(layer: str) -> str:
    if match := re.fullmatch(r'conv(\d+)_(\d+)', layer):
        return f'block{int(match[1]) - 2}.conv{match[2]}'  # the two convolutions of the head are conv1 and conv2
    if match := re.fullmatch(r'down(\d+)', layer):
        return f'block{match[1]}.down'
    return layer


def _tensor_of(blob: Any, where: str) -> Tensor:
    shape = tuple(blob.shape.dim)
    values = torch.tensor(blob.data, dtype=torch.float32)
    if values.numel() != int(torch.tensor(shape).prod()):
        raise RFDNError(f'{where}: {values.numel()} values for the shape {shape}: the file is torn, fetch it again.')
    return values.reshape(shape)


def convert(source: Path, output: Path) -> None:
    """Write the weights of an IDN file with their model card.

    Args:
        source: The .caffemodel file.
        output: A .safetensors or .pth file.

    Raises:
        RFDNError: As `read_caffemodel`, or `output` has another ending.
        OSError: A file cannot be read or written.
    """
    layout = layout_for(output, source)
    tensors, scale = read_caffemodel(source)
    origin = {'source': source.name, 'source_sha256': sha256(source), 'licence': 'none stated'}
    write_weights(output, tensors, model_card('IDN', {'upscale': scale}, **origin), layout)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the result is its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('source', type=Path, metavar='FILE.caffemodel')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE', help='.safetensors or .pth')
    args = parser.parse_args(arguments)
    try:
        convert(args.source, args.output)
    except (RFDNError, OSError) as error:
        print(error if isinstance(error, RFDNError) else explain(error), file=sys.stderr)
        return 1
    print(args.output)
    return 0


if __name__ == '__main__':
    sys.exit(main())
