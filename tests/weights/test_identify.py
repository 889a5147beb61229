"""Finding the network from the weights: every configuration, the public files, and the look-alikes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rfdn_plugin.archs import NETWORKS, full_arguments
from rfdn_plugin.cli import main
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.card import model_card
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.identify import identify
from rfdn_plugin.weights.loading import identify_file, load_network

CONFIGURATIONS = [
    ('RFDN', {}),
    ('RFDN', {'upscale': 3, 'num_feat': 24, 'num_block': 3}),
    ('RFDN', {'num_block': 1, 'distillation_rate': 0.25, 'attention': None}),
    ('RFDN', {'num_block': 1, 'num_feat': 50, 'distillation_rate': 0.3, 'attention': 'esa'}),
    ('RFDN', {'num_block': 1, 'num_feat': 52, 'distillation_rate': 1.0, 'upscale': 2}),
    ('RFDN', {'num_block': 2, 'shallow_residual': False}),
    ('RFDN', {'num_block': 1, 'feature_distillation': False}),
    ('RFDN', {'num_block': 2, 'feature_distillation': False, 'shallow_residual': False, 'upscale': 2}),
    ('RFDN', {'num_block': 1, 'num_in_ch': 1, 'num_out_ch': 1, 'upscale': 2}),
    ('RFDN', {'num_block': 2, 'block_residual': False, 'img_range': 255.0}),
    ('RFDN_L', {'upscale': 3, 'num_block': 2}),
    ('E_RFDN', {'upscale': 2}),
    ('E_RFDN', {'num_block': 1, 'distillation_rate': 0.25, 'last_branch': 'remaining', 'block_residual': True}),
    ('IMDN', {'upscale': 3}),
    ('IMDN', {'num_feat': 32, 'num_block': 2, 'distillation_rate': 0.5}),
    ('IMDN_R', {'upscale': 2}),
    ('IDN', {'upscale': 2}),
    ('IDN', {'upscale': 4, 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 32}),
    ('RFANet', {'upscale': 4, 'num_block': 2, 'num_feat': 32}),
    ('RFANet', {'upscale': 3, 'num_block': 1, 'num_feat': 32}),
]


def _saved(tmp_path: Path, type: str, arguments: dict, card: bool) -> Path:
    torch.manual_seed(0)
    path = tmp_path / 'w.safetensors'
    save_file(NETWORKS[type](**arguments).state_dict(), path, model_card(type, arguments) if card else None)
    return path


@pytest.mark.parametrize(('type', 'arguments'), CONFIGURATIONS, ids=str)
def test_every_configuration_is_rebuilt_from_its_card(tmp_path: Path, type: str, arguments: dict):
    path = _saved(tmp_path, type, arguments, card=True)
    network, identity = load_network(path)
    assert identity.type == type
    wanted = full_arguments(type, arguments)
    built = full_arguments(type, identity.arguments)
    rate = 'distillation_rate'
    if rate in wanted:  # any rate that distils as many channels is as good, and without distillation none is seen
        assert int(built['num_feat'] * built.pop(rate)) == int(wanted['num_feat'] * wanted.pop(rate)) or not wanted.get(
            'feature_distillation', True
        )
    assert built == wanted
    torch.manual_seed(0)
    original = NETWORKS[type](**arguments).eval()
    x = torch.rand(1, wanted['num_in_ch'], 16, 18)
    with torch.no_grad():
        assert torch.equal(network(x), original(x))


@pytest.mark.parametrize(('type', 'arguments'), CONFIGURATIONS, ids=str)
def test_without_a_card_what_is_not_visible_is_asked_for(tmp_path: Path, type: str, arguments: dict):
    path = _saved(tmp_path, type, arguments, card=False)
    if type in ('IMDN', 'IMDN_R', 'RFANet'):
        assert load_network(path)[1].img_range == 1.0
        return
    with pytest.raises(RFDNError) as error:
        load_network(path)
    if type == 'IDN':
        assert 'upscale' in str(error.value)
        assert load_network(path, upscale=arguments['upscale'])[1].upscale == arguments['upscale']
        return
    assert all(
        word in str(error.value) for word in ('--type E_RFDN', '--type RFDN', '--img-range 1', '--img-range 255')
    )
    with pytest.raises(RFDNError, match='--img-range'):
        load_network(path, type=type)
    identity = load_network(path, type=type, img_range=255)[1]
    assert identity.img_range == 255
    assert identity.arguments['block_residual'] == (type != 'E_RFDN')


def test_the_question_says_what_fits(data_root, tmp_path: Path):
    """A test pattern tells the range and the block's identity: the right candidate comes first."""
    state = read_checkpoint(data_root / 'weights/official/RFDN_AIM.pth').tensors
    torch.save({**state, 'LR_conv.bias': state['LR_conv.bias'] + 1e-4}, tmp_path / 'w.pth')  # no longer the known file
    with pytest.raises(RFDNError) as error:
        load_network(tmp_path / 'w.pth')
    trials = str(error.value).partition('agrees with the input at: ')[2]
    assert trials.startswith('E_RFDN with 255')


