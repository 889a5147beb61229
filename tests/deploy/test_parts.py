"""An image in parts is the image as a whole, to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.deploy.inference import InferenceForm
from rfdn_plugin.deploy.layers import ALIGNMENT, Convolution, Region, _enlarge
from rfdn_plugin.deploy.parts import regions, run_in_parts

CONFIGURATIONS: dict[str, tuple[str, dict]] = {
    'RFDN, CCA': ('RFDN', {}),
    'E_RFDN, ESA': ('E_RFDN', {}),
    'ESA with residual': ('RFDN', {'attention': 'esa', 'img_range': 255.0}),
    'no attention': ('RFDN', {'attention': None}),
    'no distillation': ('RFDN', {'feature_distillation': False, 'shallow_residual': False}),
    'the rest as last branch': ('RFDN', {'distillation_rate': 0.25, 'last_branch': 'remaining'}),
    'IMDN': ('IMDN', {}),
    'IMDN_R': ('IMDN_R', {}),
}


def network(name: str, scale: int = 2, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    type, arguments = CONFIGURATIONS[name]
    return NETWORKS[type](num_feat=20, num_block=2, upscale=scale, **arguments).eval()


def in_parts(form: InferenceForm, x: Tensor, tile: int, keep: bool) -> Tensor:
    height, width = x.shape[-2:]
    out = torch.full((1, 3, height * form.scale, width * form.scale), torch.nan)
    shares = []

    def write(region: Region, part: Tensor) -> None:
        s = form.scale
        out[:, :, region.top * s : region.bottom * s, region.left * s : region.right * s] = part

    def read(region: Region) -> Tensor:
        return x[:, :, region.top : region.bottom, region.left : region.right]

    run_in_parts(form, height, width, read, write, tile=tile, keep=keep, report=shares.append)
    assert sum(shares) == pytest.approx(1) and min(shares) > 0
    return out


@pytest.mark.parametrize('keep', [True, False], ids=['kept', 'recomputed'])
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
@pytest.mark.parametrize('name', CONFIGURATIONS)
def test_parts_are_the_whole_bit_for_bit(name: str, precision: str, keep: bool):
    form = InferenceForm(network(name), precision=precision)
    x = torch.rand(1, 3, 2 * ALIGNMENT + 13, ALIGNMENT + 31)
    assert torch.equal(in_parts(form, x, ALIGNMENT, keep), form(x))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=['fp32', 'bf16'])
@pytest.mark.parametrize('kernel', [1, 3])
@pytest.mark.parametrize('channels', [1, 3, 5, 12, 15, 16, 20, 48, 50])
def test_a_convolution_rounds_a_pixel_alike_whatever_is_around_it(channels: int, kernel: int, dtype: torch.dtype):
    convolution = Convolution(
        torch.randn(12, channels, kernel, kernel),
        torch.randn(12),
        'leaky_relu',
        dtype=dtype,
        device=torch.device('cpu'),
    )
    if not convolution.packed:
        pytest.skip('this processor has no packed convolutions in this precision')
    x = torch.randn(1, channels, 205, 127).to(dtype=dtype, memory_format=torch.channels_last)
    whole = convolution(x)
    for top, bottom, left, right in ((0, 100, 0, 100), (92, 205, 92, 127), (0, 17, 0, 31), (50, 146, 10, 110)):
        part = x[:, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
        # Without the outermost pixels, which see the zeros around the part.
        inside = whole[:, :, top + 1 : bottom - 1, left + 1 : right - 1]
        assert torch.equal(convolution(part)[:, :, 1:-1, 1:-1], inside), f'{bottom - top}x{right - left}'


@pytest.mark.parametrize('size', [(96, 96), (97, 192), (193, 110), (15, 200), (100, 288)], ids=str)
@pytest.mark.parametrize('name', ['RFDN, CCA', 'E_RFDN, ESA'])
def test_any_size(name: str, size: tuple[int, int]):
    """A rest of one row, of less than ESA's smallest image, tiles that fit exactly."""
    form = InferenceForm(network(name, scale=3))
    x = torch.rand(1, 3, *size)
    assert torch.equal(in_parts(form, x, ALIGNMENT, keep=False), form(x))
    assert torch.equal(in_parts(form, x, 2 * ALIGNMENT, keep=True), form(x))


def test_official_weights(data_root):
    from rfdn_plugin.weights.loading import load_network

    x = torch.rand(1, 3, 50, 120)
    form = InferenceForm(load_network(data_root / 'weights/official/RFDN_AIM.pth')[0])
    assert torch.equal(in_parts(form, x, ALIGNMENT, keep=False), form(x))


def test_what_no_tile_can_be_is_refused():
    form = InferenceForm(network('E_RFDN, ESA'))
    for size, tile in (((200, 200), 100), ((200, 200), 0), ((14, 200), ALIGNMENT)):
        with pytest.raises(ValueError, match=r'multiple|too small'):
            in_parts(form, torch.rand(1, 3, *size), tile, keep=True)


def test_regions_cover_the_image_once():
    covered = torch.zeros(201, 310, dtype=torch.int)
    for region in regions(201, 310, ALIGNMENT):
        covered[region.top : region.bottom, region.left : region.right] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(('height', 'width'), [(180, 320), (97, 15), (15, 16)])
def test_enlarging_a_region_is_interpolating(height: int, width: int):
    small = torch.rand(1, 5, (height - 15) // 6 + 1, (width - 15) // 6 + 1)
    whole = nn.functional.interpolate(small, size=(height, width), mode='bilinear', align_corners=False)
    assert torch.allclose(_enlarge(small, height, width, Region(0, height, 0, width)), whole, atol=1e-5)
    part = Region(3, height - 2, 5, width)
    assert torch.allclose(_enlarge(small, height, width, part), whole[:, :, 3:-2, 5:], atol=1e-5)
