"""What OpenVINO gets instead of the network's own graph: the same function, no joined channels, exact whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import GREY_LEVEL, noise, outputs_of, small_network
from torch import nn

from rfdn_plugin.deploy.backends.openvino_backend import OpenVinoRunner
from rfdn_plugin.deploy.formats.onnx_model import onnx_model
from rfdn_plugin.deploy.formats.openvino_model import openvino_model

openvino = pytest.importorskip('openvino', reason='the package openvino is not installed')


@pytest.mark.parametrize('name', ['RFDN', 'E_RFDN', 'IMDN'])
def test_channels_are_summed_instead_of_joined(name: str) -> None:
    network = small_network(name)
    model = openvino_model(network)
    for node in model.get_ordered_ops():
        if node.get_type_name() == 'Convolution' and node.input_value(0).get_node().get_type_name() == 'Concat':
            assert node.input_value(1).get_partial_shape()[1].get_length() == 6, (
                'the first one alone reads joined values'
            )
    x = noise(1, 19, 23)
    runner = OpenVinoRunner(model, precision=None, threads=1, name=name)
    assert abs(runner.run(x) - outputs_of(network, x)).max() < 1e-2 * GREY_LEVEL


@pytest.mark.parametrize('img_range', [1, 255])
def test_the_first_convolution_reads_whole_numbers_exactly(img_range: int) -> None:
    if 'BF16' not in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        pytest.skip('this processor has no bf16')

    class First(nn.Module):
        upscale = 2

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x * img_range)

    torch.manual_seed(0)
    network = First().eval()
    x = np.rint(noise(1, 40, 40) * 255).astype(np.float32) / 255
    wanted = outputs_of(network, x)
    plain = openvino.Core().read_model(model=onnx_model(network).SerializeToString())
    lost = {
        which: np.square(OpenVinoRunner(model, precision='bf16', threads=1, name=which).run(x) - wanted).mean()
        for which, model in (('plain', plain), ('rearranged', openvino_model(network)))
    }
    assert 0 < lost['rearranged'] < 0.8 * lost['plain']
