"""One training in several processes: the numbers of one, and what happens when one of them dies."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from helpers import REPOSITORY
from helpers.processes import Outcome, run_code
from helpers.training import OURS, long_run, option_file, wait_for_iteration, weights

BATCH = 4


class Training:
    """`rfdn train` in several processes, as torchrun would start them; each writes to a file of its own."""

    def __init__(self, cwd: Path, changes: list[str], processes: int, *flags: str) -> None:
        cwd.mkdir(exist_ok=True)
        self.cwd, self.processes = cwd, processes
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        launcher = ['--launcher', 'pytorch'] if processes > 1 else []
        words = ['rfdn', 'train', '-opt', str(option_file()), *launcher, *flags, '--force_yml', *changes]
        pool = ThreadPoolExecutor(processes)
        self._running: list[Future[Outcome]] = []
        for rank in range(processes):
            self._output(rank).write_text('')
            code = f"""
                import os, sys
                log = os.open({str(self._output(rank))!r}, os.O_WRONLY | os.O_APPEND)
                os.dup2(log, 1), os.dup2(log, 2)
                print('PID', os.getpid(), flush=True)
                sys.argv = {words!r}
                from rfdn_plugin.cli import main
                sys.exit(main())
            """
            env = {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': str(processes)}
            env |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
            self._running.append(pool.submit(run_code, code, cwd=cwd, env=env, loaded=True))
        pool.shutdown(wait=False)

    def _output(self, rank: int) -> Path:
        return self.cwd / f'output_{rank}.log'

    def output(self, rank: int = 0) -> str:
        return self._output(rank).read_text()

    def codes(self) -> list[int]:
        """Wait for all of them."""
        return [future.result().returncode for future in self._running]

    def wait_for(self, iteration: int) -> None:
        deadline = time.monotonic() + 200
        while f'iter:{iteration:8,d}' not in self.output():
            assert time.monotonic() < deadline and not self._running[0].done(), self.output()[-3000:]
            time.sleep(0.02)

    def kill(self, rank: int, number: signal.Signals) -> None:
        os.kill(int(re.search(r'PID (\d+)', self.output(rank))[1]), number)


def run(cwd: Path, changes: list[str], processes: int, *flags: str) -> str:
    """The output of a training that ends well."""
    training = Training(cwd, changes, processes, *flags)
    assert training.codes() == [0] * processes, training.output()[-3000:] + training.output(processes - 1)[-1000:]
    return training.output()


def settings(tiny_data: Path, photographs: Path, processes: int, **changes: object) -> list[str]:
    """20 iterations over 9 images, in epochs whose samples two processes cannot share evenly."""
    entries = {
        'datasets:train:dataset_enlarge_ratio': 3,
        'datasets:train:batch_size_per_gpu': BATCH // processes,
        'logger:save_checkpoint_freq': 10,
        'train:ema_decay': 0.9,
        **OURS,
    }
    return long_run(tiny_data, photographs, 20, 0, **{**entries, **changes})


def losses(output: str) -> list[float]:
    return [float(value) for value in re.findall(r'l_pix: (\S+)', output)]


def validated(output: str) -> list[str]:
    return re.findall(r'# (\w+: \d+\.\d+)', output)


@pytest.fixture(scope='module')
def alone(tmp_path_factory, tiny_data: Path, photographs: Path) -> tuple[Path, str]:
    """The folder and output of one process with the whole batch."""
    folder = tmp_path_factory.mktemp('alone')
    return folder, run(folder, settings(tiny_data, photographs, 1), 1)


def test_two_processes_have_the_losses_and_the_validation_of_one(tmp_path, tiny_data, photographs, alone):
    folder, expected = alone
    output = run(tmp_path, settings(tiny_data, photographs, 2), 2)
    assert len(losses(output)) == 20
    assert losses(output) == pytest.approx(losses(expected), rel=0, abs=1e-5)
    assert validated(output) == validated(expected) and len(validated(output)) == 4
    first, second = weights(folder), weights(tmp_path)
    for key in ('params', 'params_ema'):
        for name, tensor in first[key].items():
            torch.testing.assert_close(second[key][name], tensor, rtol=0, atol=2e-4, msg=f'{key}.{name}')


def test_a_training_goes_on_in_another_number_of_processes(tmp_path, tiny_data, photographs, alone):
    """10 iterations in one process, the rest in two of half the batch."""
    run(tmp_path, [*settings(tiny_data, photographs, 1), 'train:total_iter=10'], 1)
    (tmp_path / 'experiments/train_RFDN_x2_scratch/models/net_g_latest.pth').unlink()
    output = run(tmp_path, settings(tiny_data, photographs, 2), 2, '--auto_resume')
    assert 'iter: 10' in output
    assert losses(output)[-10:] == pytest.approx(losses(alone[1])[-10:], rel=0, abs=1e-5)


def test_the_numbers_of_a_validation_do_not_depend_on_the_processes(tmp_path, tiny_data):
    """To the last bit: nine images over two processes, five and four."""
    code = f"""
        import json, os, torch
        import rfdn_plugin
        from basicsr.data import build_dataloader, build_dataset
        from basicsr.models import build_model
        from basicsr.utils.dist_util import get_dist_info, init_dist
        if os.environ['WORLD_SIZE'] == '2':
            init_dist('pytorch')
        rank, world_size = get_dist_info()
        torch.manual_seed(0)
        metrics = {{n: {{'type': f'calculate_{{n}}', 'crop_border': 2, 'test_y_channel': True}} for n in ('psnr', 'ssim')}}
        opt = {{
            'name': 'test', 'model_type': 'RFDNModel', 'num_gpu': 0, 'is_train': False, 'dist': world_size > 1,
            'rank': rank, 'world_size': world_size, 'scale': 2, 'path': {{}}, 'val': {{'metrics': metrics}},
            'network_g': {{'type': 'RFDN', 'upscale': 2, 'num_feat': 12, 'num_block': 1}},
        }}
        data = {{
            'name': 'photographs', 'type': 'PairedImageDataset', 'scale': 2, 'io_backend': {{'type': 'lmdb'}},
            'dataroot_gt': {str(tiny_data / 'HR_sub.lmdb')!r}, 'phase': 'val',
            'dataroot_lq': {str(tiny_data / 'LR_bicubic_X2_sub.lmdb')!r},
        }}
        model = build_model(opt)
        model.validation(build_dataloader(build_dataset(data), data), 5, None)
        print('RESULT', json.dumps(model.metric_results), flush=True)
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        place = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free.getsockname()[1])}
    with ThreadPoolExecutor(3) as pool:
        ranks = [('0', '1'), ('0', '2'), ('1', '2')]
        outcomes = pool.map(
            lambda rank: run_code(code, env={'RANK': rank[0], 'WORLD_SIZE': rank[1], **place}, loaded=True), ranks
        )
    results = [re.findall(r'RESULT (.*)', outcome.stdout) for outcome in outcomes]
    assert len(results[0]) == 1 and results[0] == results[1] == results[2]


