"""Signals to a training: the first asks, the second changes nothing, the third kills; nobody's work is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import REPOSITORY
from helpers.processes import run_code
from helpers.training import OURS, long_run, option_file, rfdn, start, wait_for_iteration, weights

from rfdn_plugin.training.signals import StopSignals

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
NO_CHECKPOINTS = {'logger:save_checkpoint_freq': 100000, 'val:val_freq': 100000}


def states(cwd: Path) -> list[int]:
    return sorted(int(path.stem) for path in cwd.glob('experiments/*/training_states/*.state'))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ('number', 'times'),
    [
        (signal.SIGTERM, 2),
        (signal.SIGINT, 1),
        (signal.SIGHUP, 2),
        pytest.param(signal.SIGTERM, 1, marks=SLOW),
        pytest.param(signal.SIGINT, 2, marks=SLOW),
        pytest.param(signal.SIGHUP, 1, marks=SLOW),
    ],
)
def test_a_signal_to_the_group_saves_and_leaves_with_its_own_code(number, times, tmp_path, tiny_data, photographs):
    """Once or twice; to the workers too, as a terminal and SLURM do."""
    process = start(tmp_path, long_run(tiny_data, photographs, 100000, 1, **OURS, **NO_CHECKPOINTS))
    assert wait_for_iteration(process, tmp_path, 3)
    asked = time.monotonic()
    for _ in range(times):
        os.killpg(process.pid, number)
        time.sleep(0.01)  # within the same iteration, or the one that is saved
    assert process.wait(120) == 75
    assert time.monotonic() - asked < 40  # nobody waits for a worker that waits for us
    log = (tmp_path / 'output.log').read_text()
    assert f'{number.name}: saved iteration' in log and 'Traceback' not in log
    assert log.count(f'{number.name}: ends after this iteration') == 1  # by no worker
    assert len(states(tmp_path)) == 1 and states(tmp_path)[0] >= 3


HANGING = """
    import os, signal, time, torch
    from rfdn_plugin.training.signals import StopSignals

    signals = StopSignals()
    signals.catch(launched=False)
    for number in ({first}, {second}):
        os.kill(os.getpid(), number)
        time.sleep(0.05)
    assert signals.stop_requested(torch.device('cpu'), 1, together=False) == signal.Signals({first}).name
    print('alive', flush=True)
    os.kill(os.getpid(), {third})
    time.sleep(5)
"""


@pytest.mark.parametrize('third', SIGNALS, ids=lambda number: number.name)
def test_the_third_one_kills_what_hangs(third):
    others = [number for number in SIGNALS if number != third]
    program = HANGING.format(first=int(others[0]), second=int(others[1]), third=int(third))
    outcome = run_code(program, loaded=True)
    assert outcome.returncode == -third and 'alive' in outcome.stdout
    assert (
        outcome.stderr.count(f'{others[0].name}: ends after this iteration') == 1
    )  # said at once: a step may take minutes


def test_the_copies_that_torchrun_passes_on_are_not_counted():
    """SLURM signals all processes, torchrun passes its own on, and SLURM does it again: four signals, two requests."""
    code = """
        import os, signal, time
        from rfdn_plugin.training.signals import StopSignals

        StopSignals.BURST_SECONDS = 0.3
        signals = StopSignals()
        signals.catch(launched=True)
        for _ in range(2):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.02)
            time.sleep(0.4)
        print('alive', flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    """
    outcome = run_code(code, env={'TORCHELASTIC_RUN_ID': 'none'}, loaded=True)
    assert outcome.returncode == -signal.SIGTERM and 'alive' in outcome.stdout


@pytest.mark.parametrize('launched', [False, True])
def test_what_nohup_ignores_stays_ignored_unless_torchrun_would_pass_it_on(launched):
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        StopSignals().catch(launched)
        assert (signal.getsignal(signal.SIGHUP) is signal.SIG_IGN) != launched
        assert callable(signal.getsignal(signal.SIGTERM))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@SLOW
def test_a_training_under_nohup_survives_the_terminal(tmp_path, tiny_data, photographs):
    command = [sys.executable, '-m', 'rfdn_plugin', 'train', '-opt', str(option_file()), '--force_yml']
    command += long_run(tiny_data, photographs, 100000, 1, **OURS, **NO_CHECKPOINTS)
    with open(tmp_path / 'output.log', 'a') as log:
        process = subprocess.Popen(
            ['nohup', *command],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1'},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    assert wait_for_iteration(process, tmp_path, 2)
    os.killpg(process.pid, signal.SIGHUP)
    done = (tmp_path / 'output.log').read_text().count('l_pix')
    assert wait_for_iteration(process, tmp_path, done + 5)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(120) == 75 and len(states(tmp_path)) == 1


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except FileNotFoundError:
        return False


def test_workers_end_with_a_training_that_is_killed(tmp_path, tiny_data, photographs):
    process = start(tmp_path, long_run(tiny_data, photographs, 100000, 2, **OURS, **NO_CHECKPOINTS))
    assert wait_for_iteration(process, tmp_path, 2)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 3  # less than the time after which torch's own watchdog looks
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_signal_during_a_validation_saves_at_once_and_it_is_made_up_for(tmp_path, tiny_data, photographs):
    """The validation would take longer than anybody waits: it is left at its next image."""
    changes = long_run(tiny_data, photographs, 6, 0, **OURS, **{**NO_CHECKPOINTS, 'val:val_freq': 3})
    words = ['train', '-opt', str(option_file()), '--auto_resume', '--force_yml', *changes]
    program = f"""
        import os, signal, sys
        from rfdn_plugin.cli import main
        from rfdn_plugin.models.rfdn_model import RFDNModel

        original, images = RFDNModel.test, []

        def test(self):
            images.append(self.iteration)
            if len(images) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            assert len(images) < 3, 'a third image'
            original(self)

        RFDNModel.test = test
        sys.exit(main({words!r}))
    """
    outcome = run_code(program, cwd=tmp_path, loaded=True)
    assert outcome.returncode == 75, outcome.stderr[-2000:]
    assert states(tmp_path) == [3] and 'SIGTERM: saved iteration 3' in outcome.stderr
    assert 'Validation Set5' not in outcome.stderr
    again = rfdn(*words, cwd=tmp_path)
    assert again.returncode == 0 and again.stderr.count('Validation Set5') == 2  # of iterations 3 and 6


@pytest.mark.parametrize('gone', ['a pipe', 'a terminal'])
def test_a_training_goes_on_when_nobody_reads_its_output(gone, tmp_path, tiny_data, photographs):
    """`nohup rfdn train ... | tee log` whose tee the terminal took along; `setsid rfdn train ...` whose terminal is closed."""
    changes = long_run(tiny_data, photographs, 6, 0, **OURS, **{'val:val_freq': 3, 'val:pbar': True})
    words = ['train', '-opt', str(option_file()), '--force_yml', *changes]
    program = f"""
        import os, sys
        from rfdn_plugin.cli import main

        read, write = os.pipe() if {gone == 'a pipe'} else os.openpty()
        os.dup2(write, 1), os.dup2(write, 2)
        os.close(read), os.close(write)
        code = main({words!r})
        sys.stdout.flush()  # as the interpreter does
        sys.exit(code)
    """
    outcome = run_code(program, cwd=tmp_path, loaded=True)
    assert outcome.returncode == 0, [path.read_text()[-2000:] for path in tmp_path.rglob('*.log')]
    assert weights(tmp_path)['metadata']['iterations'] == '6'
