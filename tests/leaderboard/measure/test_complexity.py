"""Counts to the digit: published, official and by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.leaderboard.measure.complexity import Count, count, lr_size, measure, measure_onnx
from rfdn_plugin.leaderboard.networks import network_costs


@pytest.fixture(scope='module')
def e_rfdn() -> dict[str, Any]:
    return measure(NETWORKS['E_RFDN'](upscale=4), 4)


def test_e_rfdn_in_the_challenge_s_convention(e_rfdn):
    """27.102623 G, 112.034240 M, 64 convolutions, 433,448 parameters; mmengine 27.046231 G; 23.759 G at 720p."""
    assert e_rfdn['params'] == 433_448
    assert e_rfdn['ntire'] == {'flops': 27_102_622_560, 'activations': 112_034_240, 'convs': 64}
    assert e_rfdn['mmengine'] == {'flops': 27_046_231_296, 'activations': 112_034_240}
    assert e_rfdn['conv_macs_hr720'] == 23_759_144_640


def test_why_mmengine_differs(e_rfdn):
    """It counts four for each output of the four bilinear interpolations, and nothing for activation functions."""
    counted = count(NETWORKS['E_RFDN'](upscale=4), (256, 256))
    assert e_rfdn['mmengine']['flops'] - counted.conv_macs == 4 * 4 * 12 * 256 * 256
    assert counted.ntire_flops - counted.conv_macs == pytest.approx(0.068974e9, abs=500)


@pytest.mark.parametrize(
    ('name', 'billions'),
    [
        ('RFDN', (120.932, 54.326, 31.129)),
        ('RFDN_L', (141.793, 63.638, 36.419)),
        ('E_RFDN', (91.313, 41.208, 23.759)),
        ('IMDN', (158.766, 71.336, 40.886)),
    ],
)
def test_multi_adds_at_720p(name, billions):
    costs = {cost['scale']: cost for cost in network_costs() if cost['type'] == name}
    assert [round(costs[scale]['conv_macs_hr720'] / 1e9, 3) for scale in (2, 3, 4)] == list(billions)


def test_the_often_quoted_figures_are_of_the_code_with_its_x4_upsampler_at_every_scale():
    """95.0 / 42.2 / 23.9 G: 50 channels, 4 blocks, ESA, always x4."""
    network = NETWORKS['E_RFDN'](upscale=4)
    counted = [count(network, lr_size(scale)).conv_macs / 1e9 for scale in (2, 3, 4)]
    assert counted == pytest.approx([95.045, 42.174, 23.759], abs=5e-4)


def test_every_registered_network_is_counted():
    costs = network_costs()
    assert {cost['type'] for cost in costs} == set(NETWORKS)
    assert all(cost['params'] > 0 and cost['conv_macs_hr720'] > 0 for cost in costs)


class ByHand(nn.Module):
    """3x3 3->8 with bias, ReLU, grouped 3x3 8->8, batch norm, transposed 4x4 stride 2 8->3, fixed blur."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)
        self.register_buffer('blur', torch.ones(3, 1, 3, 3) / 9)

    def forward(self, x):
        x = self.norm(self.grouped(torch.relu(self.first(x))))
        return nn.functional.conv2d(self.up(x), self.blur, padding=1, groups=3)


def test_layers_by_hand():
    pixels = 10 * 12
    macs = pixels * (3 * 8 * 9 + 8 * 8 * 9 // 4 + 8 * 3 * 16)
    activations = pixels * (8 + 8) + 4 * pixels * 3
    assert count(ByHand(), (10, 12)) == Count(macs, activations, 3, macs + pixels * 8 + 2 * pixels * 8)


def test_counting_leaves_the_network_alone():
    network = ByHand().train()
    before = network.first.weight.clone()
    count(network, (10, 12))
    assert network.training and network.first.weight.device.type == 'cpu' and (network.first.weight == before).all()


def test_an_onnx_file_is_counted_like_its_network(tmp_path):
    onnx = pytest.importorskip('onnx')
    from onnx import TensorProto, helper, numpy_helper

    network = ByHand().eval()
    weights = {
        'w1': network.first.weight,
        'b1': network.first.bias,
        'w2': network.grouped.weight,
        'w3': network.up.weight,
    }
    initializers = [numpy_helper.from_array(tensor.detach().numpy(), name) for name, tensor in weights.items()]
    nodes = [
        helper.make_node('Conv', ['input', 'w1', 'b1'], ['a'], pads=[1, 1, 1, 1]),
        helper.make_node('Relu', ['a'], ['b']),
        helper.make_node('Conv', ['b', 'w2'], ['c'], pads=[1, 1, 1, 1], group=4),
        helper.make_node('ConvTranspose', ['c', 'w3'], ['output'], strides=[2, 2], pads=[1, 1, 1, 1]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, f'h{n}', f'w{n}']) for n in ('input', 'output')]
    graph = helper.make_graph(nodes, 'g', ends[:1], ends[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, tmp_path / 'n.onnx')
    counted = measure_onnx(tmp_path / 'n.onnx', 2)
    pixels = 256 * 256
    macs = pixels * (3 * 8 * 9 + 8 * 8 * 9 // 4 + 8 * 3 * 16)
    assert counted['params'] == sum(tensor.numel() for tensor in weights.values())
    assert counted['ntire'] == {'flops': macs + pixels * 8, 'activations': pixels * 16 + 4 * pixels * 3, 'convs': 3}
    assert counted['conv_macs_hr720'] == macs // pixels * 360 * 640
    assert counted['mmengine'] is None


def test_the_public_onnx_file_has_the_official_figures(data_root):
    pytest.importorskip('onnx')
    counted = measure_onnx(data_root / 'weights/third_party/rfdn_x4.onnx', 4)
    assert counted['params'] == 433_448
    assert counted['ntire'] == {'flops': 27_102_622_560, 'activations': 112_034_240, 'convs': 64}
    assert counted['conv_macs_hr720'] == 23_759_144_640


def test_rfdn_list_prints_the_design_s_counts(capsys):
    import json

    from rfdn_plugin.cli import main

    assert main(['list', '--json']) == 0
    printed = {(cost['type'], cost['scale']): cost['params'] for cost in json.loads(capsys.readouterr().out)}
    assert [printed['RFDN', scale] for scale in (2, 3, 4)] == [534_036, 540_531, 549_624]
    assert [printed['RFDN_L', scale] for scale in (2, 3, 4)] == [625_962, 632_997, 642_846]
    assert [printed['E_RFDN', scale] for scale in (2, 3, 4)] == [417_212, 423_977, 433_448]
    assert main(['list']) == 0
    assert '534,036' in capsys.readouterr().out
