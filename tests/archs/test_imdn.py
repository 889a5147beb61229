"""IMDN and IMDN-R: the official weights, and the split that changes nothing."""

from __future__ import annotations

import pytest
import torch

from rfdn_plugin.archs.imdn import IMDN, IMDN_R
from rfdn_plugin.weights.checkpoint import read_checkpoint

PARAMETERS = {2: 694_404, 3: 703_059, 4: 715_176}


@pytest.mark.parametrize('cls', [IMDN, IMDN_R])
@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_parameters_are_the_published_ones(cls: type, upscale: int):
    assert sum(parameter.numel() for parameter in cls(upscale=upscale).parameters()) == PARAMETERS[upscale]


@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_imdn_r_takes_the_official_weights_of_imdn_and_gives_the_same_output(data_root, upscale: int):
    state = read_checkpoint(data_root / f'weights/official/IMDN_x{upscale}.pth').tensors
    names = set(state)
    whole, split = IMDN(upscale=upscale).eval(), IMDN_R(upscale=upscale).eval()
    whole.load_state_dict(state, strict=True)
    split.load_state_dict(state, strict=True)
    assert set(state) == names, "the caller's dictionary stays as it is"
    x = torch.rand(1, 3, 24, 17)
    with torch.no_grad():
        assert (whole(x) - split(x)).abs().max() == 0


def test_imdn_r_loads_its_own_weights():
    first, second = IMDN_R(upscale=2, num_feat=16, num_block=2), IMDN_R(upscale=2, num_feat=16, num_block=2)
    second.load_state_dict(first.state_dict(), strict=True)
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(first(x), second(x))


@pytest.mark.parametrize('rate', [0.0, 0.05, 1.0])
def test_a_rate_that_splits_nothing_is_named(rate: float):
    with pytest.raises(ValueError, match='distillation_rate'):
        IMDN(num_feat=16, distillation_rate=rate)


def test_interpolation_start():
    torch.manual_seed(0)
    flat = torch.full((1, 3, 8, 8), 0.5)
    with torch.no_grad():
        out = IMDN(upscale=2, interpolation_start=True)(flat)
    assert (out[..., 4:-4, 4:-4] - 0.5).abs().max() < 0.1
