"""Weights for another scale: the phases of every upsampler, resampling, and the start of a fine-tuning."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from helpers.benchmarks import mean, measure
from torch.nn import functional as F

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.archs.blocks import bilinear_phases
from rfdn_plugin.cli import main
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.card import model_card
from rfdn_plugin.weights.checkpoint import Checkpoint, read_checkpoint
from rfdn_plugin.weights.convert import write_weights
from rfdn_plugin.weights.loading import identify_file, load_network
from rfdn_plugin.weights.matching import starting_state
from rfdn_plugin.weights.transfer.phases import Phases, read_phases, write_phases
from rfdn_plugin.weights.transfer.resample import resample_phases, scale_of, to_scale, transferred_state

SCALES = (2, 3, 4)
DIRECTIONS = list(itertools.permutations(SCALES, 2))


WITH_PHASES = [name for name in NETWORKS if name != 'RFANet']


def _network(name: str, upscale: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name](upscale=upscale, num_feat=16, num_block=1).eval()


def _input(network: torch.nn.Module, height: int = 18, width: int = 20) -> torch.Tensor:
    return torch.rand(1, next(network.parameters()).shape[1], height, width)


def _by_phases(network: torch.nn.Module, x: torch.Tensor, phases: Phases) -> torch.Tensor:
    features = network.forward_features(x).double()
    out = F.conv2d(features, phases.weight, phases.bias, padding=phases.weight.shape[-1] // 2)
    return F.pixel_shuffle(out, network.upscale) / network.img_range


@pytest.mark.parametrize('name', WITH_PHASES)
@pytest.mark.parametrize('upscale', SCALES)
def test_the_phases_are_what_the_upsampler_computes(name: str, upscale: int):
    network = _network(name, upscale)
    x = _input(network)
    with torch.no_grad():
        expected = network(x) - (network.skip(x) if name == 'IDN' else 0)
        phases = read_phases(network)
        border = upscale * (phases.weight.shape[-1] // 2 + 1)
        inside = (..., slice(border, -border), slice(border, -border))
        torch.testing.assert_close(_by_phases(network, x, phases)[inside].float(), expected[inside])


@pytest.mark.parametrize('name', WITH_PHASES)
@pytest.mark.parametrize('upscale', SCALES)
def test_phases_that_are_written_are_computed(name: str, upscale: int):
    network = _network(name, upscale)
    x, colours = _input(network), 1 if name == 'IDN' else 3
    bias = torch.rand(colours).repeat_interleave(upscale**2)
    phases = Phases(torch.randn(colours * upscale**2, 16, 3, 3).double(), bias.double())
    with torch.no_grad():
        write_phases(network, phases)
        expected = _by_phases(network, x, phases).float() + (network.skip(x) if name == 'IDN' else 0)
        inside = (..., slice(4, -4), slice(4, -4))
        torch.testing.assert_close(network(x)[inside], expected[inside], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', ['RFDN', 'IDN'])
def test_phases_of_another_scale_are_refused(name: str):
    with pytest.raises(RFDNError):
        write_phases(_network(name, 2), Phases(torch.zeros(27, 16, 3, 3), torch.zeros(27)))


@pytest.mark.parametrize(('old', 'new'), DIRECTIONS)
def test_an_interpolation_stays_one(old: int, new: int):
    """Each phase of a resampled bilinear upsampler still sums to 1 and is centred where that phase lies."""
    weight = bilinear_phases(old).reshape(old**2, 1, 3, 3).double()
    resampled = resample_phases(Phases(weight, torch.zeros(old**2)), old, new).weight[:, 0]
    taps = torch.arange(-1, 2).double()
    centres = (torch.arange(new).double() + 0.5) / new - 0.5
    torch.testing.assert_close(resampled.sum(dim=(1, 2)), torch.ones(new**2).double(), atol=0.02, rtol=0)
    rows, columns = (resampled.sum(dim=2) * taps).sum(dim=1), (resampled.sum(dim=1) * taps).sum(dim=1)
    torch.testing.assert_close(rows, centres.repeat_interleave(new), atol=0.06, rtol=0)
    torch.testing.assert_close(columns, centres.repeat(new), atol=0.06, rtol=0)


def test_the_same_scale_changes_nothing():
    phases = Phases(torch.rand(12, 5, 3, 3).double(), torch.rand(12).double())
    assert resample_phases(phases, 2, 2) is phases


@pytest.mark.parametrize('name', WITH_PHASES)
@pytest.mark.parametrize(('old', 'new'), DIRECTIONS)
def test_the_command_goes_in_every_direction_for_every_network(tmp_path: Path, name: str, old: int, new: int):
    arguments = {'upscale': old, 'num_feat': 16, 'num_block': 1, 'img_range': 255.0}
    card = model_card(name, arguments, iterations=7)
    write_weights(tmp_path / 'w.pth', NETWORKS[name](**arguments).state_dict(), card, 'basicsr')
    output = tmp_path / 'out.safetensors'
    assert main(['transfer', '--weights', str(tmp_path / 'w.pth'), '--to-scale', str(new), '-o', str(output)]) == 0
    network, identity = load_network(output)
    assert (identity.type, identity.upscale, identity.img_range) == (name, new, 255)
    before, after = read_checkpoint(tmp_path / 'w.pth'), read_checkpoint(output)
    body = [key for key in before.tensors if not key.startswith(('upsample', 'tail'))]
    assert body and all(torch.equal(before.tensors[key], after.tensors[key]) for key in body)
    assert after.metadata['upsampler'] == f'resampled from x{old}' and 'iterations' not in after.metadata
    assert network(_input(network)).shape[-2:] == (18 * new, 20 * new)


def test_the_scale_that_it_has_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    write_weights(tmp_path / 'w.pth', _network('RFDN', 2).state_dict(), model_card('RFDN', {}), 'basicsr')
    assert (
        main(['transfer', '--weights', str(tmp_path / 'w.pth'), '--to-scale', '2', '-o', str(tmp_path / 'o.pth')]) == 1
    )
    assert 'x2 already' in capsys.readouterr().err and not (tmp_path / 'o.pth').exists()


@pytest.mark.parametrize('name', WITH_PHASES)
@pytest.mark.parametrize(('old', 'new'), DIRECTIONS)
def test_a_fine_tuning_starts_from_the_resampled_state(name: str, old: int, new: int):
    source, target = _network(name, old), _network(name, new)
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    state = transferred_state(target, _checkpoint(source, {'upscale': str(old)}))
    assert all(torch.equal(before[key], tensor) for key, tensor in target.state_dict().items()), 'it is not changed'
    target.load_state_dict(state, strict=True)
    own = source.state_dict()
    body = [key for key in state if not key.startswith(('upsample', 'tail'))]
    assert all(torch.equal(state[key], own[key]) for key in body)
    assert torch.isfinite(target(_input(target))).all()


def _checkpoint(network: torch.nn.Module, metadata: dict[str, str] | None = None) -> Checkpoint:
    return Checkpoint(Path('w.pth'), network.state_dict(), 'flat', metadata or {})


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('upscale', SCALES)
def test_the_scale_of_a_checkpoint(name: str, upscale: int):
    """IDN's weights do not show it."""
    network = _network(name, upscale)
    assert scale_of(_checkpoint(network)) == (None if name == 'IDN' else upscale)
    assert scale_of(_checkpoint(network, {'upscale': str(upscale)})) == upscale


