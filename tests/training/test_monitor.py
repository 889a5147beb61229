"""What a training watches: its losses, and the line that it writes."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
import torch
from helpers.models import build

from rfdn_plugin.training.monitor import DivergedError, LossWatch, ProgressLogger


def watched(values: list[float], limit: float | None = 100) -> LossWatch:
    watch = LossWatch(limit)
    for iteration, value in enumerate(values, start=1):
        watch.add(iteration, {'l_pix': torch.tensor(value)})
    return watch


def test_a_line_shows_the_mean_since_the_last_one():
    watch = LossWatch(100)
    for iteration in range(1, 5):
        watch.add(iteration, {'l_pix': torch.tensor(float(iteration)), 'l_fft': torch.tensor(1.0)})
    assert watch.means() == {'l_pix': 2.5, 'l_fft': 1.0}
    watch.add(5, {'l_pix': torch.tensor(7.0), 'l_fft': torch.tensor(2.0)})
    watch.check()  # as for a checkpoint: the line still has it
    assert watch.means() == {'l_pix': 7.0, 'l_fft': 2.0}


def test_nothing_is_read_before_it_is_needed():
    class Counting(torch.Tensor):
        read = 0

        def tolist(self):
            Counting.read += 1
            return super().tolist()

    watch = LossWatch(100)
    for iteration in range(50):
        watch.add(iteration, {'l_pix': torch.ones(()).as_subclass(Counting)})
    assert Counting.read == 0
    watch.means()
    assert Counting.read <= 1


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('limit', [100, None])
def test_a_loss_that_is_no_number_stops(value, limit):
    watch = watched([1.0, value, 1.0], limit)
    with pytest.raises(DivergedError, match=r'at iteration 2'):
        watch.means()


def test_a_loss_far_above_its_median_stops_and_one_below_does_not():
    usual = [1.0 + 0.01 * number for number in range(31)]
    with pytest.raises(DivergedError, match=r'the loss is 200 at iteration 32, 1\.15 in the median of the 31 before'):
        watched([*usual, 200.0]).means()
    watched([*usual, 90.0]).means()
    watched([*usual, 200.0], limit=None).means()


def test_the_first_losses_are_not_judged():
    watched([1e-6, 1.0, 1.0]).means()


def test_many_unread_losses_are_read_in_any_case():
    with pytest.raises(DivergedError):
        watched([math.nan] * LossWatch.MOST_UNREAD)


def test_the_watch_goes_on_where_it_was():
    first = watched([1.0] * 20)
    first.check()
    second = LossWatch(100)
    second.restore(first.state())
    second.add(21, {'l_pix': torch.tensor(22.0)})
    assert second.means() == {'l_pix': 2.0}
    second.add(22, {'l_pix': torch.tensor(500.0)})
    with pytest.raises(DivergedError):
        second.check()


def test_a_diverged_training_names_the_last_good_file_and_the_cures_and_saves_nothing(options):
    options['path']['pretrain_network_g'] = None
    model = build(options)
    data = {'lq': torch.rand(2, 3, 16, 16), 'gt': torch.rand(2, 3, 48, 48)}
    model.feed_data(data)
    model.optimize_parameters(1)
    model.save(0, 1)
    model.feed_data({**data, 'gt': data['gt'] * torch.nan})
    model.optimize_parameters(2)
    models = Path(options['path']['models'])
    for act in (model.get_current_log, lambda: model.save(0, 2)):
        model.loss_watch.add(2, {'l_pix': torch.tensor(math.nan)})
        with pytest.raises(DivergedError) as error:
            act()
        message = str(error.value)
        assert 'nan at iteration 2' in message and '\n' not in message
        assert str(models / 'net_g_1.pth') in message and 'train.optim_g.lr (0.001)' in message
        assert 'grad_clip' in message and '--auto_resume' in message
    assert [path.name for path in models.iterdir()] == ['net_g_1.pth'] and not model.intact


@pytest.mark.parametrize(
    ('start', 'iteration', 'elapsed', 'left'),
    [(0, 1, 0, '0:00:24'), (0, 11, 20, '0:02:58'), (50, 51, 2, '0:01:38'), (50, 60, 20, '0:01:20')],
    ids=['the first', 'later', 'the first after a resumption', 'later then'],
)
def test_the_time_left(caplog, monkeypatch, start, iteration, elapsed, left):
    """BasicSR sets the clock after the first iteration: ten iterations, not eleven, took the seconds on it."""
    opt = {'name': 'x', 'num_gpu': 0, 'logger': {'print_freq': 1, 'use_tb_logger': False}, 'train': {'total_iter': 100}}
    with caplog.at_level(logging.INFO, 'basicsr'):
        logging.getLogger('basicsr').addHandler(caplog.handler)
        line = ProgressLogger(opt, start)
        monkeypatch.setattr('time.time', lambda: line.start_time + elapsed)
        line({'epoch': 1, 'iter': iteration, 'lrs': [1e-3], 'time': 0.25, 'data_time': 0.01})
    assert f'eta: {left}' in caplog.records[-1].message


def test_the_line_says_speed_time_left_and_memory(caplog):
    written = []
    board = type('Board', (), {'add_scalar': lambda _, *scalar: written.append(scalar)})()
    opt = {
        'name': 'experiment',
        'num_gpu': 0,
        'logger': {'print_freq': 10, 'use_tb_logger': True},
        'train': {'total_iter': 100},
    }
    with caplog.at_level(logging.INFO, 'basicsr'):
        logging.getLogger('basicsr').addHandler(caplog.handler)
        line = ProgressLogger(opt, 50, board)
        line.start_time -= 20  # ten iterations took 20 seconds: 40 are left
        line({'epoch': 1, 'iter': 60, 'lrs': [1e-3], 'time': 0.25, 'data_time': 0.01, 'l_pix': 0.5})
    message = caplog.records[-1].message
    for words in ('[epoch:  1, iter:      60, lr:(1.000e-03,)]', 'eta: 0:01:2', '4 it/s', '0.250 (0.010)', ' GB]'):
        assert words in message, message
    assert 'l_pix: 5.0000e-01' in message
    assert {scalar[0]: scalar[1:] for scalar in written}['losses/l_pix'] == (0.5, 60)
    assert {'lr', 'speed/iterations_per_second', 'speed/data_wait_seconds'} <= {scalar[0] for scalar in written}
