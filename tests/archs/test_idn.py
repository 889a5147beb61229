"""IDN: what the official Caffe files say of it, and the bicubic that it adds to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rfdn_plugin.archs.idn import IDN

BT601 = np.array([65.481, 128.553, 24.966]) / 255


@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_parameters_are_the_published_ones_at_every_scale(upscale: int):
    assert sum(parameter.numel() for parameter in IDN(upscale=upscale).parameters()) == 552_769


@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_the_skip_is_matlabs_bicubic(upscale: int):
    """With the edge pixels going on outside, as MATLAB's releases of its time had it."""
    import rfdn_plugin  # noqa: F401

    from basicsr.utils.matlab_functions import imresize  # isort: skip

    image = np.random.default_rng(0).integers(0, 256, (20, 24)).astype(np.float32)
    around = np.pad(image, 4, mode='edge')[..., None]
    inside = slice(4 * upscale, -4 * upscale)
    expected = imresize(around, upscale)[inside, inside, 0]
    x = torch.from_numpy(image)[None, None]
    enlarged = IDN(upscale=upscale, num_feat=16, num_block=1).skip(x)[0, 0].numpy()
    np.testing.assert_allclose(enlarged, expected, atol=2e-3)


@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_the_deconvolution_lies_where_the_official_files_put_it(upscale: int):
    """An impulse at the kernel's middle tap (8) of LR pixel i falls on HR pixel i * upscale + upscale - 1.

    The official network's output, i * upscale + k - 8, is added to the bicubic without its first upscale - 1 pixels.
    """
    net = IDN(upscale=upscale, num_feat=16, num_block=1)
    with torch.no_grad():
        net.upsample.weight.zero_()
        net.upsample.bias.zero_()
        net.upsample.weight[0, 0, 8, 8] = 1
        features = torch.zeros(1, 16, 7, 7)
        features[0, 0, 3, 2] = 1
        where = net.upsample(features)[0, 0].nonzero().tolist()
    assert where == [[3 * upscale + upscale - 1, 2 * upscale + upscale - 1]]


def test_rgb_changes_in_brightness_as_y_does():
    torch.manual_seed(0)
    net = IDN(upscale=2, num_feat=16, num_block=1).eval()
    rgb = torch.rand(1, 3, 12, 12)

    def luma(x: torch.Tensor) -> torch.Tensor:
        return torch.einsum('c,nchw->nhw', torch.tensor(BT601, dtype=torch.float32), x)[:, None] + 16 / 255

    with torch.no_grad():
        torch.testing.assert_close(luma(net(rgb)), net(luma(rgb)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    'arguments',
    [{'upscale': 9}, {'num_out_ch': 3}, {'num_feat': 24}, {'upscale': 0}],
    ids=lambda arguments: str(arguments),
)
def test_wrong_arguments_are_named(arguments: dict):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        IDN(**arguments)