@pytest.mark.parametrize('rank', [0, 1])
def test_one_process_killed_ends_the_training_which_goes_on_later(tmp_path, tiny_data, photographs, rank):
    changes = settings(tiny_data, photographs, 2)
    training = Training(tmp_path, [*changes, 'train:total_iter=100000'], 2)
    training.wait_for(12)
    training.kill(rank, signal.SIGKILL)
    codes = training.codes()
    assert codes[rank] == -signal.SIGKILL and codes[1 - rank] == 1
    assert 'another process of this training has ended' in training.output(1 - rank).splitlines()[-1]
    experiment = tmp_path / 'experiments/train_RFDN_x2_scratch'
    states = sorted(int(path.stem) for path in (experiment / 'training_states').iterdir())
    assert states[0] == 10 and not list(experiment.rglob('*.partial'))
    if rank == 1:  # the process that saves lived on: it kept what was trained since
        assert states[-1] >= 12 and f'saved iteration {states[-1]}' in training.output()
    last = states[-1]
    run(tmp_path, [*changes, f'train:total_iter={last + 4}'], 2, '--auto_resume')
    assert weights(tmp_path)['metadata']['iterations'] == str(last + 4)


@pytest.mark.parametrize('times', [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_signal_to_all_processes_at_once_saves(tmp_path, tiny_data, photographs, times):
    """As SLURM ends a job, and does it again."""
    training = Training(tmp_path, [*settings(tiny_data, photographs, 2), 'train:total_iter=100000'], 2)
    training.wait_for(3)
    for _ in range(times):
        for rank in range(2):
            training.kill(rank, signal.SIGTERM)
        time.sleep(0.01)
    assert training.codes() == [75, 75]
    assert 'SIGTERM: saved iteration' in training.output() and 'Traceback' not in training.output()
    assert list(tmp_path.glob('experiments/*/training_states/*.state'))


def torchrun(*changes: str) -> tuple[list[str], dict[str, str]]:
    """The words and the environment of two processes by the script that the README names."""
    words = [str(REPOSITORY / 'scripts/dist_train.sh'), '2', str(option_file()), '--force_yml', *changes]
    env = {**os.environ, 'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    return words, {**env, 'PYTHON': sys.executable}


@pytest.mark.parametrize('number', [signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_torchrun_trains_and_validates_without_a_gpu_and_a_signal_to_it_and_its_processes_saves(
    tmp_path, tiny_data, photographs, number
):
    """Twice, to the whole group, and torchrun passes on what it gets; under nohup, which torchrun does not heed."""
    changes = settings(tiny_data, photographs, 2, **{'datasets:train:num_worker_per_gpu': 1, 'val:val_freq': 2})
    words, env = torchrun(*changes, 'train:total_iter=100000', 'logger:save_checkpoint_freq=100000')
    with open(tmp_path / 'output.log', 'a') as log:
        process = subprocess.Popen(
            ['nohup', *words], cwd=tmp_path, env=env, stdout=log, stderr=log, start_new_session=True
        )
    assert wait_for_iteration(process, tmp_path, 3)
    for _ in range(2):
        os.killpg(process.pid, number)
        time.sleep(0.01)
    process.wait(120)
    output = (tmp_path / 'output.log').read_text()
    assert 'DistributedDataParallel' in output and 'Validation Set5' in output
    assert 'saved iteration' in output, output[-3000:]
    assert list(tmp_path.glob('experiments/*/training_states/*.state'))
    assert set(weights(tmp_path, file='net_g_best.pth')) == {'params', 'params_ema', 'metadata'}


@pytest.mark.slow
def test_torchrun_ends_well(tmp_path, tiny_data, photographs):
    words, env = torchrun(*settings(tiny_data, photographs, 2))
    result = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stderr[-3000:]
    assert weights(tmp_path)['metadata']['iterations'] == '20'


def test_a_signal_to_one_process_makes_all_save_and_leave(tmp_path, tiny_data, photographs):
    """SLURM signals every process, but not at one moment: they leave after the same iteration."""
    training = Training(tmp_path, [*settings(tiny_data, photographs, 2), 'train:total_iter=100000'], 2)
    training.wait_for(3)
    training.kill(1, signal.SIGTERM)
    assert training.codes() == [75, 75]
    assert 'SIGTERM: saved iteration' in training.output() and 'Traceback' not in training.output()
    assert list(tmp_path.glob('experiments/*/training_states/*.state'))
