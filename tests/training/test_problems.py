"""What becomes of a training when its disk is full or its data goes away: one line, whole files, and a way on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from helpers.training import OURS, STOCK, long_run, option_file, rfdn, start, wait_for_iteration

ENDLESS = {'train:scheduler:milestones': '[1000]', 'val:val_freq': 100000}


def states(cwd: Path) -> list[int]:
    """The iterations that can be resumed from: every file that is there is whole."""
    folder = cwd / 'experiments/train_RFDN_x2_scratch'
    assert not list(folder.rglob('*.partial'))
    iterations = sorted(int(path.stem) for path in folder.glob('training_states/*.state'))
    for iteration in iterations:
        assert torch.load(folder / f'training_states/{iteration}.state', weights_only=True)['iter'] == iteration
        assert torch.load(folder / f'models/net_g_{iteration}.pth', weights_only=True)['params']
    return iterations


def last_line(cwd: Path) -> str:
    return (cwd / 'output.log').read_text().splitlines()[-1]


def goes_on(cwd: Path, changes: list[str], iteration: int) -> None:
    entries = [*changes, f'train:total_iter={iteration + 3}', 'datasets:train:num_worker_per_gpu=0']
    outcome = rfdn('train', '-opt', option_file(), '--auto_resume', '--force_yml', *entries, cwd=cwd)
    assert outcome.returncode == 0 and f'iter: {iteration}.' in outcome.stderr, outcome.stderr[-2000:]


def test_a_disk_that_fills_up_stops_the_training_at_its_next_checkpoint(tmp_path, tiny_data, photographs):
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f'a small disk cannot be mounted here: {mounted.stderr.decode().strip()}')
    changes = long_run(tiny_data, photographs, 100000, 1, **OURS, **ENDLESS)
    process = start(disk, changes)
    try:
        assert wait_for_iteration(process, disk, 5)
        with open(disk / 'filler', 'wb', buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(1 << 20))
            except OSError:
                pass
        assert process.wait(120) == 1
        kept = states(disk)
        assert kept and all(iteration % 4 == 0 for iteration in kept[:-1])
        (disk / 'filler').unlink()
        goes_on(disk, changes, kept[-1])
    finally:
        process.kill()
        process.wait()
        subprocess.run(['umount', str(disk)], check=True)


def test_a_write_that_fails_is_one_line_that_says_what_to_do(tmp_path, tiny_data, photographs):
    """A folder that cannot be written to any more, as a quota or a file system that became read-only would make it."""
    changes = long_run(tiny_data, photographs, 100000, 0, **OURS, **ENDLESS)
    process = start(tmp_path, changes)
    assert wait_for_iteration(process, tmp_path, 5)
    folder = tmp_path / 'experiments/train_RFDN_x2_scratch/models'
    kept = tmp_path / 'kept'
    folder.rename(kept)
    folder.write_text('in the way')
    assert process.wait(120) == 1
    line = last_line(tmp_path)
    assert line.startswith('rfdn train: cannot write') and 'net_g_' in line and '--auto_resume' in line
    folder.unlink()
    kept.rename(folder)
    goes_on(tmp_path, changes, states(tmp_path)[-1])


@pytest.fixture
def data(tmp_path: Path, tiny_data: Path) -> Path:
    """A copy of the LMDBs that may be destroyed."""
    return Path(shutil.copytree(tiny_data, tmp_path / 'data'))


def own_data(data: Path) -> dict[str, Path]:
    return {
        'datasets:train:dataroot_gt': data / 'HR_sub.lmdb',
        'datasets:train:dataroot_lq': data / 'LR_bicubic_X2_sub.lmdb',
    }


def test_data_that_is_deleted_stays_readable_to_workers_that_live_on(tmp_path, tiny_data, photographs, data):
    changes = long_run(tiny_data, photographs, 40, 1, **OURS, **own_data(data), **{'val:val_freq': 40})
    process = start(tmp_path, changes)
    assert wait_for_iteration(process, tmp_path, 3)
    shutil.rmtree(data)
    assert process.wait(120) == 0, (tmp_path / 'output.log').read_text()[-2000:]


@pytest.mark.parametrize('workers', [1, 0])
def test_data_that_is_gone_when_it_is_opened_again_saves_and_says_so(tmp_path, tiny_data, photographs, data, workers):
    """BasicSR's dataset opens the LMDB anew in the workers of each epoch; without workers it keeps it open."""
    changes = long_run(tiny_data, photographs, 100000, workers, **STOCK, **own_data(data), **ENDLESS)
    if not workers:
        changes.append('train:total_iter=20')
    process = start(tmp_path, changes)
    assert wait_for_iteration(process, tmp_path, 3)
    moved = data.rename(tmp_path / 'moved')
    code = process.wait(120)
    if not workers:
        assert code == 0
        return
    assert code == 1
    kept = states(tmp_path)
    line = last_line(tmp_path)
    assert line.startswith('rfdn train: ') and str(data) in line and 'does not exist' in line
    assert line.endswith(f'saved iteration {kept[-1]}: --auto_resume goes on from there.')
    moved.rename(data)
    goes_on(tmp_path, changes, kept[-1])


