"""Weights that fit by their shapes and are of another network all the same: told before a training or a test begins."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import REPOSITORY
from helpers.training import option_file, rfdn, small

from rfdn_plugin.archs.idn import IDN
from rfdn_plugin.cli import main
from rfdn_plugin.options.load import load_test_options, load_training_options
from rfdn_plugin.training import preflight
from rfdn_plugin.training.preflight import weights
from rfdn_plugin.training.preflight.findings import Findings, Note
from rfdn_plugin.weights.card import model_card

E_RFDN_X4 = REPOSITORY / 'options/test/E_RFDN/test_E_RFDN_x4.yml'


def of_set5(data_root: Path, weights: Path, scale: int = 4, **changes: object) -> list[str]:
    """`--force_yml` entries that test some weights on Set5 alone."""
    folder = data_root / 'benchmarks/Set5'
    section = (
        f'{{name: Set5, type: PairedImageDataset, dataroot_gt: {folder}/HR, io_backend: {{type: disk}}, '
        f"dataroot_lq: {folder}/LR_bicubic/X{scale}, filename_tmpl: '{{}}x{scale}'}}"
    )
    entries = {'datasets': f'{{test_1: {section}}}', 'path:pretrain_network_g': weights, 'val:save_img': 'false'}
    return [f'{key}={value}' for key, value in {**entries, 'num_gpu': 0, **changes}.items()]


def check(file: Path, entries: list[str]) -> Findings:
    return preflight.check_test(load_test_options(file, entries))


@pytest.fixture
def without_a_card(data_root: Path, tmp_path: Path) -> Path:
    """The official weights, changed in the last bit of one value: no fingerprint knows them."""
    state = torch.load(data_root / 'weights/official/RFDN_AIM.pth', weights_only=True)
    state['fea_conv.bias'] = state['fea_conv.bias'] * (1 + 2**-22)
    torch.save(state, tmp_path / 'mine.pth')
    return tmp_path / 'mine.pth'


# --- what the file says --------------------------------------------------------------------------------------------
def test_the_official_weights_without_their_range_are_refused_and_with_it_give_their_figure(data_root, tmp_path):
    official = data_root / 'weights/official/RFDN_AIM.pth'
    entries = of_set5(data_root, official)
    outcome = rfdn('test', '-opt', E_RFDN_X4, '--force_yml', *entries, cwd=tmp_path)
    assert outcome.returncode == 1 and not (tmp_path / 'results').exists()
    (line,) = outcome.stderr.splitlines()
    for words in ('network_g.img_range', str(official), 'img_range 255 (it is E-RFDN', '1: write `img_range: 255`'):
        assert words in line
    entries = of_set5(data_root, official, **{'network_g:img_range': 255})
    outcome = rfdn('test', '-opt', E_RFDN_X4, '--force_yml', *entries, cwd=tmp_path)
    assert outcome.returncode == 0 and 'psnr: 32.1589' in outcome.stderr + outcome.stdout
    assert 'note:' not in outcome.stderr


@pytest.mark.parametrize(
    ('file', 'network', 'words'),
    [
        ('RFDN_AIM.pth', {'network_g:img_range': 255, 'network_g:block_residual': 'true'}, 'block_residual: false'),
        ('RFDN_AIM.pth', {'network_g:img_range': 255, 'network_g:shallow_residual': 'false'}, 'shallow_residual: true'),
        ('../third_party/team30_RFDN.pkl', {}, 'img_range: 255'),
        ('../lookalikes/team22_rep_rfdn.pth', {'network_g:num_feat': 40, 'network_g:img_range': 255}, 'img_range: 1`'),
        ('../lookalikes/team13_rfdn_dilated.pth', {'network_g:num_feat': 64}, 'dilation 2 and 5'),
    ],
)
def test_every_argument_that_shapes_do_not_show_is_compared(data_root, file, network, words):
    found = check(E_RFDN_X4, of_set5(data_root, data_root / 'weights/official' / file, **network))
    (problem,) = found.problems
    assert words in problem and problem.startswith(('network_g.', 'path.pretrain_network_g'))


def test_another_name_for_the_same_network_is_no_contradiction(data_root):
    """RFDN with the switches of E_RFDN is E_RFDN, and a rate that gives the same channels the same network."""
    same = {'network_g:type': 'RFDN', 'network_g:img_range': 255, 'network_g:distillation_rate': 0.51}
    found = check(E_RFDN_X4, of_set5(data_root, data_root / 'weights/official/RFDN_AIM.pth', **same))
    assert found.problems == [] and found.notes == []


def test_an_idn_of_another_scale_fits_by_its_shapes_and_is_refused(data_root, tmp_path):
    arguments = {'num_in_ch': 1, 'num_out_ch': 1, 'upscale': 2}
    content = {'params': IDN(**arguments).state_dict(), 'metadata': model_card('IDN', arguments)}
    torch.save(content, tmp_path / 'idn.pth')
    network = {'network_g': '{type: IDN, num_in_ch: 1, num_out_ch: 1, upscale: 4}', 'datasets:test_1:color': 'y'}
    (problem,) = check(E_RFDN_X4, of_set5(data_root, tmp_path / 'idn.pth', **network)).problems
    assert 'is of scale 2, the options say 4' in problem


@pytest.fixture
def weights_with_a_card(tmp_path, tiny_data, photographs) -> Path:
    """Those of a training of two iterations."""
    entries = small(tiny_data, photographs, **{'train:total_iter': 2, 'val:val_freq': 2})
    (tmp_path / 'run').mkdir()
    assert rfdn('train', '-opt', option_file(), '--force_yml', *entries, cwd=tmp_path / 'run').returncode == 0
    return tmp_path / 'run/experiments/train_RFDN_x2_scratch/models/net_g_latest.pth'


def test_a_folded_file_is_refused_to_the_ordinary_network_by_test_and_train(
    weights_with_a_card, tmp_path, tiny_data, photographs
):
    folded = tmp_path / 'folded.pth'
    arguments = ['--fold-srb', '--param-key', 'params_ema', '-o', str(folded)]
    assert main(['convert', '--weights', str(weights_with_a_card), *arguments]) == 0
    entries = small(tiny_data, photographs, **{'path:pretrain_network_g': folded})
    for change, problems in (([], 1), (['network_g:shallow_residual=false'], 0)):
        options = load_training_options(option_file(), [*entries, *change])
        found = preflight.check_training(options, tmp_path, world_size=1, auto_resume=False)
        assert len(found.problems) == problems
        assert all('write `shallow_residual: false` below network_g' in problem for problem in found.problems)
    # To another scale as well: the body is the same.
    entries = small(tiny_data, photographs, 3, **{'path:pretrain_network_g': folded, 'path:param_key_g': 'params'})
    options = load_training_options(option_file(3), entries)
    (problem,) = preflight.check_training(options, tmp_path, world_size=1, auto_resume=False).problems
    assert 'network_g.shallow_residual' in problem and 'its card' in problem


def test_a_card_that_says_bgr_is_refused(weights_with_a_card, tmp_path, tiny_data, photographs):
    content = torch.load(weights_with_a_card, weights_only=True)
    content['metadata']['color_order'] = 'BGR'
    torch.save(content, tmp_path / 'bgr.pth')
    entries = small(tiny_data, photographs, **{'path:pretrain_network_g': tmp_path / 'bgr.pth'})
    options = load_training_options(option_file(), entries)
    (problem,) = preflight.check_training(options, tmp_path, world_size=1, auto_resume=False).problems
    assert 'color_order bgr' in problem and 'BasicSR gives networks RGB' in problem


# --- what the file does not say ------------------------------------------------------------------------------------
def test_a_file_that_says_nothing_is_tried_against_bicubic(data_root, without_a_card):
    found = check(E_RFDN_X4, of_set5(data_root, without_a_card))
    assert found.problems == []
    (note,) = found.notes
    assert 'below bicubic; with img_range: 255 it would be' in note and 'does not say which is right' in note
    found = check(E_RFDN_X4, of_set5(data_root, without_a_card, **{'network_g:img_range': 255}))
    assert found == Findings()


@pytest.mark.parametrize(('both', 'words'), [(True, 'was it trained on BGR?'), (False, 'of its output exchanged')])
def test_colours_in_the_other_order_are_noticed(data_root, tmp_path, without_a_card, both, words):
    """Of input and output, which costs hundredths of a dB, and of the output alone, which costs everything."""
    state = torch.load(without_a_card, weights_only=True)
    if both:
        state['fea_conv.weight'] = state['fea_conv.weight'].flip(1)
    for name in ('upsampler.0.weight', 'upsampler.0.bias'):
        state[name] = state[name].unflatten(0, (3, 16)).flip(0).flatten(0, 1)
    torch.save(state, tmp_path / 'bgr.pth')
    found = check(E_RFDN_X4, of_set5(data_root, tmp_path / 'bgr.pth', **{'network_g:img_range': 255}))
    assert found.problems == [] and [words in note for note in found.notes] == [True]


def test_a_note_does_not_stop_a_test(data_root, tmp_path, without_a_card):
    outcome = rfdn('test', '-opt', E_RFDN_X4, '--force_yml', *of_set5(data_root, without_a_card), cwd=tmp_path)
    assert outcome.returncode == 0 and 'note: path.pretrain_network_g: on Set5/' in outcome.stderr
    assert 'psnr: 26.0' in outcome.stderr + outcome.stdout


def test_half_trained_weights_with_a_card_need_no_note(weights_with_a_card, tmp_path, tiny_data, photographs):
    changes = {'path:pretrain_network_g': weights_with_a_card, 'train:scheduler:milestones': '[5]'}
    entries = small(tiny_data, photographs, **changes)
    options = load_training_options(option_file(), entries)
    found = preflight.check_training(options, tmp_path, world_size=1, auto_resume=False)
    assert found == Findings()


def test_images_that_cannot_be_read_cost_only_the_trial(tmp_path):
    """Another package's section is not tried, whatever its keys; a section that fails gives a note, no problem."""
    options = {'network_g': {'type': 'AnotherNetwork'}, 'scale': 2}
    roots = {'dataroot_gt': str(tmp_path / 'hr'), 'dataroot_lq': str(tmp_path / 'lr'), 'io_backend': {'type': 'disk'}}
    for kind, notes in (('AnotherDataset', 0), ('PairedImageDataset', 1)):
        sections = {'val': {'type': kind, 'name': 'Val', **roots}}
        found = list(weights._probe({**options, 'datasets': sections}, None, torch.nn.Identity(), ['val']))
        assert len(found) == notes and all(isinstance(one, Note) for one in found)


def test_a_flat_image_says_nothing_of_weights(tmp_path):
    """Bicubic gives it within 8 bits; a network that is a hundredth off is 40 dB below."""
    for which, side in (('gt', 48), ('lq', 24)):
        (tmp_path / which).mkdir()
        cv2.imwrite(str(tmp_path / which / 'a.png'), np.full((side, side, 3), 77, np.uint8))
    roots = {f'dataroot_{which}': str(tmp_path / which) for which in ('gt', 'lq')}
    section = {'type': 'PairedImageDataset', 'name': 'Val', 'io_backend': {'type': 'disk'}, **roots}
    options = {'network_g': {'type': 'AnotherNetwork'}, 'scale': 2, 'datasets': {'val': section}}

    class Off(torch.nn.Module):
        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            return lr.repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.01

    assert list(weights._probe(options, None, Off(), ['val'])) == []
