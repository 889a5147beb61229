"""RFANet: its size, which is all that is public of it beside the attention block."""

from __future__ import annotations

import pytest
import torch

from rfdn_plugin.archs.rfanet import RFANet, upsampling_steps


@pytest.mark.parametrize(('upscale', 'parameters'), [(2, 10_945_923), (3, 11_130_563), (4, 11_093_635)])
def test_about_eleven_million_parameters(upscale: int, parameters: int):
    with torch.device('meta'):
        assert sum(parameter.numel() for parameter in RFANet(upscale=upscale).parameters()) == parameters


@pytest.mark.parametrize(('upscale', 'steps'), [(1, []), (2, [2]), (3, [3]), (4, [2, 2]), (6, [6]), (8, [2, 2, 2])])
def test_powers_of_two_go_in_steps(upscale: int, steps: list[int]):
    assert upsampling_steps(upscale) == steps
