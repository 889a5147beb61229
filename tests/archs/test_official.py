"""The official weights in our networks: the published quality, image by image, and what wrong topologies give."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.benchmarks import mean, measure
from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_plugin.archs import NETWORKS, blocks, rfdn
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.loading import load_network

# facts, section 4: PSNR-Y / SSIM-Y (PSNR-RGB) with the original code and the same LR
IMAGES = {
    'RFDN_AIM': {
        'baby': (33.7589, 0.8935, 32.2519),
        'bird': (34.8904, 0.9442, 32.7005),
        'butterfly': (28.6407, 0.9251, 27.2229),
        'head': (32.9557, 0.7974, 29.9213),
        'woman': (30.5491, 0.9127, 29.1754),
    },
    'IMDN_x2': {
        'baby': (38.9089, 0.9678, 37.3716),
        'bird': (43.2928, 0.9906, 40.5827),
        'butterfly': (35.3586, 0.9783, 33.7636),
        'head': (36.0206, 0.8910, 32.2903),
        'woman': (36.3992, 0.9746, 35.0322),
    },
    'IMDN_x3': {
        'baby': (35.6534, 0.9294, 34.1285),
        'bird': (38.1752, 0.9725, 35.8125),
        'butterfly': (30.8876, 0.9506, 29.4298),
        'head': (34.1197, 0.8367, 30.8418),
        'woman': (32.9625, 0.9457, 31.5810),
    },
    'IMDN_x4': {
        'baby': (33.7743, 0.8934, 32.2675),
        'bird': (35.0441, 0.9457, 32.8465),
        'butterfly': (28.5594, 0.9240, 27.1333),
        'head': (32.9194, 0.7963, 29.9036),
        'woman': (30.7507, 0.9144, 29.3515),
    },
}
MEANS = {
    'RFDN_AIM': (32.1589, 0.8946),
    'IMDN_x2': (37.9960, 0.9605),
    'IMDN_x3': (34.3597, 0.9270),
    'IMDN_x4': (32.2096, 0.8948),
}
LAST_DIGIT = 1.5e-4  # another build of the convolutions may turn one rounding over


@pytest.mark.parametrize(
    ('name', 'scale'),
    [
        ('RFDN_AIM', 4),
        ('IMDN_x4', 4),
        pytest.param('IMDN_x3', 3, marks=pytest.mark.slow),
        pytest.param('IMDN_x2', 2, marks=pytest.mark.slow),
    ],
)
def test_set5_is_that_of_the_original_code(data_root, name: str, scale: int):
    results = measure(load_network(data_root / f'weights/official/{name}.pth')[0], data_root, scale)
    for image, expected in IMAGES[name].items():
        assert results[image] == pytest.approx(expected, abs=LAST_DIGIT), image
    assert mean(results)[:2] == pytest.approx(MEANS[name], abs=LAST_DIGIT)


def test_the_forty_channel_relative_is_rebuilt(data_root):
    """team22 of NTIRE 2022: its network has our topology with 40 channels and works on 0..1."""
    network = load_network(data_root / 'weights/lookalikes/team22_rep_rfdn.pth')[0]
    assert mean(measure(network, data_root, 4)).psnr_y > 31.9


@pytest.mark.slow
@pytest.mark.parametrize(('scale', 'published'), [(2, 37.83), (3, 34.11), (4, 31.82)])
def test_idn_is_near_its_published_quality(data_root, official, scale: int, published: float):
    """What remains: the paper makes its LR of Y in floats, unrounded, and measures on Y (docs/networks.md)."""
    network = load_network(official(f'idn_caffe/IDN_x{scale}.caffemodel'))[0]
    assert mean(measure(network, data_root, scale)).psnr_y == pytest.approx(published, abs=0.015)


# --- topologies that are nearly right ------------------------------------------------------------------------------
def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, blocks.NEGATIVE_SLOPE)


def _deactivate(x: Tensor) -> Tensor:
    return torch.where(x < 0, x / blocks.NEGATIVE_SLOPE, x)


class _Instead(nn.Module):
    """In place of a convolution: what the block's activation afterwards turns into the wanted wrong result."""

    def __init__(self, convolution: nn.Module, wanted: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.convolution, self.wanted = convolution, wanted

    def forward(self, x: Tensor) -> Tensor:
        return _deactivate(self.wanted(self.convolution(x), x))


def _block_residual(block: rfdn.RFDB) -> None:
    block.block_residual = True


def _no_activation_after_c4(block: rfdn.RFDB) -> None:
    block.c4 = _Instead(block.c4, lambda out, _: out)


def _activation_before_the_sum(block: rfdn.RFDB) -> None:
    block.shallow_residual = False
    for name in ('c1_r', 'c2_r', 'c3_r'):
        setattr(block, name, _Instead(getattr(block, name), lambda out, x: _activate(out) + x))


def _no_gate(block: rfdn.RFDB) -> None:
    block.attention = None


# facts, section 1: Set5 x4 PSNR-Y of RFDN_AIM in a wrong topology
WRONG = {
    _block_residual: 11.41,
    _no_activation_after_c4: 19.13,
    _activation_before_the_sum: 29.50,
    _no_gate: 8.28,
}


@pytest.mark.parametrize('change', WRONG, ids=lambda change: change.__name__.strip('_'))
def test_a_wrong_topology_gives_its_wrong_quality(data_root, change: Callable):
    network = load_network(data_root / 'weights/official/RFDN_AIM.pth')[0]
    for name in network.blocks:
        change(getattr(network, name))
    assert mean(measure(network, data_root, 4)).psnr_y == pytest.approx(WRONG[change], abs=0.006)


@pytest.mark.parametrize(('slope', 'psnr'), [(0.1, 30.50)])
def test_a_wrong_slope(data_root, monkeypatch: pytest.MonkeyPatch, slope: float, psnr: float):
    network = load_network(data_root / 'weights/official/RFDN_AIM.pth')[0]
    monkeypatch.setattr(blocks, 'NEGATIVE_SLOPE', slope)
    network.c[1].negative_slope = slope
    assert mean(measure(network, data_root, 4)).psnr_y == pytest.approx(psnr, abs=0.006)


def test_a_wrong_range(data_root):
    network = NETWORKS['E_RFDN'](upscale=4, img_range=1).eval()  # `load_network` refuses what the file contradicts
    network.load_state_dict(read_checkpoint(data_root / 'weights/official/RFDN_AIM.pth').tensors)
    assert mean(measure(network, data_root, 4)).psnr_y == pytest.approx(26.0176, abs=LAST_DIGIT)


def _aligned_corners(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    interpolate = F.interpolate
    monkeypatch.setattr(F, 'interpolate', lambda x, size, mode, align_corners: interpolate(x, size, None, mode, True))


def _padded_stride(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in network.blocks:
        getattr(network, name).esa.conv2.padding = (1, 1)


def _ceiling_pool(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = F.max_pool2d
    monkeypatch.setattr(F, 'max_pool2d', lambda x, kernel_size, stride: pool(x, kernel_size, stride, ceil_mode=True))


@pytest.mark.parametrize(
    'change', [_aligned_corners, _padded_stride, _ceiling_pool], ids=lambda change: change.__name__
)
def test_what_no_psnr_shows_the_comparison_with_the_reference_does(data_root, monkeypatch, change: Callable):
    """0.001 dB at most, but a hundred times the tolerance that `test_archs_rfdn` holds the ONNX reference to."""
    network = load_network(data_root / 'weights/official/RFDN_AIM.pth')[0]
    torch.manual_seed(0)
    x = torch.rand(1, 3, 50, 61)
    with torch.no_grad():
        right = network(x)
        change(network, monkeypatch)
        assert (network(x) - right).abs().max() * 255 > 0.2
