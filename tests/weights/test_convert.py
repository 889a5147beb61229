"""Layouts, cards and the exact rewritings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.processes import run_code
from safetensors import safe_open

from rfdn_plugin.archs import NETWORKS, full_arguments
from rfdn_plugin.cli import main
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.card import model_card
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.convert import convert, write_weights
from rfdn_plugin.weights.loading import identify_file, load_network


def _output(path: Path) -> torch.Tensor:
    network = load_network(path)[0]
    torch.manual_seed(1)
    x = torch.rand(1, next(network.parameters()).shape[1], 40, 33)
    with torch.no_grad():
        return network(x)


@pytest.fixture(params=['E_RFDN', 'RFDN', 'IMDN', 'IDN', 'RFANet'])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    arguments = {'upscale': 2, 'num_feat': 16, 'num_block': 2, 'img_range': 255.0}
    network = NETWORKS[request.param](**arguments)
    write_weights(tmp_path / 'w.pth', network.state_dict(), model_card(request.param, arguments), 'basicsr')
    return tmp_path / 'w.pth'


OFFICIAL = ['official/RFDN_AIM.pth', 'official/IMDN_x3.pth', 'idn_caffe/IDN_x2.caffemodel']


@pytest.mark.parametrize('file', OFFICIAL)
def test_official_to_ours_to_safetensors_to_official_is_bit_equal(official, tmp_path: Path, file: str):
    source = official(file)
    steps = [tmp_path / 'ours.pth', tmp_path / 'w.safetensors', tmp_path / 'official.pth']
    for before, after in zip([source, *steps], steps, strict=False):
        layout = ['--layout', 'official'] if after is steps[-1] else []
        assert main(['convert', '--weights', str(before), '-o', str(after), *layout]) == 0
    first, last = read_checkpoint(source), read_checkpoint(steps[-1])
    assert first.tensors.keys() == last.tensors.keys() and last.layout == 'flat' and not last.metadata
    assert all(torch.equal(first.tensors[name], last.tensors[name]) for name in first.tensors)
    assert first.fingerprint == last.fingerprint
    with safe_open(steps[1], framework='pt') as stream:
        card = stream.metadata()
    assert card['licence'] == ('MIT' if 'RFDN' in file else 'none stated')
    assert len(card['source_sha256']) == 64 and json.loads(card['arguments'])['upscale'] == int(card['upscale'])


def test_the_card_takes_what_the_user_adds_and_keeps_what_was_there(file: Path, tmp_path: Path):
    first, second = tmp_path / 'a.safetensors', tmp_path / 'b.safetensors'
    added = ['--card', 'training_data=DIV2K', '--card', 'iterations=1000000', '--card', 'licence=MIT']
    assert main(['convert', '--weights', str(file), '-o', str(first), *added]) == 0
    assert main(['convert', '--weights', str(first), '-o', str(second), '--card', 'metrics=Set5 38.05']) == 0
    card = read_checkpoint(second).metadata
    assert (card['training_data'], card['iterations'], card['licence']) == ('DIV2K', '1000000', 'MIT')
    assert card['metrics'] == 'Set5 38.05' and card['source'] == 'w.pth'


def test_basicsr_reads_our_layout(file: Path):
    """As `load_network` of BasicSR does: by `params`, strictly."""
    content = torch.load(file, weights_only=True)
    identity = identify_file(file)
    NETWORKS[identity.type](**identity.arguments).load_state_dict(content['params'], strict=True)


def test_folding_the_range(file: Path, tmp_path: Path):
    assert main(['convert', '--weights', str(file), '-o', str(tmp_path / 'f.pth'), '--fold-range']) == 0
    assert identify_file(tmp_path / 'f.pth').img_range == 1
    torch.testing.assert_close(_output(tmp_path / 'f.pth'), _output(file), atol=4e-6, rtol=1e-5)


def test_folding_the_official_range_and_srb_is_within_fp32(data_root, tmp_path: Path):
    source = data_root / 'weights/official/RFDN_AIM.pth'
    convert(identify_file(source), tmp_path / 'f.pth', fold_range=True, fold_srb=True)
    identity = identify_file(tmp_path / 'f.pth')
    assert identity.img_range == 1 and identity.arguments['shallow_residual'] is False
    assert (_output(tmp_path / 'f.pth') - _output(source)).abs().max() < 4e-6  # 1e-3 of 255; facts: 2.6e-6


@pytest.mark.parametrize('layout', ['basicsr', 'safetensors'])
def test_unfolding_srb_gives_back_the_weights_within_rounding(data_root, tmp_path: Path, layout: str):
    source = data_root / 'weights/official/RFDN_AIM.pth'
    folded = tmp_path / ('f.safetensors' if layout == 'safetensors' else 'f.pth')
    convert(identify_file(source), folded, fold_srb=True)
    convert(identify_file(folded), tmp_path / 'u.pth', unfold_srb=True)
    before, after = read_checkpoint(source).tensors, read_checkpoint(tmp_path / 'u.pth').tensors
    assert max((before[name] - after[name]).abs().max() for name in before) <= 1.2e-7
    assert load_network(tmp_path / 'u.pth')[1].arguments['shallow_residual'] is True


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['-o', '{}/x.pth', '--layout', 'safetensors'], 'safetensors'),
        (['-o', '{}/x.safetensors', '--layout', 'official'], '.pth'),
        (['-o', '{}/x.pth', '--unfold-srb'], 'unfold'),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    file: Path, tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture
):
    assert main(['convert', '--weights', str(file), *(part.format(tmp_path) for part in arguments)]) == 1
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ['w.pth']


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['-o', '{}/x.onnx'], ['x.onnx', '.safetensors or .pth']),
        (['-o', '{}/x'], ['.safetensors or .pth']),
        (['-o', '{}/x.SAFETENSORS'], ['.safetensors or .pth']),
        (['-o', '{}/w.pth'], ['w.pth', 'the file to start from']),
        (['-o', '{}'], ['.safetensors or .pth']),
        (['-o', '{}/folder.pth'], ['folder.pth', 'a folder', 'name a file']),
        (['-o', '{}/w.pth/x.pth'], ['w.pth', 'Not a directory']),
        (['-o', '{}/x.pth', '--card', 'network=RFDN'], ['network', 'leave it out']),
        (['-o', '{}/x.pth', '--card', 'source_sha256=0'], ['source_sha256', 'leave it out']),
        (['-o', '{}/x.pth', '--layout', 'official', '--card', 'licence=MIT'], ['official layout has no card']),
        (['-o', '{}/x.pth', '--param-key', 'parms'], ["'parms'", 'name one of params_ema, params']),
        (['-o', '{}/x.pth', '--argument', 'blocks=3'], ['blocks']),
    ],
    ids=lambda value: ' '.join(value[2:]) or value[-1] if value[0] == '-o' else '',
)
def test_outputs_and_entries_that_would_do_harm_are_refused(tmp_path: Path, arguments, words, capsys):
    network = NETWORKS['RFDN'](upscale=2, num_feat=16, num_block=2)
    card = model_card('RFDN', {'upscale': 2, 'num_feat': 16, 'num_block': 2})
    torch.save(
        {'params': network.state_dict(), 'params_ema': network.state_dict(), 'metadata': card}, tmp_path / 'w.pth'
    )
    (tmp_path / 'folder.pth').mkdir()
    before = (tmp_path / 'w.pth').read_bytes()
    command = ['convert', '--weights', str(tmp_path / 'w.pth')]
    assert main([*command, *(part.format(tmp_path) for part in arguments)]) == 1
    message = capsys.readouterr().err
    assert message.count('\n') == 1 and all(word in message for word in words), message
    assert sorted(path.name for path in tmp_path.iterdir()) == ['folder.pth', 'w.pth']
    assert (tmp_path / 'w.pth').read_bytes() == before


@pytest.mark.parametrize('device', ['/dev/full', '/dev/null'])
def test_a_device_is_not_replaced(file: Path, device: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / 'link.pth').symlink_to(device)
    assert main(['convert', '--weights', str(file), '-o', str(tmp_path / 'link.pth')]) == 1
    assert 'is no plain file' in capsys.readouterr().err and not Path(device).is_file()


def test_a_link_stays_one(file: Path, tmp_path: Path):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'link.pth').symlink_to(tmp_path / 'elsewhere/target.pth')
    assert main(['convert', '--weights', str(file), '-o', str(tmp_path / 'link.pth')]) == 0
    assert (tmp_path / 'link.pth').is_symlink() and (tmp_path / 'elsewhere/target.pth').is_file()
    assert list((tmp_path / 'elsewhere').iterdir()) == [tmp_path / 'elsewhere/target.pth']


@pytest.mark.parametrize('name', ['x.pth', 'x.safetensors'])
def test_a_write_that_fails_is_a_line_and_leaves_what_was_there(file: Path, tmp_path: Path, name: str):
    """A limit on the size of files, in a process of its own: the write really fails."""
    (tmp_path / name).write_bytes(b'what was there')
    outcome = run_code(f"""
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        from rfdn_plugin.cli import main
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        sys.exit(main(['convert', '--weights', {str(file)!r}, '-o', {str(tmp_path / name)!r}]))
    """)
    assert outcome.returncode == 1 and outcome.stderr.count('\n') == 1
    assert f'{tmp_path / name}: File too large' in outcome.stderr
    assert (tmp_path / name).read_bytes() == b'what was there'
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(['w.pth', name])


def test_the_same_conversion_gives_the_same_bytes(file: Path, tmp_path: Path):
    paths = [tmp_path / f'{number}.safetensors' for number in range(4)]
    for path in paths:
        convert(identify_file(file), path, details={key: key for key in 'abcdefgh'})
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.mark.parametrize('range_too', [False, True])
def test_the_official_layout_is_refused_to_a_folded_network(tmp_path: Path, range_too: bool):
    """The authors' code would add the identity once more."""
    arguments = {'upscale': 2, 'num_feat': 16, 'num_block': 2, 'img_range': 255.0}
    card = model_card('E_RFDN', arguments)
    write_weights(tmp_path / 'w.pth', NETWORKS['E_RFDN'](**arguments).state_dict(), card, 'basicsr')
    with pytest.raises(RFDNError, match='unfold'):
        convert(identify_file(tmp_path / 'w.pth'), tmp_path / 'o.pth', layout='official', fold_srb=True)
    convert(identify_file(tmp_path / 'w.pth'), tmp_path / 'f.pth', fold_srb=True, fold_range=range_too)
    with pytest.raises(RFDNError, match='unfold'):
        convert(identify_file(tmp_path / 'f.pth'), tmp_path / 'o.pth', layout='official')
    assert not (tmp_path / 'o.pth').exists()
    convert(identify_file(tmp_path / 'f.pth'), tmp_path / 'o.pth', layout='official', unfold_srb=True)


