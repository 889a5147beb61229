"""What changed since a training began is said in one line when it goes on."""

from __future__ import annotations

import pytest
from helpers.training import OURS, option_file, rfdn, small

from rfdn_plugin.training.settings import describe_changes, images_of, settings_of

BASE = {
    'num_gpu': 0,
    'train': {'total_iter': 10, 'ema_decay': 0.9, 'pixel_opt': {'type': 'L1Loss'}},
    'datasets': {'train': {'gt_size': 24, 'batch_size_per_gpu': 4}},
}
CHANGES = {
    'train.total_iter': ('train', {'total_iter': 20}, '20 (was 10)'),
    'train.ema_decay': ('train', {'ema_decay': 0}, '0 (was 0.9)'),
    'train.pixel_opt': ('train', {'pixel_opt': {'type': 'MSELoss'}}, '{"type": "MSELoss"} (was {"type": "L1Loss"})'),
    'train.grad_clip': ('train', {'grad_clip': 1}, '1 (was ~)'),
    'datasets.train.gt_size': ('data', {'gt_size': 48}, '48 (was 24)'),
    'the batch of all processes': ('data', {'batch_size_per_gpu': 8}, '8 (was 4)'),
}


@pytest.mark.parametrize('key', CHANGES)
def test_each_change_is_named_with_both_values(key):
    section, change, words = CHANGES[key]
    now = {**BASE, 'train': dict(BASE['train']), 'datasets': {'train': dict(BASE['datasets']['train'])}}
    (now['train'] if section == 'train' else now['datasets']['train']).update(change)
    line = describe_changes(settings_of(BASE), settings_of(now))
    assert line == f'Going on with other settings than before: {key} {words}.'
    assert describe_changes(settings_of(now), settings_of(now)) is None


def test_other_processes_with_the_same_batch_are_no_change():
    two = {**BASE, 'dist': True, 'world_size': 2, 'datasets': {'train': {'gt_size': 24, 'batch_size_per_gpu': 2}}}
    assert describe_changes(settings_of(BASE), settings_of(two)) is None


def test_a_state_that_says_nothing_is_no_change():
    assert describe_changes({}, settings_of(BASE)) is None


class Images(list):
    """A dataset with these images."""

    def __init__(self, *names: str, root: str = '/data/HR') -> None:
        super().__init__(names)
        self.opt = {'dataroot_gt': root}
        self.paths = [{'gt_path': f'{root}/{name}'} for name in names]


@pytest.mark.parametrize(
    ('other', 'words'),
    [
        (Images('a', 'b', 'd'), ['the names of the training images']),
        (Images('a', 'b'), ['the number of training images 2 (was 3)']),
        (Images('a', 'b', 'c', root='/other/HR'), ['datasets.train.dataroot_gt /other/HR (was /data/HR)']),
    ],
    ids=['other images', 'fewer', 'another folder'],
)
def test_another_dataset_is_named(other, words):
    line = describe_changes(images_of(Images('a', 'b', 'c')), images_of(other))
    assert all(word in line for word in words)
    assert ('names' in line) == (sorted(other) != ['a', 'b', 'c'])


def test_a_training_that_goes_on_says_it_once(tmp_path, tiny_data, photographs):
    entries = {'train:total_iter': 2, 'logger:save_checkpoint_freq': 2, 'val:val_freq': 100, **OURS}
    command = ['train', '-opt', option_file(), '--auto_resume', '--force_yml']
    assert rfdn(*command, *small(tiny_data, photographs, **entries), cwd=tmp_path).returncode == 0
    entries |= {
        'train:total_iter': 4,
        'datasets:train:batch_size_per_gpu': 2,
        'train:fft_opt': '{type: FFTLoss, loss_weight: 0.01}',
    }
    for count, total in ((1, 4), (0, 4)):
        outcome = rfdn(*command, *small(tiny_data, photographs, **entries), f'train:total_iter={total}', cwd=tmp_path)
        assert outcome.returncode == 0, outcome.stderr[-2000:]
        lines = [line for line in outcome.stderr.splitlines() if 'Going on with other settings' in line]
        assert len(lines) == count
        for words in ('total_iter 4 (was 2)', 'the batch of all processes 2 (was 4)', 'fft_opt {"type": "FFTLoss"'):
            assert all(words in line for line in lines)
        (tmp_path / 'experiments/train_RFDN_x2_scratch/models/net_g_latest.pth').unlink()