@pytest.mark.parametrize('named', [{'img_range': 255}, {'block_residual': False}, {'shallow_residual': False}])
def test_who_contradicts_the_card_is_asked(tmp_path: Path, named: dict):
    path, (key, value) = _saved(tmp_path, 'RFDN', {}, card=True), *named.items()
    with pytest.raises(
        RFDNError, match=f'{key} .* \\(its card\\), and .* is given: leave --.* out, or,.* rfdn convert --'
    ):
        load_network(path, **named)
    assert identify_file(path, corrects_card=True, **named).arguments[key] == value


def test_who_agrees_with_the_card_is_not_asked(tmp_path: Path):
    assert identify_file(_saved(tmp_path, 'RFDN', {}, card=True), img_range=1, block_residual=True).img_range == 1


@pytest.mark.parametrize(
    ('command', 'output'),
    [
        (['inspect'], []),
        (['export', '--weights'], ['-o', 'w.onnx']),
        (['transfer', '--to-scale', '3', '--weights'], ['-o', 'w3.pth']),
        (['upscale', 'a.png', '-o', 'out', '--weights'], []),
    ],
)
def test_every_command_asks_and_convert_corrects(
    tmp_path: Path, command: list[str], output: list[str], capsys, monkeypatch
):
    path = _saved(tmp_path, 'RFDN', {}, card=True)
    monkeypatch.chdir(tmp_path)
    Image.new('RGB', (9, 9)).save('a.png')
    code = main([*command, str(path), '--img-range', '255', *output])
    assert 'img_range 1 (its card), and 255 is given' in ''.join(capsys.readouterr()) and code == (
        command != ['inspect']
    )
    assert main(['convert', '--weights', str(path), '--img-range', '255', '-o', 'c.pth']) == 0
    assert identify_file(tmp_path / 'c.pth').img_range == 255


@pytest.mark.parametrize(
    ('type', 'named', 'words'),
    [
        ('RFDN', {'type': 'IMDN'}, ['IMDN', 'RFDN']),
        ('IMDN', {'type': 'RFDN'}, ['IMDN']),
        ('RFDN', {'type': 'SwinIR'}, ['SwinIR', 'E_RFDN']),
        ('RFDN', {'type': 'RFDN', 'img_range': 1, 'num_feat': 50}, ['fea_conv.weight', '48', '50']),
        ('RFDN', {'type': 'RFDN', 'img_range': 0}, ['img_range 0', 'above 0']),
        ('RFDN', {'type': 'RFDN', 'img_range': float('nan')}, ['img_range nan', 'above 0']),
        ('RFDN', {'type': 'RFDN', 'img_range': 1, 'block_residual': 'yes'}, ['block_residual', 'true or false']),
        ('RFDN', {'type': 'RFDN', 'img_range': 1, 'blocks': 3}, ['blocks']),
    ],
)
def test_a_wrong_name_is_refused(tmp_path: Path, type: str, named: dict, words: list[str]):
    with pytest.raises(RFDNError) as error:
        load_network(_saved(tmp_path, type, {}, card=False), **named)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('img_range', 'x'),
        ('img_range', -1),
        ('block_residual', 3),
        ('arguments', 'not JSON'),
        ('arguments', '[1]'),
    ],
)
def test_metadata_that_makes_no_sense_is_named(tmp_path: Path, key: str, value: object):
    card = model_card('RFDN', {})
    if key == 'arguments':
        card[key] = value
    else:
        card['arguments'] = json.dumps({**json.loads(card['arguments']), key: value})
    save_file(NETWORKS['RFDN']().state_dict(), tmp_path / 'w.safetensors', card)
    with pytest.raises(RFDNError, match=key):
        load_network(tmp_path / 'w.safetensors')