def test_the_scale_of_official_idn_weights_is_known(official, tmp_path: Path):
    tensors = read_checkpoint(official('idn_caffe/IDN_x3.caffemodel')).tensors
    torch.save(tensors, tmp_path / 'w.pth')
    assert scale_of(read_checkpoint(tmp_path / 'w.pth')) == 3


@pytest.mark.parametrize(
    ('source', 'target', 'words'),
    [
        (('IDN', {}), ('IDN', {}), 'scale'),
        (('RFDN', {}), ('IMDN', {}), 'no IMDN'),
        (('RFDN', {}), ('RFDN', {'num_feat': 20}), 'fea_conv.weight'),
        (('RFDN', {}), ('RFDN', {'num_block': 2}), 'B2'),
    ],
    ids=str,
)
def test_a_start_from_other_weights_is_refused(source: tuple, target: tuple, words: str):
    (source_name, _), (target_name, arguments) = source, target
    network = NETWORKS[target_name](**{'upscale': 3, 'num_feat': 16, 'num_block': 1, **arguments})
    with pytest.raises(RFDNError, match=words):
        transferred_state(network, _checkpoint(_network(source_name, 2)))


@pytest.mark.parametrize(
    ('file', 'scale', 'least'),
    [
        ('RFDN_AIM', 3, 34.25),
        pytest.param('RFDN_AIM', 2, 37.70, marks=pytest.mark.slow),
        pytest.param('IMDN_x2', 3, 33.0, marks=pytest.mark.slow),
        ('IMDN_x2', 4, 30.8),
    ],
)
def test_set5_without_any_training(data_root, file: str, scale: int, least: float):
    network = to_scale(identify_file(data_root / f'weights/official/{file}.pth'), scale)
    assert mean(measure(network, data_root, scale)).psnr_y > least


def test_a_chain_of_upsampling_convolutions_is_refused(tmp_path: Path, capsys):
    write_weights(
        tmp_path / 'w.pth', _network('RFANet', 2).state_dict(), model_card('RFANet', {'upscale': 2}), 'basicsr'
    )
    output = tmp_path / 'o.pth'
    assert main(['transfer', '--weights', str(tmp_path / 'w.pth'), '--to-scale', '4', '-o', str(output)]) == 1
    assert 'the upsampler of RFANet is a chain' in capsys.readouterr().err and not output.exists()


@pytest.mark.parametrize('new', [3, 4])
def test_its_fine_tuning_starts_with_a_random_upsampler(new: int):
    source, target = _network('RFANet', 2), _network('RFANet', new)
    state, others = starting_state(target, _checkpoint(source), strict=False, resample=True)
    assert others and all(name.startswith('upsampler.') for name in others) and not state.keys() & set(others)
    assert state.keys() | set(others) == target.state_dict().keys()
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in state.items())
