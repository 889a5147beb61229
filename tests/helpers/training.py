"""Runs of seconds from the shipped option files, in processes of their own."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import torch

from helpers import REPOSITORY
from helpers.processes import Outcome, Running, run_code

TRAIN = 'options/train/RFDN/train_RFDN_x{scale}_{kind}.yml'


def small(tiny_data: Path, photographs: Path, scale: int = 2, **changes: object) -> list[str]:
    """`--force_yml` entries that make a shipped option file a run of seconds on the photographs."""
    entries = {
        'num_gpu': 0,
        'network_g:num_feat': 12,
        'network_g:num_block': 2,
        'datasets:train:dataroot_gt': tiny_data / 'HR_sub.lmdb',
        'datasets:train:dataroot_lq': tiny_data / f'LR_bicubic_X{scale}_sub.lmdb',
        'datasets:train:gt_size': 12 * scale,
        'datasets:train:batch_size_per_gpu': 4,
        'datasets:train:num_worker_per_gpu': 0,
        'datasets:val:dataroot_gt': tiny_data / 'HR_sub.lmdb',
        'datasets:val:dataroot_lq': tiny_data / f'LR_bicubic_X{scale}_sub.lmdb',
        'datasets:val:io_backend:type': 'lmdb',
        'datasets:val:filename_tmpl': "'{}'",
        'train:total_iter': 10,
        'val:val_freq': 10,
        'logger:print_freq': 1,
        'logger:save_checkpoint_freq': 5,
        **changes,
    }
    return [f'{key}={value}' for key, value in entries.items()]


def command(*arguments: object) -> str:
    """Code that runs the command in a process forked from the loaded server."""
    return f"""
        import sys
        from rfdn_plugin.cli import main
        sys.argv = ['rfdn', *{[str(argument) for argument in arguments]!r}]
        sys.exit(main())
    """


def rfdn(*arguments: object, cwd: Path, timeout: float = 300) -> Outcome:
    """Run the command in a process of its own, below `cwd`."""
    return run_code(command(*arguments), cwd=cwd, timeout=timeout, loaded=True)


def without_notes(printed: str) -> str:
    """What was printed, without the lines that tell of settings with no effect, as milestones after the last iteration."""
    return ''.join(line for line in printed.splitlines(keepends=True) if ': note: ' not in line)


def option_file(scale: int = 2) -> Path:
    return REPOSITORY / TRAIN.format(scale=scale, kind='scratch' if scale == 2 else 'finetune')


def weights(root: Path, name: str = 'train_RFDN_x2_scratch', file: str = 'net_g_latest.pth') -> dict:
    return torch.load(root / 'experiments' / name / 'models' / file, weights_only=True)


def assert_equal(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for key in first.keys() - {'metadata'}:
        for name, tensor in first[key].items():
            assert torch.equal(tensor, second[key][name]), f'{key}.{name}'


OURS = {'datasets:train:sample_seed': 7}


STOCK = {'datasets:train:type': 'PairedImageDataset', 'datasets:train:sample_seed': '~'}


def long_run(tiny_data: Path, photographs: Path, iterations: int, workers: int, **changes: object) -> list[str]:
    """Epochs of 9 iterations, a checkpoint every 4th, validation in the middle and at the end."""
    entries = {
        'datasets:train:num_worker_per_gpu': workers,
        'datasets:train:dataset_enlarge_ratio': 4,
        'train:total_iter': iterations,
        'train:scheduler:milestones': f'[{iterations // 2}]',
        'val:val_freq': iterations // 2,
        'logger:save_checkpoint_freq': 4,
        'logger:print_freq': 1,
    }
    return small(tiny_data, photographs, **{**entries, **changes})


def start(cwd: Path, changes: list[str], *flags: str) -> Running:
    """`rfdn train` as a process that can be killed; it writes to `output.log`."""
    code = command('train', '-opt', option_file(), *flags, '--force_yml', *changes)
    return Running(code, cwd, cwd / 'output.log')


def wait_for_iteration(process: Running | subprocess.Popen, cwd: Path, iteration: int) -> bool:
    """Whether the run logged that iteration before it ended by itself."""
    deadline = time.monotonic() + 300
    while process.poll() is None:
        assert time.monotonic() < deadline, (cwd / 'output.log').read_text()[-2000:]
        if f'iter:{iteration:8,d}' in (cwd / 'output.log').read_text():
            return True
        time.sleep(0.02)
    return False
