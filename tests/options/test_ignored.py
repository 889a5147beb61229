"""What an option file says without effect is told in a line that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import REPOSITORY
from helpers.training import option_file, small

import rfdn_plugin  # noqa: F401 (basicsr imports after it only)
from rfdn_plugin.options.ignored import ignored_parts
from rfdn_plugin.options.load import load_test_options, load_training_options

TEST_FILE = REPOSITORY / 'options/test/RFDN/test_RFDN_x2.yml'


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'train:warmup_iter': 10}, 'train.warmup_iter: 10, and the training ends at 10'),
        ({'train:scheduler:milestones': '[5, 10, 11, 12]'}, 'train.scheduler.milestones: 11, 12 are not reached'),
        (
            {'train:scheduler': '{type: CosineAnnealingRestartLR, periods: [9, 9], restart_weights: [1, 1]}'},
            'train.scheduler.periods: they end at 18',
        ),
        (
            {
                'train:scheduler': '{type: MultiStepRestartLR, milestones: [5], restarts: [0, 20], restart_weights: [1, 1]}'
            },
            'train.scheduler.restarts: 20 is not reached',
        ),
        ({'path:param_key_g': 'params_ema'}, 'path.param_key_g: without effect, no weights are loaded'),
        ({'path:strict_load_g': 'false'}, 'path.strict_load_g: without effect'),
        ({'train:upsampler_start': 'resampled'}, 'train.upsampler_start: without effect'),
        ({'path:ignore_resume_networks': '[network_x]'}, 'path.ignore_resume_networks: there is no network_x'),
        ({'datasets:train:num_prefetch_queue': 4}, 'datasets.train.num_prefetch_queue: without effect'),
        ({'datasets:train:use_shuffle': 'false'}, 'datasets.train.use_shuffle: without effect'),
        ({'datasets:train:filename_tmpl': "'{}x2'"}, 'datasets.train.filename_tmpl: without effect'),
        ({'datasets:val:filename_tmpl': "'{}x2'"}, 'datasets.val.filename_tmpl: without effect'),
        (
            {
                'datasets:train:resident': 'true',
                'datasets:train:sample_seed': 0,
                'datasets:train:num_worker_per_gpu': 2,
            },
            'datasets.train.num_worker_per_gpu: without effect with resident',
        ),
        ({'val:suffix': 'abc'}, 'val.suffix: without effect, no images are written'),
        ({'val:metrics': '~', 'logger:save_best': '~'}, 'val: without metrics and save_img a validation has no result'),
        ({'logger:wandb': '{resume_id: abc}'}, 'logger.wandb.resume_id: without effect, W&B is off'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_a_key_without_effect_in_a_training(tiny_data, photographs, changes, words):
    entries = small(tiny_data, photographs, **{'train:scheduler:milestones': '[5]', **changes})
    (line,) = ignored_parts(load_training_options(option_file(), entries))
    assert line.startswith(words) and '\n' not in line


def test_a_training_without_anything_to_validate_on(tiny_data, photographs):
    options = load_training_options(
        option_file(), small(tiny_data, photographs, **{'train:scheduler:milestones': '[5]'})
    )
    assert list(ignored_parts(options)) == []
    del options['datasets']['val']
    assert [line.partition(',')[0] for line in ignored_parts(options)] == ['val: without effect']


def test_a_discriminator_that_is_trained_alone_to_the_end():
    options = {'datasets': {'train': {}}, 'train': {'total_iter': 9, 'scheduler': {}, 'net_d_init_iters': 9}}
    assert [line.partition(':')[0] for line in ignored_parts(options)] == ['train.net_d_init_iters']


@pytest.mark.parametrize(('key', 'value'), [('val:val_freq', 5), ('path:resume_state', 'x.state')])
def test_a_key_of_trainings_in_a_test(key, value):
    (line,) = ignored_parts(load_test_options(TEST_FILE, [f'{key}={value}']))
    assert line.startswith(f'{key.replace(":", ".")}: without effect in a test')


@pytest.mark.parametrize('file', sorted((REPOSITORY / 'options').glob('t*/**/*.yml')), ids=lambda file: file.stem)
def test_the_shipped_files_say_nothing_in_vain(file: Path):
    load = load_training_options if 'train' in file.relative_to(REPOSITORY).parts[1] else load_test_options
    assert list(ignored_parts(load(file))) == []
