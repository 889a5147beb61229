"""IDN's Caffe files, read with the protobuf library."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.caffe import read_caffemodel


@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_the_official_files_have_every_weight_and_their_scale(data_root, upscale: int):
    tensors, metadata = read_caffemodel(data_root / f'weights/idn_caffe/IDN_x{upscale}.caffemodel')
    assert metadata == {'network': 'IDN', 'upscale': str(upscale)}
    NETWORKS['IDN'](upscale=upscale).load_state_dict(tensors, strict=True)
    assert all(tensor.dtype is torch.float32 and tensor.isfinite().all() for tensor in tensors.values())


def test_a_half_file_is_refused(data_root, tmp_path: Path):
    whole = (data_root / 'weights/idn_caffe/IDN_x2.caffemodel').read_bytes()
    (tmp_path / 'half.caffemodel').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RFDNError, match=r'half\.caffemodel'):
        read_caffemodel(tmp_path / 'half.caffemodel')


def test_another_network_is_refused_by_its_layers(tmp_path: Path):
    from rfdn_plugin.weights.caffe import _net_class

    net = _net_class()()
    layer = net.layer.add(name='fc6')
    layer.blobs.add().data.append(1.0)
    (tmp_path / 'vgg.caffemodel').write_bytes(net.SerializeToString())
    with pytest.raises(RFDNError, match='fc6'):
        read_caffemodel(tmp_path / 'vgg.caffemodel')


def test_a_blob_that_lacks_values_is_refused(tmp_path: Path):
    from rfdn_plugin.weights.caffe import _net_class

    net = _net_class()()
    layer = net.layer.add(name='upsample')
    blob = layer.blobs.add()
    blob.data.extend([1.0, 2.0])
    blob.shape.dim.extend([3, 1])
    (tmp_path / 'short.caffemodel').write_bytes(net.SerializeToString())
    with pytest.raises(RFDNError, match='upsample'):
        read_caffemodel(tmp_path / 'short.caffemodel')