def test_data_that_is_cut_short_kills_a_worker_and_loses_nothing(tmp_path, tiny_data, photographs, data):
    """Reading a mapped file beyond its end is a bus error, which no handler can turn into an exception."""
    changes = long_run(tiny_data, photographs, 100000, 1, **OURS, **own_data(data), **ENDLESS)
    process = start(tmp_path, changes)
    assert wait_for_iteration(process, tmp_path, 5)
    for database in ('HR_sub.lmdb', 'LR_bicubic_X2_sub.lmdb'):
        os.truncate(data / database / 'data.mdb', 8192)
    assert process.wait(120) == 1
    kept = states(tmp_path)
    line = last_line(tmp_path)
    # torch's loader notices the death by its signal or, a moment later, by the missing process.
    assert 'a process that reads the training data ended' in line and ('Bus error' in line or 'unexpectedly' in line)
    # The signal may come in the middle of a step, after which there is nothing whole to save but what was saved.
    assert kept[0] == 4 and ('saved iteration' not in line or f'saved iteration {kept[-1]}' in line)
    shutil.rmtree(data)
    shutil.copytree(tiny_data, data)
    goes_on(tmp_path, changes, kept[-1])


def test_what_cannot_be_fetched_is_a_line():
    import urllib.error

    import torch

    from rfdn_plugin.training.explain import explanation

    line = explanation(urllib.error.URLError('no such host'), {}, 'none', torch.cuda.OutOfMemoryError)
    assert 'train.perceptual_opt' in line and 'no such host' in line and '\n' not in line


@pytest.mark.parametrize('text', ['a.png cannot be decoded: replace it', 'a.png cannot be decoded: replace it.'])
def test_what_happened_and_what_was_saved_are_two_sentences(text: str):
    from rfdn_plugin.training.explain import nothing_lost
    from rfdn_plugin.training.session import Session
    from rfdn_plugin.utils.errors import RFDNError

    session = Session()
    session.rescue = lambda: 6
    with pytest.raises(RFDNError) as caught, nothing_lost(session, {}, 'none'):
        raise RFDNError(text)
    assert str(caught.value).startswith('a.png cannot be decoded: replace it. saved iteration 6: --auto_resume')


def test_what_a_worker_failed_with_is_told_instead_of_where_it_was_caught():
    """As torch passes it on: the traceback as the text of an error of the same type, or of another."""
    from torch._utils import ExceptionWrapper

    from rfdn_plugin.training.explain import explanation
    from rfdn_plugin.utils.errors import RFDNError

    def passed_on(error: Exception) -> Exception:
        try:
            raise error
        except Exception:
            wrapper = ExceptionWrapper(where='in DataLoader worker process 0')
        try:
            wrapper.reraise()
        except Exception as again:
            return again

    for error, words in (
        (RuntimeError('stack expects each tensor to be equal size'), 'RuntimeError: stack expects each tensor'),
        (ValueError('Scale mismatches.'), 'ValueError: Scale mismatches'),
        (KeyError('gt'), "KeyError: 'gt'"),
        (RFDNError('x.png cannot be decoded: see rfdn verify'), 'x.png cannot be decoded: see rfdn verify'),
    ):
        line = explanation(passed_on(error), {}, 'none', torch.cuda.OutOfMemoryError)
        assert words in line and '\n' not in line and 'Caught' not in line and 'Traceback' not in line, line
