"""A training that goes on with another learning rate or schedule; tests/test_models_resume.py does it from the command."""

from __future__ import annotations

import copy
import typing

import pytest
import torch
from helpers.models import build

from rfdn_plugin.options.sections import TrainSection
from rfdn_plugin.utils.errors import RFDNError

STEPS = 6
SCHEDULES = {
    'another rate': {'optim_g': {'type': 'Adam', 'lr': 1e-4}},
    'earlier milestones': {'scheduler': {'type': 'MultiStepLR', 'milestones': [2, 4, 9], 'gamma': 0.5}},
    'a cosine': {
        'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [20], 'restart_weights': [1], 'eta_min': 1e-7}
    },
    'both': {
        'optim_g': {'type': 'Adam', 'lr': 3e-4, 'betas': [0.8, 0.9]},
        'scheduler': {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.1},
    },
}


def changed(options: dict, changes: dict) -> dict:
    options = copy.deepcopy(options)
    options['path']['pretrain_network_g'] = None
    options['train'].update(changes)
    return options


def train(model, first: int, last: int, warmup: int = -1) -> list[float]:
    """The learning rate of each iteration."""
    rates = []
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration, warmup)
        rates += model.get_current_learning_rate()
        torch.manual_seed(iteration)
        model.feed_data({'lq': torch.rand(1, 3, 8, 8), 'gt': torch.rand(1, 3, 24, 24)})
        model.optimize_parameters(iteration)
    return rates


def state_after(model, tmp_path) -> dict:
    train(model, 1, STEPS)
    model.save_training_state(0, STEPS)
    return torch.load(tmp_path / 'training_states' / f'{STEPS}.state', weights_only=True)


@pytest.mark.parametrize('change', SCHEDULES)
def test_the_rates_are_those_of_a_training_that_had_them_from_the_beginning(options, tmp_path, change):
    state = state_after(build(changed(options, {})), tmp_path)
    resumed, whole = (build(changed(options, SCHEDULES[change])) for _ in range(2))
    resumed.resume_training(state)
    expected = train(whole, 1, 3 * STEPS)[STEPS:]
    assert train(resumed, STEPS + 1, 3 * STEPS) == pytest.approx(expected, rel=1e-12)
    assert expected != [1e-3] * 4 + [5e-4] * 8  # what it would be without the change
    for group, wanted in zip(resumed.optimizer_g.param_groups, whole.optimizer_g.param_groups, strict=True):
        assert tuple(group['betas']) == tuple(wanted['betas'])


def test_without_a_change_the_state_holds_to_the_bit(options, tmp_path):
    state = state_after(build(changed(options, {})), tmp_path)
    resumed = build(changed(options, {}))
    resumed.resume_training(state)
    assert train(resumed, STEPS + 1, 3 * STEPS) == [1e-3] * 4 + [5e-4] * 8


def test_another_optimizer_cannot_take_the_state(options, tmp_path):
    state = state_after(build(changed(options, {})), tmp_path)
    with pytest.raises(RFDNError, match='was Adam and is AdamW'):
        build(changed(options, {'optim_g': {'type': 'AdamW', 'lr': 1e-3}})).resume_training(state)


def arguments_of(scheduler: type) -> dict:
    """A schedule of that section that changes the rate often, also within the first iterations."""
    known = {
        'milestones': [3, 7, 9, 15],
        'gamma': 0.5,
        'restarts': [0, 12],
        'periods': [6, 20],
        'restart_weights': [1, 0.5],
        'eta_min': 1e-6,
    }
    return {key: value for key, value in known.items() if key in scheduler.model_fields}


SCHEDULERS = {
    name: arguments_of(section)
    for section in typing.get_args(TrainSection.model_fields['scheduler'].annotation)
    for name in typing.get_args(section.model_fields['type'].annotation)
}
WARMUP = 8


@pytest.fixture(params=SCHEDULERS)
def scheduled(request, options) -> dict:
    """Options with each scheduler that the schema knows."""
    return changed(options, {'scheduler': {'type': request.param, **SCHEDULERS[request.param]}})


def test_the_schema_has_schedulers():
    assert {'MultiStepLR', 'MultiStepRestartLR', 'CosineAnnealingRestartLR'} <= SCHEDULERS.keys()


def test_a_warm_up_scales_the_schedule_and_leaves_it_as_it_is(scheduled):
    plain, warmed = train(build(scheduled), 1, 20), train(build(scheduled), 1, 20, WARMUP)
    assert warmed[WARMUP - 1 :] == plain[WARMUP - 1 :]
    assert warmed[: WARMUP - 1] == [
        rate * iteration / WARMUP for iteration, rate in enumerate(plain[: WARMUP - 1], start=1)
    ]
    assert len(set(plain)) >= 4


@pytest.mark.parametrize('stop', [1, WARMUP - 2, WARMUP - 1, WARMUP, 14])
def test_a_warm_up_goes_on_exactly(scheduled, tmp_path, stop):
    expected = train(build(scheduled), 1, 20, WARMUP)
    first = build(scheduled)
    assert train(first, 1, stop, WARMUP) == expected[:stop]
    first.save(0, stop)
    second = build(scheduled)
    second.resume_training(torch.load(tmp_path / 'training_states' / f'{stop}.state', weights_only=True))
    assert train(second, stop + 1, 20, WARMUP) == expected[stop:]


def test_upstream_still_loses_the_warm_up(options):
    from basicsr.models.sr_model import SRModel

    model = SRModel(changed(options, {}))
    rates = []
    for iteration in range(1, 10):
        model.update_learning_rate(iteration, 4)
        rates += model.get_current_learning_rate()
    assert rates[4:] == [pytest.approx(0.75e-3)] * 5, 'upstream is fixed: drop update_learning_rate'
