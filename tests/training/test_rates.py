"""A training that goes on with another learning rate or schedule; tests/test_models_resume.py does it from the command."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.models import build

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


def train(model, first: int, last: int) -> list[float]:
    """The learning rate of each iteration."""
    rates = []
    for iteration in range(first, last + 1):
        model.update_learning_rate(iteration)
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