@pytest.mark.parametrize('type', ['RFDN', 'E_RFDN'])
def test_a_folded_network_without_its_card_is_told_by_its_values(tmp_path: Path, type: str):
    torch.manual_seed(0)
    arguments = {'upscale': 2, 'num_feat': 16, 'num_block': 2}
    write_weights(tmp_path / 'w.pth', NETWORKS[type](**arguments).state_dict(), model_card(type, arguments), 'basicsr')
    convert(identify_file(tmp_path / 'w.pth'), tmp_path / 'f.pth', fold_srb=True)
    torch.save(read_checkpoint(tmp_path / 'f.pth').tensors, tmp_path / 'bare.pth')
    identity = identify_file(tmp_path / 'bare.pth', type=type, img_range=1)
    assert identity.arguments['shallow_residual'] is False and identity.sources['shallow_residual'] == 'values'
    convert(identity, tmp_path / 'u.pth', unfold_srb=True)
    torch.testing.assert_close(_output(tmp_path / 'u.pth'), _output(tmp_path / 'w.pth'))
    assert identify_file(tmp_path / 'bare.pth', type=type, img_range=1, shallow_residual=True)  # who knows better


def test_a_network_without_srb_cannot_be_folded(tmp_path: Path):
    network = NETWORKS['IMDN'](upscale=2, num_feat=16, num_block=1)
    write_weights(tmp_path / 'w.pth', network.state_dict(), model_card('IMDN', {'upscale': 2}), 'basicsr')
    with pytest.raises(RFDNError, match='shallow residual'):
        convert(identify_file(tmp_path / 'w.pth'), tmp_path / 'f.pth', fold_srb=True)


def test_imdn_is_written_as_imdn_r_where_that_is_named(tmp_path: Path):
    network = NETWORKS['IMDN'](upscale=2, num_feat=16, num_block=1)
    torch.save(network.state_dict(), tmp_path / 'w.pth')
    assert (
        main(['convert', '--weights', str(tmp_path / 'w.pth'), '--type', 'IMDN_R', '-o', str(tmp_path / 'r.pth')]) == 0
    )
    assert 'IMDB1.c1_d.weight' in read_checkpoint(tmp_path / 'r.pth').tensors
    torch.testing.assert_close(_output(tmp_path / 'r.pth'), _output(tmp_path / 'w.pth'))


@pytest.mark.parametrize('type', NETWORKS)
def test_a_card_is_plain_text_with_every_argument(type: str):
    card = model_card(type, {'upscale': 3}, iterations=5, metrics=None)
    assert all(isinstance(value, str) for value in card.values()) and 'metrics' not in card
    arguments = json.loads(card['arguments'])
    assert arguments.keys() == full_arguments(type, {}).keys()
    NETWORKS[type](**arguments)
