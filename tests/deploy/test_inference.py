"""The inference form computes what the network computes."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.benchmarks import mean, measure
from torch import Tensor, nn

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.deploy import inference
from rfdn_plugin.deploy.inference import InferenceForm, PlainForm, difference_from, inference_form
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.loading import load_network

FAMILY = ('RFDN', 'RFDN_L', 'E_RFDN', 'IMDN', 'IMDN_R')
SWITCHES: list[dict] = [
    {'attention': 'esa', 'img_range': 255.0},
    {'attention': None, 'block_residual': False},
    {'shallow_residual': False},
    {'feature_distillation': False},
    {'distillation_rate': 0.25, 'last_branch': 'remaining', 'attention': 'esa'},
    {'num_in_ch': 1, 'num_out_ch': 1},
    {'num_in_ch': 1},
    {'num_block': 1, 'upscale': 1},
]


def random_network(name: str, **arguments) -> nn.Module:
    torch.manual_seed(1)
    return NETWORKS[name](**{'num_feat': 24, 'num_block': 2, 'upscale': 3, **arguments}).eval()


def channels(network: nn.Module) -> int:
    return next(layer.in_channels for layer in network.modules() if isinstance(layer, nn.Conv2d))


def image(network: nn.Module, height: int, width: int) -> Tensor:
    return torch.rand(1, channels(network), height, width)


@pytest.mark.parametrize('name', FAMILY)
def test_full_size_networks(name: str):
    torch.manual_seed(0)
    network = NETWORKS[name](upscale=2).eval()
    x = image(network, 50, 60)
    with torch.inference_mode():
        assert (InferenceForm(network)(x) - network(x)).abs().max() * 255 < 2e-3


@pytest.mark.parametrize('switches', SWITCHES, ids=str)
def test_every_switch(switches: dict):
    network = random_network('RFDN', **switches)
    before = copy.deepcopy(network.state_dict())
    form = inference_form(network)
    assert isinstance(form, InferenceForm) and difference_from(network, form) < 2e-3
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert difference_from(network, inference_form(network, precision='bf16')) < 16


@pytest.mark.parametrize('name', FAMILY)
@pytest.mark.parametrize('size', [(1, 1), (1, 40), (14, 14), (15, 16), (33, 7)], ids=str)
def test_any_size(name: str, size: tuple[int, int]):
    network = random_network(name)
    x = image(network, *size)
    with torch.inference_mode():
        assert torch.allclose(inference_form(network)(x), network(x), atol=1e-5)


def test_a_batch_is_its_images():
    form = inference_form(random_network('E_RFDN'))
    x = torch.rand(3, 3, 20, 30)
    assert torch.equal(form(x), torch.cat([form(one[None]) for one in x]))


@pytest.mark.parametrize('name', ['IDN', 'RFANet'])
def test_other_families_run_as_they_are(name: str):
    torch.manual_seed(0)
    arguments = {} if name == 'IDN' else {'num_feat': 8, 'num_block': 1}
    network = NETWORKS[name](upscale=2, **arguments).eval()
    form = inference_form(network)
    x = image(network, 20, 24)
    assert isinstance(form, PlainForm) and form.in_channels == x.shape[1]
    with torch.inference_mode():
        assert torch.allclose(form(x), network(x), atol=1e-6)


def test_a_form_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch):
    network = random_network('RFDN')
    monkeypatch.setattr(inference.Block, 'body', lambda self, x: x * 2)
    with pytest.warns(UserWarning, match='grey levels'):
        assert isinstance(inference_form(network), PlainForm)


def test_no_such_precision():
    with pytest.raises(RFDNError, match='fp32 or bf16'):
        inference_form(random_network('RFDN'), precision='fp8')


def test_without_packed_convolutions(monkeypatch: pytest.MonkeyPatch):
    """As on a processor without oneDNN."""
    monkeypatch.setattr('rfdn_plugin.deploy.layers.is_packable', lambda device, dtype: False)
    for name in FAMILY:
        network = random_network(name)
        assert difference_from(network, InferenceForm(network)) < 2e-3


def test_official_weights_keep_their_quality(data_root):
    network, _ = load_network(data_root / 'weights/official/RFDN_AIM.pth')
    assert mean(measure(inference_form(network), data_root, 4)).psnr_y == pytest.approx(32.1589, abs=5e-5)
    assert mean(measure(inference_form(network, precision='bf16'), data_root, 4)).psnr_y > 32.1489


def test_a_network_that_runs_as_it_is_stays_as_it_is():
    network = NETWORKS['IDN'](upscale=2).eval()
    form = inference_form(network)
    assert not {id(value) for value in network.parameters()} & {id(value) for value in form.parameters()}
