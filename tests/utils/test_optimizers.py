"""Muon for convolutions: what a step does, what it trains, how it is named and resumed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from rfdn_plugin.archs.rfdn import RFDN
from rfdn_plugin.utils.optimizers import Muon, find_optimizer, orthogonalize


@pytest.mark.parametrize('shape', [(48, 432), (432, 48), (12, 12), (1, 9), (5, 1)])
def test_singular_values_become_equal(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)).double())
    assert ((values > 0.3) & (values < 1.3)).all()


def test_zeros_stay_zeros() -> None:
    assert torch.equal(orthogonalize(torch.zeros(4, 9)), torch.zeros(4, 9))


def test_the_step_of_a_convolution_has_the_length_that_is_documented() -> None:
    conv = nn.Conv2d(48, 48, 3)
    before = conv.weight.detach().clone()
    conv(torch.randn(2, 48, 8, 8)).square().mean().backward()
    Muon(conv.parameters(), lr=0.01).step()
    length = (conv.weight - before).square().mean().sqrt().item()
    assert length == pytest.approx(0.01 / (48 * 9) ** 0.5, rel=0.25)


def test_biases_are_stepped_by_adam() -> None:
    bias = nn.Parameter(torch.zeros(7))
    twin = nn.Parameter(torch.zeros(7))
    ours, theirs = Muon([bias], lr=0.01, vector_lr=0.1), torch.optim.Adam([twin], lr=0.001, betas=(0.9, 0.99))
    for _ in range(5):
        bias.grad = torch.randn(7)
        twin.grad = bias.grad.clone()
        ours.step()
        theirs.step()
    assert torch.allclose(bias, twin, atol=1e-7)


def _train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> float:
    generator, loss = torch.Generator().manual_seed(seed), torch.tensor(0.0)
    for _ in range(steps):
        hr = torch.rand(2, 3, 16, 16, generator=generator)
        loss = (net(nn.functional.avg_pool2d(hr, 2)) - hr).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_a_saved_state_goes_on_bit_by_bit() -> None:
    net = RFDN(num_feat=8, num_block=2, upscale=2)
    optimizer = Muon(net.parameters(), lr=2e-3)
    _train(net, optimizer, 3, 0)
    again = copy.deepcopy(net)
    resumed = Muon(again.parameters(), lr=1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert _train(net, optimizer, 3, 1) == _train(again, resumed, 3, 1)
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize(
    'arguments', [{'lr': -1}, {'momentum': 1.0}, {'betas': (0.9, 1.5)}, {'vector_lr': -0.1}, {'steps': 0}]
)
def test_values_outside_their_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Muon([nn.Parameter(torch.zeros(2, 2))], **arguments)


def test_names() -> None:
    assert find_optimizer('Muon') is Muon
    assert find_optimizer('AdamW') is torch.optim.AdamW
    assert find_optimizer('Optimiser') is None and find_optimizer('lr_scheduler') is None


def test_every_model_of_basicsr_finds_it() -> None:
    from basicsr.models.base_model import BaseModel

    model = BaseModel({'num_gpu': 0, 'is_train': True})
    assert isinstance(model.get_optimizer('Muon', [nn.Parameter(torch.zeros(2, 2, 3, 3))], 1e-3), Muon)
    with pytest.raises(ValueError, match='Adam9'):
        model.get_optimizer('Adam9', [nn.Parameter(torch.zeros(2))], 1e-3)
