"""Interrupted trainings: resumed, they end as if nothing had happened; asked to leave, they save first."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.processes import assert_runs, run_code
from helpers.training import (
    OURS,
    STOCK,
    assert_equal,
    long_run,
    option_file,
    rfdn,
    small,
    start,
    wait_for_iteration,
    weights,
)

from rfdn_plugin.training.resume import read_state
from rfdn_plugin.utils.errors import RFDNError


def kill_and_resume(cwd: Path, changes: list[str], iterations: int, kills: int, number: signal.Signals) -> list[int]:
    """Kill the run `kills` times at random later iterations, resuming each time; the exit codes of the killed runs."""
    chosen = sorted(
        random.Random(kills).sample(range(1, iterations - iterations // 4), kills)
    )  # before it can end by itself
    codes = []
    for iteration in chosen:
        process = start(cwd, changes, '--auto_resume')
        if wait_for_iteration(process, cwd, iteration):
            with contextlib.suppress(ProcessLookupError):  # a fast machine: it ended by itself meanwhile, with 0
                os.killpg(process.pid, number)
        codes.append(process.wait(120))
    process = start(cwd, changes, '--auto_resume')
    assert process.wait(300) == 0, (cwd / 'output.log').read_text()[-3000:]
    return codes


@pytest.mark.parametrize(
    ('workers', 'kills', 'iterations'),
    [
        (1, 2, 20),
        pytest.param(0, 20, 200, marks=pytest.mark.slow),
        pytest.param(1, 20, 200, marks=pytest.mark.slow),
        pytest.param(2, 20, 200, marks=pytest.mark.slow),
    ],
)
def test_kill_9_and_auto_resume_end_with_the_same_weights(
    workers: int, kills: int, iterations: int, tmp_path: Path, tiny_data: Path, photographs: Path
):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    whole.mkdir()
    killed.mkdir()
    changes = long_run(tiny_data, photographs, iterations, workers, **OURS)
    assert rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=whole).returncode == 0
    codes = kill_and_resume(killed, changes, iterations, kills, signal.SIGKILL)
    assert -signal.SIGKILL in codes
    assert_equal(weights(whole), weights(killed))


def test_the_stock_dataset_resumes_exactly_without_workers(tmp_path: Path, tiny_data: Path, photographs: Path):
    whole, stopped = tmp_path / 'whole', tmp_path / 'stopped'
    whole.mkdir()
    stopped.mkdir()
    changes = long_run(tiny_data, photographs, 20, 0, **STOCK)
    assert rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=whole).returncode == 0
    process = start(stopped, changes)
    assert wait_for_iteration(process, stopped, 14)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(120) == 75
    assert rfdn('train', '-opt', option_file(), '--auto_resume', '--force_yml', *changes, cwd=stopped).returncode == 0
    assert_equal(weights(whole), weights(stopped))


def test_the_best_results_survive(tmp_path: Path, tiny_data: Path, photographs: Path):
    changes = small(tiny_data, photographs, **{'val:val_freq': 5, 'logger:save_checkpoint_freq': 6})
    assert rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=tmp_path).returncode == 0
    state = torch.load(next(tmp_path.glob('experiments/*/training_states/6.state')), weights_only=True)
    best = state['best_metric_results']['Set5']['psnr']
    assert best['iter'] == 5 and 5 < best['val'] < 60


@pytest.fixture(scope='module')
def validated_twice(tmp_path_factory, tiny_data: Path, photographs: Path) -> tuple[Path, list[str]]:
    """A training of 10 iterations with checkpoint and validation after each 5: its folder and its command."""
    folder = tmp_path_factory.mktemp('whole')
    changes = small(tiny_data, photographs, **{'val:val_freq': 5, **OURS})
    command = ['train', '-opt', str(option_file()), '--auto_resume', '--force_yml', *changes]
    assert rfdn(*command, cwd=folder).returncode == 0
    return folder, command


@pytest.mark.parametrize(
    ('method', 'iteration', 'number', 'code'),
    [('nondist_validation', 5, 'SIGKILL', -9), ('_step', 4, 'SIGTERM', 75)],
    ids=['killed while it validates', 'asked to leave before it validates'],
)
def test_a_validation_that_was_cut_off_is_made_up_for(
    method: str, iteration: int, number: str, code: int, tmp_path: Path, validated_twice: tuple[Path, list[str]]
):
    """The best results, and the weights kept for them, are those of the training that was not interrupted."""
    whole, command = validated_twice
    program = f"""
        import os, signal, sys
        from rfdn_plugin.cli import main
        from rfdn_plugin.models.rfdn_model import RFDNModel

        original = RFDNModel.{method}

        def interrupted(self, *arguments):
            if self.iteration == {iteration}:
                os.kill(os.getpid(), signal.{number})
            return original(self, *arguments)

        RFDNModel.{method} = interrupted
        sys.exit(main({command!r}))
    """
    assert run_code(program, cwd=tmp_path, loaded=True).returncode == code
    assert not list(tmp_path.glob('experiments/*/models/net_g_best.pth'))
    outcome = rfdn(*command, cwd=tmp_path)
    assert outcome.returncode == 0
    assert outcome.stderr.count('Validation Set5') == 2  # of iterations 5 and 10
    for name in ('net_g_best.pth', 'net_g_latest.pth'):
        first, second = weights(whole, file=name), weights(tmp_path, file=name)
        assert_equal(first, second)
        assert first['metadata'] == second['metadata']


def test_what_the_options_say_of_the_learning_rate_holds_when_a_training_goes_on(
    tmp_path: Path, tiny_data: Path, photographs: Path
):
    """As the advice after a loss that ran away has it; a second resumption has nothing to say."""
    changes = small(tiny_data, photographs, **{'train:total_iter': 5, 'train:scheduler:milestones': '[3]', **OURS})
    command = ['train', '-opt', option_file(), '--auto_resume', '--force_yml', *changes]
    assert 'lr:(2.500e-04,)' in rfdn(*command, cwd=tmp_path).stderr
    later = [*command, 'train:optim_g:lr=1e-4', 'train:scheduler:milestones=[2,8]', 'train:total_iter=10']
    outcome = rfdn(*later, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    assert 'train.optim_g and train.scheduler changed' in outcome.stderr
    rates = [
        line.partition('lr:(')[2][:9] for line in outcome.stderr.splitlines() if 'iter:' in line and 'lr:(' in line
    ]
    assert rates == ['5.000e-05'] * 3 + ['2.500e-05'] * 2
    again = rfdn(*later, 'train:total_iter=11', cwd=tmp_path)
    assert 'changed since' not in again.stderr and 'lr:(2.500e-05,)' in again.stderr
    other = rfdn(*later, 'train:total_iter=12', 'train:optim_g:type=AdamW', cwd=tmp_path)
    assert other.returncode == 1 and 'train.optim_g.type was Adam and is AdamW' in other.stderr


def test_random_states_are_restored():
    from rfdn_plugin.training.resume import random_state, set_random_state

    def draw() -> tuple:
        return random.random(), np.random.rand(), torch.rand(1).item()

    state = random_state()
    first = draw()
    draw()
    set_random_state(state)
    assert draw() == first


# --- which checkpoint -------------------------------------------------------------------------------------------------
WRITE_STATES = """
    import torch, os, rfdn_plugin, basicsr
    root = os.path.abspath('root/experiments/name')
    for folder in ('models', 'training_states'):
        os.makedirs(f'{root}/{folder}')
    for iteration in (10, 20):
        state = {'epoch': 0, 'iter': iteration, 'optimizers': [{}], 'schedulers': [{}]}
        torch.save(state, f'{root}/training_states/{iteration}.state')
        torch.save({'params': {'w': torch.zeros(1)}}, f'{root}/models/net_g_{iteration}.pth')
    opt = {'auto_resume': True, 'name': 'name', 'network_g': {}, 'path': {
        'training_states': f'{root}/training_states', 'models': f'{root}/models', 'resume_state': None}}
    os.makedirs('elsewhere'); os.chdir('elsewhere')
