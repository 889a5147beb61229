"""The upsampler in closed form: exact where it can be, streaming, from folders and LMDBs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.benchmarks import mean, measure
from helpers.images import write

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.cli import main
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.card import model_card
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.convert import write_weights
from rfdn_plugin.weights.loading import load_network
from rfdn_plugin.weights.transfer import fit
from rfdn_plugin.weights.transfer.fit import NormalEquations, fit_upsampler
from rfdn_plugin.weights.transfer.phases import Phases, read_phases, write_phases
from rfdn_plugin.weights.transfer.run import FitImages

WITH_PHASES = [name for name in NETWORKS if name != 'RFANet']


def _network(name: str, upscale: int = 2, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name](upscale=upscale, num_feat=16, num_block=1, **arguments).eval()


@pytest.mark.parametrize('name', WITH_PHASES)
@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_an_upsampler_that_explains_the_images_is_found(name: str, upscale: int):
    """HR made by the network itself with a known upsampler: the fit must find that one."""
    network = _network(name, upscale, img_range=255.0)
    colours = 1 if name == 'IDN' else 3
    bias = torch.rand(colours).repeat_interleave(upscale**2)
    truth = Phases(torch.randn(colours * upscale**2, 16, 3, 3).double(), bias.double())
    write_phases(network, truth)
    channels = next(network.parameters()).shape[1]
    lows = [torch.rand(channels, 24, 30), torch.rand(channels, 31, 20)]
    with torch.no_grad():
        pairs = [(low, network(low[None])[0]) for low in lows]
    write_phases(network, Phases(torch.zeros_like(truth.weight), torch.zeros_like(truth.bias)))
    result = fit_upsampler(network, iter(pairs), ridge=1e-13)
    assert (result.images, result.pixels) == (2, 22 * 28 + 29 * 18)
    assert result.gain > 60
    with torch.no_grad():
        for low, high in pairs:
            inside = (..., slice(upscale, -upscale), slice(upscale, -upscale))
            difference = (network(low[None])[0] - high)[inside].abs().max()
            assert difference < 1e-3 * high.abs().max(), difference


def test_bands_and_the_triangle_change_nothing(monkeypatch: pytest.MonkeyPatch):
    features, targets = torch.rand(1, 5, 40, 23), torch.rand(1, 12, 40, 23)
    neighbourhoods = torch.nn.functional.unfold(features.double(), 3)[0]
    neighbourhoods = torch.cat([neighbourhoods, torch.ones(1, neighbourhoods.shape[1])])
    wanted = targets[..., 1:-1, 1:-1].double().flatten(2)[0]
    for rows, block in ((1 << 15, 64), (50, 7), (1, 100)):
        monkeypatch.setattr(fit, 'ROWS_AT_ONCE', rows)
        monkeypatch.setattr(fit, 'BLOCK', block)
        equations = NormalEquations(5, 12)
        equations.add(features, targets)
        assert equations.count == 38 * 21
        torch.testing.assert_close(equations._whole_gram(), neighbourhoods @ neighbourhoods.T)
        torch.testing.assert_close(equations.cross, neighbourhoods @ wanted.T)


def test_the_error_that_it_reports_is_the_error():
    features, targets = torch.rand(1, 5, 30, 30), torch.rand(1, 4, 30, 30)
    equations = NormalEquations(5, 4)
    equations.add(features, targets)
    phases = equations.solve(Phases(torch.zeros(4, 5, 3, 3).double(), torch.zeros(4).double()))
    out = torch.nn.functional.conv2d(features.double(), phases.weight, phases.bias)
    expected = (out - targets[..., 1:-1, 1:-1].double()).square().mean()
    assert equations.mean_squared_error(phases) == pytest.approx(float(expected), rel=1e-6)


def test_a_rough_image_does_not_outvote_a_smooth_one():
    """Features that are alike with targets that contradict each other: the relative errors are balanced."""
    network = _network('RFDN')
    low = torch.rand(3, 20, 20)
    with torch.no_grad():
        high = network(low[None])[0]
    fit_upsampler(network, [(low, high + 0.01), (low, high - 0.1)], ridge=1e-12)
    with torch.no_grad():
        moved = (network(low[None])[0] - high)[..., 2:-2, 2:-2].mean()
    assert moved == pytest.approx((0.01 / 0.01**2 - 0.1 / 0.1**2) / (1 / 0.01**2 + 1 / 0.1**2), rel=0.05)  # +0.0089


def test_weighted_sums_are_weighted_errors():
    together = NormalEquations(4, 4)
    first, second = NormalEquations(4, 4), NormalEquations(4, 4)
    for equations, seed in ((first, 0), (second, 1)):
        torch.manual_seed(seed)
        equations.add(torch.rand(1, 4, 9, 9), torch.rand(1, 4, 9, 9))
    together.include(first, 2.0)
    together.include(second, 0.5)
    phases = Phases(torch.rand(4, 4, 3, 3).double(), torch.rand(4).double())
    expected = 2 * first.mean_squared_error(phases) + 0.5 * second.mean_squared_error(phases)
    assert together.mean_squared_error(phases) == pytest.approx(expected / 2)


def test_the_ridge_pulls_towards_the_start():
    equations = NormalEquations(5, 4)
    equations.add(torch.rand(1, 5, 9, 9), torch.rand(1, 4, 9, 9))
    start = Phases(torch.rand(4, 5, 3, 3).double(), torch.rand(4).double())
    far, near = equations.solve(start, 1e-9), equations.solve(start, 1e9)
    torch.testing.assert_close(near.weight, start.weight, atol=1e-6, rtol=0)
    assert (far.weight - start.weight).abs().max() > 0.1


@pytest.mark.parametrize('side', [4, 8, 13])
def test_fewer_pixels_than_unknowns_are_refused(side: int):
    """16 features have 16 * 9 + 1 = 145 unknowns; an image of 13 x 13 has 121 pixels with all their neighbours."""
    with pytest.raises(RFDNError, match=f'^{(side - 2) ** 2} LR pixels do not determine 145 weights'):
        fit_upsampler(_network('RFDN'), [(torch.rand(3, side, side), torch.rand(3, 2 * side, 2 * side))])


@pytest.mark.parametrize('count', [1, 2, 6], ids=lambda count: f'{count} images')
def test_a_fit_that_is_no_better_on_what_was_left_out_is_not_used(count: int):
    """Noise has nothing that could be learned: the weights before the fit explain the rest of it."""
    network = _network('RFDN')
    pairs = []
    for _ in range(count):
        low = torch.rand(3, 17, 17)
        with torch.no_grad():
            pairs.append((low, network(low[None])[0] + 0.1 * torch.randn(3, 34, 34)))
    before = read_phases(network)
    result = fit_upsampler(network, pairs, ridge=1e-9)
    assert not result.used and result.gain < 0
    assert all(torch.equal(old, new) for old, new in zip(before, read_phases(network), strict=True))


@pytest.mark.parametrize('count', [1, 6], ids=lambda count: f'{count} images')
def test_a_fit_that_is_better_on_what_was_left_out_is_used(count: int):
    network, other = _network('RFDN'), _network('RFDN')
    write_phases(other, Phases(read_phases(network).weight * 1.5, read_phases(network).bias))
    lows = [torch.rand(3, 30, 30) for _ in range(count)]
    with torch.no_grad():
        pairs = [(low, other(low[None])[0]) for low in lows]
    result = fit_upsampler(network, pairs)
    assert result.used and result.gain > 10


@pytest.mark.parametrize('length', [1, 3, 4, 5, 17, 200])
def test_the_bands_hold_each_row_once(length: int):
    rows = [row for band in fit._bands(length) for row in range(band.start, band.stop - 2)]
    assert rows == list(range(length))


@pytest.mark.parametrize('pairs', [[], [(torch.rand(3, 2, 8), torch.rand(3, 4, 16))]], ids=['none', 'too small'])
def test_no_pixels_are_an_error(pairs: list):
    with pytest.raises(RFDNError, match='no image'):
        fit_upsampler(_network('RFDN'), pairs)


def test_a_pair_that_does_not_fit_is_an_error():
    with pytest.raises(RFDNError, match='multiple'):
        fit_upsampler(_network('RFDN'), [(torch.rand(3, 8, 8), torch.rand(3, 17, 16))])


# --- images and the command --------------------------------------------------------------------------------------
@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = _network('E_RFDN', 4)
    card = model_card('E_RFDN', {'upscale': 4, 'num_feat': 16, 'num_block': 1})
    write_weights(tmp_path / 'w.pth', network.state_dict(), card, 'basicsr')
    return tmp_path / 'w.pth'


@pytest.mark.parametrize('scale', [2, 3])
def test_a_folder_and_its_lmdb_give_the_same_pairs(photographs: Path, tiny_data: Path, scale: int):
    from_folder = list(FitImages(photographs, scale))
    from_lmdb = list(FitImages(tiny_data / 'HR_sub.lmdb', scale))
    assert len(from_folder) == 9 and len(from_lmdb) >= 9
    low, high = from_folder[0]
    assert high.shape[0] == low.shape[0] == 3 and high.shape[1] == 96
    assert all(
        high.shape[-1] == scale * low.shape[-1] and 0 <= low.min() and high.max() <= 1 for low, high in from_lmdb
    )


def test_the_command_fits_and_says_so(weights: Path, photographs: Path, tmp_path: Path, capsys):
    output = tmp_path / 'o.safetensors'
    arguments = ['--to-scale', '2', '--fit', str(photographs), '--images', '4', '-o', str(output)]
    assert main(['transfer', '--weights', str(weights), *arguments]) == 0
    out = capsys.readouterr().out
    assert 'fitted to 4 images' in out and 'left out of it the error fell by' in out
    card = read_checkpoint(output).metadata
    assert 'least squares from 4 images' in card['upsampler'] and card['upscale'] == '2'
    assert load_network(output)[1].upscale == 2
    again = tmp_path / 'again.pth'
    assert main(['transfer', '--weights', str(output), '--to-scale', '3', '-o', str(again)]) == 0
    assert 'resampled from x2; that of x2: solved by least squares' in read_checkpoint(again).metadata['upsampler']


def test_damaged_images_are_passed_over_and_counted(weights: Path, photographs: Path, tmp_path: Path, capsys):
    folder = tmp_path / 'images'
    shutil.copytree(photographs, folder)
    (folder / 'broken.png').write_bytes((folder / 'photo0.png').read_bytes()[:500])
    os.mkfifo(folder / 'pipe.png')
    output = tmp_path / 'o.pth'
    assert (
        main(['transfer', '--weights', str(weights), '--to-scale', '2', '--fit', str(folder), '-o', str(output)]) == 0
    )
    out = capsys.readouterr().out
    assert (
        '1 skipped: damaged' in out
        and ': broken.png' in out
        and 'device: pipe.png' in out
        and 'fitted to 9 images' in out
    )


@pytest.mark.parametrize('kind', ['flat', 'ramp', 'two colours'])
def test_images_without_detail_are_refused(weights: Path, tmp_path: Path, kind: str, capsys):
    """One flat image "lowered the error by 30 dB", on pixels of its own."""
    rgb = np.full((240, 240, 3), 99, np.uint8)
    if kind == 'ramp':
        rgb[:] = np.arange(240, dtype=np.uint8)[:, None]
    if kind == 'two colours':
        rgb[:, 120:] = (10, 200, 30)
    write(tmp_path / 'images/a.png', rgb)
    arguments = ['--to-scale', '2', '--fit', str(tmp_path / 'images'), '-o', str(tmp_path / 'o.pth')]
    assert main(['transfer', '--weights', str(weights), *arguments]) == 1
    assert 'hold too little detail' in capsys.readouterr().err and not (tmp_path / 'o.pth').exists()


def test_a_folder_of_damaged_images_says_what_is_wrong_with_them(
    weights: Path, photographs: Path, tmp_path: Path, capsys
):
    folder = tmp_path / 'images'
    folder.mkdir()
    (folder / 'broken.png').write_bytes((photographs / 'photo0.png').read_bytes()[:500])
    arguments = ['--to-scale', '2', '--fit', str(folder), '-o', str(tmp_path / 'o.pth')]
    assert main(['transfer', '--weights', str(weights), *arguments]) == 1
    assert '1 skipped: damaged' in capsys.readouterr().err and not (tmp_path / 'o.pth').exists()


@pytest.mark.parametrize('problem', ['empty folder', 'no folder', 'ending'])
def test_problems_are_found_before_the_work(weights: Path, photographs: Path, tmp_path: Path, problem: str, capsys):
    (tmp_path / 'empty').mkdir()
    folder = {'empty folder': tmp_path / 'empty', 'no folder': tmp_path / 'absent'}.get(problem, photographs)
    scale = '4' if problem == 'ending' else '2'
    output = tmp_path / 'o.pth'
    assert (
        main(['transfer', '--weights', str(weights), '--to-scale', scale, '--fit', str(folder), '-o', str(output)]) == 1
    )
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not output.exists()


@pytest.mark.parametrize(
    ('channels', 'fits'), [((3, 3), True), ((1, 1), False), ((3, 1), False), ((4, 4), False)], ids=str
)
def test_a_fit_needs_a_network_from_rgb_to_rgb(tmp_path: Path, photographs: Path, capsys, channels, fits: bool):
    arguments = {'upscale': 2, 'num_feat': 8, 'num_block': 1, 'num_in_ch': channels[0], 'num_out_ch': channels[1]}
    network = NETWORKS['RFDN'](**arguments)
    write_weights(tmp_path / 'w.pth', network.state_dict(), model_card('RFDN', arguments), 'basicsr')
    command = ['transfer', '--weights', str(tmp_path / 'w.pth'), '--to-scale', '3', '-o', str(tmp_path / 'o.pth')]
    assert main([*command, '--fit', str(photographs), '--images', '2']) == (0 if fits else 1)
    if not fits:
        message = capsys.readouterr().err
        assert f'takes {channels[0]} and gives {channels[1]} channels' in message and message.count('\n') == 1
        assert main(command) == 0


def test_the_command_keeps_what_a_fit_does_not_better(weights: Path, tmp_path: Path, capsys):
    generator = np.random.default_rng(0)
    write(tmp_path / 'noise/a.png', generator.integers(0, 256, (40, 40, 3)).astype(np.uint8))
    output = tmp_path / 'o.pth'
    arguments = ['--to-scale', '2', '--fit', str(tmp_path / 'noise'), '--ridge', '1e-9', '-o', str(output)]
    assert main(['transfer', '--weights', str(weights), *arguments]) == 0
    assert 'not fitted: from 1 image, ' in capsys.readouterr().out
    assert read_checkpoint(output).metadata['upsampler'].startswith('resampled from x4; a fit from 1 image of noise')


@pytest.mark.slow
@pytest.mark.parametrize(('scale', 'least'), [(3, 34.33), (2, 37.88)])
def test_set5_of_the_official_weights_at_other_scales(data_root, tmp_path: Path, scale: int, least: float):
    """RFDN_AIM from x4, fitted on the training images of BSDS500. Minutes long."""
    output = tmp_path / 'o.pth'
    source, images = data_root / 'weights/official/RFDN_AIM.pth', data_root / 'train/BSDS500_train'
    arguments = ['--weights', str(source), '--to-scale', str(scale), '--fit', str(images), '-o', str(output)]
    assert main(['transfer', *arguments]) == 0
    assert mean(measure(load_network(output)[0], data_root, scale)).psnr_y >= least
