"""IDN's Caffe files, read with the protobuf library and written with a card."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.scripts import load_script

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.loading import load_network

pytest.importorskip('google.protobuf')
script = load_script('convert_idn_caffe')


@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_the_official_files_have_every_weight_and_their_scale(data_root, upscale: int):
    tensors, scale = script.read_caffemodel(data_root / f'weights/idn_caffe/IDN_x{upscale}.caffemodel')
    assert scale == upscale
    NETWORKS['IDN'](upscale=upscale).load_state_dict(tensors, strict=True)
    assert all(tensor.dtype is torch.float32 and tensor.isfinite().all() for tensor in tensors.values())


def test_a_half_file_is_refused(data_root, tmp_path: Path):
    whole = (data_root / 'weights/idn_caffe/IDN_x2.caffemodel').read_bytes()
    (tmp_path / 'half.caffemodel').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RFDNError, match=r'half\.caffemodel'):
        script.read_caffemodel(tmp_path / 'half.caffemodel')


def test_another_network_is_refused_by_its_layers(tmp_path: Path):
    net = script._net_class()()
    layer = net.layer.add(name='fc6')
    layer.blobs.add().data.append(1.0)
    (tmp_path / 'vgg.caffemodel').write_bytes(net.SerializeToString())
    with pytest.raises(RFDNError, match='fc6'):
        script.read_caffemodel(tmp_path / 'vgg.caffemodel')


def test_a_blob_that_lacks_values_is_refused(tmp_path: Path):
    net = script._net_class()()
    layer = net.layer.add(name='upsample')
    blob = layer.blobs.add()
    blob.data.extend([1.0, 2.0])
    blob.shape.dim.extend([3, 1])
    (tmp_path / 'short.caffemodel').write_bytes(net.SerializeToString())
    with pytest.raises(RFDNError, match='upsample'):
        script.read_caffemodel(tmp_path / 'short.caffemodel')


def test_the_command_writes_weights_that_every_command_reads(data_root, tmp_path: Path, capsys):
    source, output = data_root / 'weights/idn_caffe/IDN_x3.caffemodel', tmp_path / 'idn.safetensors'
    assert script.main([str(source), '-o', str(output)]) == 0
    identity = load_network(output)[1]
    assert (identity.type, identity.upscale, identity.name) == (
        'IDN',
        3,
        'IDN x3 (Zheng222/IDN-Caffe, IDN_x3.caffemodel)',
    )
    assert identity.checkpoint.metadata['source'] == 'IDN_x3.caffemodel'


@pytest.mark.parametrize(('output', 'words'), [('w.onnx', '.safetensors or .pth'), ('w.pth', 'no whole Caffe file')])
def test_problems_are_one_line(tmp_path: Path, capsys, output: str, words: str):
    (tmp_path / 'w.caffemodel').write_bytes(b'\xff' * 40)
    assert script.main([str(tmp_path / 'w.caffemodel'), '-o', str(tmp_path / output)]) == 1
    message = capsys.readouterr().err
    assert words in message and message.count('\n') == 1 and not (tmp_path / output).exists()
