"""Earlier names of keys and losses: read as the present ones, with a note; never both at once."""

from __future__ import annotations

import functools

import pytest
import yaml
from helpers.training import option_file

from rfdn_plugin.options.load import load_training_options
from rfdn_plugin.options.renamed import KEYS, LOSSES
from rfdn_plugin.options.sections import TrainSection
from rfdn_plugin.utils.errors import RFDNError

VALUES = {'accumulate': '2', 'frequency_opt': '{type: FrequencyL1Loss, loss_weight: 0.05}'}


@pytest.mark.parametrize('before', KEYS['train'])
def test_an_earlier_key_is_read_and_said(before, capsys):
    now = KEYS['train'][before]
    assert now in TrainSection.model_fields and before not in TrainSection.model_fields
    options = load_training_options(option_file(), [f'train:{before}={VALUES[before]}'])
    new = VALUES[before].replace('FrequencyL1Loss', LOSSES['FrequencyL1Loss'])
    assert options == load_training_options(option_file(), [f'train:{now}={new}'])
    notes = [line for line in capsys.readouterr().err.splitlines() if 'note:' in line]
    assert any(f'train.{before} is called train.{now} now' in note for note in notes)


@pytest.mark.parametrize(
    ('before', 'now', 'value'),
    [
        ('path.pretrain_model_g', 'path.pretrain_network_g', 'w.pth'),
        ('path.strict_load', 'path.strict_load_g', False),
        ('datasets.train.use_flip', 'datasets.train.use_hflip', False),
    ],
)
def test_earlier_names_of_basicsr_are_read(tmp_path, capsys, before, now, value):
    """As BasicSR's published files of EDSR, RCAN and ESRGAN had them."""
    content = yaml.safe_load(option_file().read_text())
    *parents, key = now.split('.')
    section = functools.reduce(dict.__getitem__, parents, content)
    section.pop(key, None)
    section[before.rpartition('.')[2]] = value
    (tmp_path / 'old.yml').write_text(yaml.safe_dump(content))
    read = load_training_options(tmp_path / 'old.yml')
    assert functools.reduce(dict.__getitem__, parents, read)[key] == value
    assert f'{before} is called {now} now' in capsys.readouterr().err


@pytest.mark.parametrize('key', ['pixel_opt', 'fft_opt'])
def test_an_earlier_loss_is_read_and_said(key, capsys):
    options = load_training_options(option_file(), [f'train:{key}={{type: FrequencyL1Loss}}'])
    assert options['train'][key]['type'] == 'FFTLoss'
    assert f'train.{key}.type: FrequencyL1Loss is called FFTLoss now' in capsys.readouterr().err


def test_both_names_at_once_are_refused():
    with pytest.raises(RFDNError, match=r'train\.accumulate and train\.accum_iter are two names'):
        load_training_options(option_file(), ['train:accumulate=2', 'train:accum_iter=2'])


def test_present_names_say_nothing(capsys):
    load_training_options(option_file(), ['train:accum_iter=2', 'train:fft_opt={type: FFTLoss}'])
    assert capsys.readouterr().err == ''


def test_workers_that_persist_need_workers():
    changes = ['datasets:train:persistent_workers=true', 'datasets:train:num_worker_per_gpu=0']
    with pytest.raises(RFDNError, match=r'persistent_workers needs workers'):
        load_training_options(option_file(), changes)
    load_training_options(option_file(), changes[:1])