"""


def test_upstream_still_resumes_from_the_working_directory_and_with_a_gpu_only():
    code = """
        import rfdn_plugin, inspect, basicsr.train
        source = inspect.getsource(basicsr.train.load_resume_state)
        assert "osp.join('experiments'" in source and 'torch.cuda.current_device()' in source
    """
    result = run_code(code, loaded=True)
    assert result.returncode == 0, 'upstream is fixed: drop load_resume_state\n' + result.stderr


def test_auto_resume_works_from_any_folder_without_a_gpu(tmp_path: Path):
    code = textwrap.dedent(WRITE_STATES) + textwrap.dedent("""
        from rfdn_plugin.training.resume import load_resume_state
        assert load_resume_state(opt)['iter'] == 20 and opt['resumed_iteration'] == 20
        assert opt['path']['pretrain_network_g'].endswith('net_g_20.pth')
    """)
    assert_runs(code, cwd=tmp_path, loaded=True)


@pytest.mark.parametrize('torn', ['training_states/20.state', 'models/net_g_20.pth'])
def test_auto_resume_passes_over_a_torn_checkpoint(tmp_path: Path, torn: str):
    code = textwrap.dedent(WRITE_STATES) + textwrap.dedent(f"""
        from rfdn_plugin.training.resume import load_resume_state
        path = f'{{root}}/{torn}'
        content = open(path, 'rb').read()
        open(path, 'wb').write(content[:len(content) // 2])
        assert load_resume_state(opt)['iter'] == 10
    """)
    assert 'Cannot resume from iteration 20' in assert_runs(code, cwd=tmp_path, loaded=True)


@pytest.mark.parametrize(
    'change',
    [
        {'iter': '20'},
        {'epoch': None},
        {'optimizers': []},
        {'optimizers': [1]},
        {'schedulers': 'x'},
        None,
    ],
    ids=str,
)
def test_what_is_readable_and_no_training_state_is_told(tmp_path: Path, change: dict | None):
    state = {'iter': 20, 'epoch': 0, 'optimizers': [{'state': {}, 'param_groups': []}], 'schedulers': [{}]}
    torch.save(state, tmp_path / 'whole.state')
    assert read_state(tmp_path / 'whole.state') == state
    torch.save([1, 2] if change is None else {**state, **change}, tmp_path / '20.state')
    with pytest.raises(RFDNError, match='not the state of a training'):
        read_state(tmp_path / '20.state')


def test_a_state_that_would_run_code_is_refused(tmp_path: Path):
    code = textwrap.dedent(WRITE_STATES) + textwrap.dedent("""
        import pickle
        from rfdn_plugin.training.resume import load_resume_state
        class Hostile:
            def __reduce__(self):
                return os.system, ('touch ../ran',)
        torch.save(Hostile(), f'{root}/training_states/30.state')
        assert load_resume_state(opt)['iter'] == 20
        assert not os.path.exists('../ran')
    """)
    assert_runs(code, cwd=tmp_path, loaded=True)


def test_a_training_that_goes_on_reads_each_file_once(tmp_path: Path, tiny_data: Path, photographs: Path):
    """The checks look for the newest whole checkpoint and at its network; the model loads weights and average from it."""
    entries = {'train:total_iter': 2, 'logger:save_checkpoint_freq': 2, 'val:val_freq': 100, **OURS}
    entries |= {'train:ema_decay': 0.9}
    command = ['train', '-opt', option_file(), '--auto_resume', '--force_yml']
    assert rfdn(*command, *small(tiny_data, photographs, **entries), cwd=tmp_path).returncode == 0
    next(tmp_path.rglob('net_g_latest.pth')).unlink()
    words = [str(word) for word in [*command, *small(tiny_data, photographs, **entries), 'train:total_iter=3']]
    output = assert_runs(
        f"""
        import collections, os, torch
        counts, original = collections.Counter(), torch.load

        def load(file, *arguments, **settings):
            counts[os.path.basename(getattr(file, 'name', file))] += 1
            return original(file, *arguments, **settings)

        torch.load = load
        from rfdn_plugin.cli import main
        assert main({words!r}) == 0
        from rfdn_plugin.weights import pickles
        assert not pickles._readings
        print('READ', dict(counts))
        """,
        cwd=tmp_path,
        loaded=True,
    )
    assert "READ {'2.state': 1, 'net_g_2.pth': 1}" in output