# --- public files --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ('file', 'type', 'scale', 'img_range'),
    [
        ('official/RFDN_AIM.pth', 'E_RFDN', 4, 255),
        ('official/rfdn_baseline.pth', 'E_RFDN', 4, 255),
        ('third_party/team30_RFDN.pkl', 'E_RFDN', 4, 255),
        ('lookalikes/team22_rep_rfdn.pth', 'E_RFDN', 4, 1),
        ('official/IMDN_x2.pth', 'IMDN', 2, 1),
        ('official/IMDN_x3.pth', 'IMDN', 3, 1),
        ('official/IMDN_x4.pth', 'IMDN', 4, 1),
        ('idn_caffe/IDN_x2.caffemodel', 'IDN', 2, 1),
        ('idn_caffe/IDN_x3.caffemodel', 'IDN', 3, 1),
        ('idn_caffe/IDN_x4.caffemodel', 'IDN', 4, 1),
    ],
)
def test_public_weights_need_no_flags(official, file: str, type: str, scale: int, img_range: float):
    network, identity = load_network(official(file))
    assert (identity.type, identity.upscale, identity.img_range) == (type, scale, img_range)
    assert not network.training and identity.name


LOOKALIKES = {
    'lookalikes/team13_rfdn_dilated.pth': 'dilation',
    'lookalikes/team14_arfdn.pth': 'B1.c1_l1.weight',
    'lookalikes/team25_frfdn.pth': 'B1.c2_r.weight',
    'lookalikes/team40_rfdn_pruned.pth': 'B1.esa.conv1.weight',
    'official/imdn_baseline.pth': 'conv1x1.weight',
    'successors/team04_rlfn.pth': 'B1.c5.weight',
    'successors/team18_bsrn.pth': 'fea_conv.pw.weight',
}


@pytest.mark.parametrize('file', LOOKALIKES)
@pytest.mark.parametrize('named', [{}, {'type': 'E_RFDN', 'img_range': 1}, {'type': 'IMDN'}], ids=str)
def test_lookalikes_are_refused_by_what_gives_them_away(data_root, file: str, named: dict):
    with pytest.raises(RFDNError) as error:
        load_network(data_root / 'weights' / file, **named)
    assert LOOKALIKES[file] in str(error.value)


@pytest.mark.parametrize('file', LOOKALIKES)
def test_lookalikes_stay_refused_in_another_layout(data_root, tmp_path: Path, file: str):
    tensors = read_checkpoint(data_root / 'weights' / file).tensors
    save_file({f'module.{name}': tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / 'w.safetensors')
    with pytest.raises(RFDNError):
        load_network(tmp_path / 'w.safetensors', type='E_RFDN', img_range=1)


@pytest.mark.parametrize('file', [file for file in LOOKALIKES if 'dilated' not in file])
def test_lookalikes_that_were_trained_on_are_refused_by_their_shapes(data_root, file: str):
    """The values are new, so that no fingerprint helps."""
    checkpoint = read_checkpoint(data_root / 'weights' / file)
    for tensor in checkpoint.tensors.values():
        tensor += 1e-3
    with pytest.raises(RFDNError):
        identify(checkpoint, type='E_RFDN', img_range=1)


def test_a_dilated_network_that_was_trained_on_is_asked_about(data_root):
    """Its shapes are those of an undilated one: without the user's word it is not loaded."""
    checkpoint = read_checkpoint(data_root / 'weights/lookalikes/team13_rfdn_dilated.pth')
    for tensor in checkpoint.tensors.values():
        tensor += 1e-3
    with pytest.raises(RFDNError, match='does not say: network, img_range'):
        identify(checkpoint)


@pytest.mark.parametrize(('file', 'type'), [('official/RFDN_AIM.pth', 'RFDN'), ('third_party/team30_RFDN.pkl', 'RFDN')])
def test_another_networks_name_for_known_weights_is_refused(data_root, file: str, type: str):
    path = data_root / 'weights' / file
    with pytest.raises(RFDNError, match='of the network E_RFDN, not RFDN'):
        load_network(path, type=type)
    named = {'block_residual': False, 'shallow_residual': True, 'img_range': 255.0}
    assert load_network(path, type=type, **named)[1].type == 'RFDN'  # it says the same network in other words
    assert load_network(data_root / 'weights/official/IMDN_x2.pth', type='IMDN_R')[1].type == 'IMDN_R'
