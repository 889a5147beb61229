"""RFDN, RFDN-L, E-RFDN: published counts, the official weights, and what the arguments promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rfdn_plugin.archs.rfdn import E_RFDN, RFDN, RFDN_L

# facts: the design's table; all nine are met by no other of the topologies that were tried
PARAMETERS = {
    RFDN: {2: 534_036, 3: 540_531, 4: 549_624},
    RFDN_L: {2: 625_962, 3: 632_997, 4: 642_846},
    E_RFDN: {2: 417_212, 3: 423_977, 4: 433_448},
}
SMALL = {'num_feat': 12, 'num_block': 2}


def count(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize('cls', PARAMETERS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_parameters_are_the_published_ones(cls: type, upscale: int):
    assert count(cls(upscale=upscale)) == PARAMETERS[cls][upscale]


@pytest.mark.parametrize(
    ('rate', 'parameters'),
    [(0.125, 466_248), (0.25, 494_040), (0.5, 549_624), (0.75, 605_208), (1.0, 660_792)],
)
def test_distillation_rate_at_any_value(rate: float, parameters: int):
    assert count(RFDN(upscale=4, distillation_rate=rate)) == parameters


def test_the_block_with_rate_a_quarter():
    net = E_RFDN(upscale=4, distillation_rate=0.25, last_branch='remaining', block_residual=True)
    assert count(net) == 395_648


@pytest.mark.parametrize('feature_distillation', [False, True])
def test_the_shallow_residual_costs_no_parameters(feature_distillation: bool):
    counts = {
        count(RFDN(upscale=2, shallow_residual=shallow, feature_distillation=feature_distillation))
        for shallow in (False, True)
    }
    assert len(counts) == 1


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'distillation_rate': 0.5, 'last_branch': 'remaining'}, ['remaining', '1/3']),
        ({'distillation_rate': 0.0}, ['distillation_rate']),
        ({'distillation_rate': 1.5}, ['distillation_rate']),
        ({'attention': 'se'}, ['attention', 'cca', 'esa']),
        ({'last_branch': 'all'}, ['last_branch']),
        ({'interpolation_start': True, 'num_out_ch': 1}, ['interpolation_start']),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, words: list[str]):
    with pytest.raises(ValueError) as error:
        RFDN(**arguments)
    assert all(word in str(error.value) for word in words)


def test_padding_touches_small_images_only():
    """From 15 pixels up the extension is not there: the official sizes stay bit-equal."""
    net = E_RFDN(upscale=2, **SMALL).eval()
    x = torch.rand(1, 3, 15, 15)
    with torch.no_grad():
        assert torch.equal(net(x), net.upsampler(net.forward_features(x)))


@pytest.mark.parametrize('cls', [RFDN, E_RFDN], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_interpolation_start_is_close_to_bilinear_and_trains_everything(cls: type, upscale: int):
    torch.manual_seed(0)
    net = cls(upscale=upscale, interpolation_start=True)
    smooth = F.interpolate(torch.rand(1, 3, 5, 5), size=(40, 40), mode='bicubic').clamp(0, 1)
    out = net(smooth)
    bilinear = F.interpolate(smooth, scale_factor=upscale, mode='bilinear', align_corners=False)
    random = cls(upscale=upscale)(smooth)
    error, random_error = (out - bilinear).abs().mean(), (random - bilinear).abs().mean()
    assert error < 0.05 and error < random_error / 5
    out.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_official_weights_load_strictly_and_equal_the_onnx_reference(data_root):
    onnxruntime = pytest.importorskip('onnxruntime')
    net = E_RFDN(upscale=4).eval()
    state = torch.load(data_root / 'weights/official/RFDN_AIM.pth', map_location='cpu', weights_only=True)
    net.load_state_dict(state, strict=True)
    session = onnxruntime.InferenceSession(str(data_root / 'weights/third_party/rfdn_x4.onnx'))
    generator = np.random.default_rng(0)
    for size in ((15, 15), (32, 48), (64, 64), (97, 50)):
        x = generator.uniform(0, 255, (1, 3, *size)).astype(np.float32)
        (expected,) = session.run(None, {session.get_inputs()[0].name: x})
        with torch.no_grad():
            difference = np.abs(net(torch.from_numpy(x)).numpy() - expected).max()
        assert difference <= 2e-3, f'{difference} grey levels at {size}'  # fp32 against fp64 is 5e-4 by itself
