"""What entries do with one image, and how images made elsewhere are found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from helpers.small_sets import make_set, photograph, write
from torch import nn

import rfdn_plugin  # noqa: F401
from rfdn_plugin.leaderboard.measure.cache import Cache
from rfdn_plugin.leaderboard.measure.entries import Entry
from rfdn_plugin.leaderboard.measure.predictors import NetworkPredictor, bicubic, find_images
from rfdn_plugin.leaderboard.measure.probe import suspicion
from rfdn_plugin.leaderboard.measure.sets import SetImage, open_set
from rfdn_plugin.leaderboard.options import SetOptions
from rfdn_plugin.utils.errors import RFDNError


def image_of(lr: np.ndarray, scale: int = 2) -> SetImage:
    tensor = torch.from_numpy(lr.transpose(2, 0, 1).astype(np.float32) / 255)
    return SetImage('Small', 'one', scale, tensor, np.zeros((lr.shape[0] * scale, lr.shape[1] * scale, 3), np.uint8))


@pytest.mark.parametrize('grey', [0, 77])
def test_a_flat_image_raises_no_suspicion(grey: int):
    """Bicubic gives it exactly: who gives it too is infinite less infinite dB below, who is a level off infinitely."""
    image = image_of(np.full((24, 24, 3), grey, np.uint8))
    image.hr[:] = grey
    for off in (0, 1):
        entry = SimpleNamespace(predictor=lambda _, off=off: lambda one: one.hr + off, options=None, has_costs=False)
        assert suspicion(cast(Entry, entry), image) is None


class Nearest(nn.Module):
    """Repeats pixels; `level` is added to 0..1 values before anything is clipped."""

    def __init__(self, level: float = 0.0, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv.weight.data.copy_(torch.eye(channels)[..., None, None])
        self.level = level

    def forward(self, x):
        return nn.functional.interpolate(self.conv(x), scale_factor=2, mode='nearest') + self.level


def test_a_network_s_output_is_clipped_and_rounded_as_basicsr_does():
    from basicsr.utils import tensor2img

    image = image_of(photograph('coffee', (20, 24)))
    network = Nearest(0.3).eval()
    expected = tensor2img(network(image.lr[None]).detach(), rgb2bgr=False)
    np.testing.assert_array_equal(NetworkPredictor(network)(image), expected)
    assert expected.max() == 255


def test_the_order_of_colours_is_rgb():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    for predictor in (bicubic, NetworkPredictor(Nearest().eval())):
        assert predictor(image_of(red))[4, 4].tolist() == [200, 0, 0]


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(RFDNError, match='no finite numbers'):
        NetworkPredictor(Nearest(float('nan')).eval())(image_of(photograph('coffee', (20, 24))))


def test_a_network_for_y_changes_y_alone():
    from basicsr.utils.color_util import rgb2ycbcr

    image = image_of(photograph('astronaut', (20, 24)))
    sr = NetworkPredictor(Nearest(0.02, channels=1).eval())(image)
    plain = bicubic(image)
    difference = rgb2ycbcr(sr.astype(np.float32) / 255) - rgb2ycbcr(plain.astype(np.float32) / 255)
    assert abs(difference[..., 1:]).mean() < 0.01 and 0.005 < difference[..., 0].mean() < 0.03


def test_bicubic_is_basicsr_s():
    from basicsr.utils.matlab_functions import imresize

    lr = photograph('chelsea', (20, 24))
    expected = (imresize(lr / 255.0, 2).clip(0, 1) * 255).round()
    np.testing.assert_allclose(bicubic(image_of(lr)), expected, atol=0)


@pytest.mark.parametrize('name', ['{}', '{}x2', '{}-x2', '{}_LRBI_x2', '{}_RFDN', '{}x2_RFDN', '{}x2_test_RFDN_x2'])
def test_images_made_elsewhere_are_found_by_common_names(tmp_path, name):
    test_set = open_set('Small', SetOptions(**make_set(tmp_path / 'set')), 2)
    for image in test_set.names:
        write(tmp_path / 'x2' / 'Small' / f'{name.format(image)}.png', photograph('coffee'))
    found = find_images(str(tmp_path / 'x{scale}' / '{set}'), test_set)
    assert {key[1] for key in found} == set(test_set.names)


def test_two_images_for_one_are_refused(tmp_path):
    test_set = open_set('Small', SetOptions(**make_set(tmp_path / 'set', names=('coffee',))), 2)
    for name in ('coffee_a', 'coffee_b'):
        write(tmp_path / 'sr' / f'{name}.png', photograph('coffee'))
    with pytest.raises(RFDNError, match=r'coffee_a.png, coffee_b.png'):
        find_images(str(tmp_path / 'sr'), test_set)


# --- cache ---------------------------------------------------------------------------------------------------------
def test_the_cache_keeps_whole_lines_and_passes_over_torn_ones(tmp_path):
    cache = Cache(tmp_path)
    cache.append('key', 'a', {'psnr_y': 30.123456789012345})
    with open(tmp_path / 'key.jsonl', 'ab') as stream:
        stream.write(b'["b", {"psnr')
    cache.append('key', 'c', {'psnr_y': float('inf')})
    assert cache.lines('key') == {'a': {'psnr_y': 30.123456789012345}, 'c': {'psnr_y': float('inf')}}
    assert cache.lines('other') == {} and cache.get('other') is None and cache.image('other') is None


def test_the_cache_gives_back_what_was_put(tmp_path):
    cache = Cache(tmp_path)
    cache.put('a', {'params': 3})
    assert cache.get('a') == {'params': 3}
    (tmp_path / 'a.json').write_text('{"par')
    assert cache.get('a') is None
    rgb = photograph('coffee')
    cache.put_image('p', rgb)
    np.testing.assert_array_equal(cache.image('p'), rgb)
