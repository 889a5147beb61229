#!/usr/bin/env python3
"""Training iterations per second: BasicSR as released against ours, on one option file, paired in one run.

BasicSR's side is its SRModel, its PairedImageDataset on a PNG LMDB and its loader. Ours is RFDNModel with
FastPairedImageDataset on a BMP LMDB of the same images, and what `--ours` turns on. Both have the same weights at the
start and draw the same patches in the same order (as long as `--ours` sets no `sample_seed`), so their losses are
compared as well. They take turns in blocks of some iterations; the workers of the one that waits are stopped. For each
block: iterations per second, and milliseconds an iteration waited for its data.

    python scripts/bench/train.py --photos DIR [--opt FILE] [--force_yml KEY=VALUE ...] [--ours KEY=VALUE ...]
    python scripts/bench/train.py --photos DIR --ours train:channels_last=true train:optim_g:fused=true
    python scripts/bench/train.py --photos DIR --profile       # which share of a step is not convolution

The images are DIV2K-sized mosaics of the photographs, prepared by `rfdn prepare`. With `--out FOLDER` the blocks are
written as CSV, in a file that is named after device, threads, versions and settings.
"""

from __future__ import annotations

import argparse
import copy
import csv
import multiprocessing
import os
import random
import re
import signal
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import prepare as prepare_bench
import torch

import rfdn_plugin  # noqa: F401  (lets basicsr be imported)
from rfdn_plugin.data.prepare import PrepareSpec, prepare
from rfdn_plugin.options.load import load_training_options
from rfdn_plugin.utils.files import atomic_write
from rfdn_plugin.utils.machine import processor_name

REPOSITORY = Path(__file__).resolve().parents[2]
STOCK = ['model_type=SRModel', 'logger:keep_checkpoints=~', 'logger:save_best=~']
STOCK += ['datasets:train:type=PairedImageDataset', 'datasets:train:sample_seed=~']
ENDLESS = ['train:total_iter=1000000', 'train:scheduler={type: MultiStepLR, milestones: [1000000], gamma: 0.5}']
OURS = ['datasets:train:type=FastPairedImageDataset', 'datasets:train:sample_seed=~']


class Side:
    """One of the two trainings, as BasicSR's `train_pipeline` runs it, iteration by iteration.

    Args:
        name: 'stock' or 'ours'.
        options: From the option file.
    """

    def __init__(self, name: str, options: dict) -> None:
        from basicsr.data import build_dataloader, build_dataset
        from basicsr.data.data_sampler import EnlargedSampler
        from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher
        from basicsr.models import build_model

        from rfdn_plugin.data.training.dataset import EpochSampler
        from rfdn_plugin.training.hooks import without_pauses

        on_gpu = torch.cuda.is_available()
        self.name, self.options = name, copy.deepcopy(options)
        self.options |= {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'num_gpu': int(on_gpu)}
        data = {**options['datasets']['train'], 'phase': 'train', 'scale': options['scale']}
        before = {process.pid for process in multiprocessing.active_children()}
        dataset = build_dataset(data)
        sampler_class = EnlargedSampler if name == 'stock' else EpochSampler
        sampler = sampler_class(dataset, 1, 0, data.get('dataset_enlarge_ratio', 1))
        loader = build_dataloader(dataset, data, num_gpu=int(on_gpu), sampler=sampler, seed=0)
        if name == 'ours':
            loader = without_pauses(loader, sampler, self.options)
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        self.model = build_model(self.options)
        sampler.set_epoch(0)
        cuda = data.get('prefetch_mode') == 'cuda'
        self.prefetcher = CUDAPrefetcher(loader, self.options) if cuda else CPUPrefetcher(loader)
        self.prefetcher.reset()
        self.prefetcher.next()  # the workers are there now
        self.workers = [p.pid for p in multiprocessing.active_children() if p.pid not in before]
        self.iteration, self.losses = 0, []

    def block(self, iterations: int) -> tuple[float, float]:
        """Iterations per second, and seconds an iteration waited for its data."""
        self._signal(signal.SIGCONT)
        of_block: list[float] = []
        waited, start = 0.0, time.perf_counter()
        for _ in range(iterations):
            asked = time.perf_counter()
            data = self.prefetcher.next()
            waited += time.perf_counter() - asked
            self.step(data)
            if self.name == 'stock':  # which knows the last loss alone, and has read it already
                of_block.append(self.model.get_current_log()['l_pix'])
        self.losses.append(statistics.fmean(of_block) if of_block else self.model.get_current_log()['l_pix'])
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        self._signal(signal.SIGSTOP)
        return iterations / seconds, waited / iterations

    def step(self, data: dict) -> None:
        self.iteration += 1
        self.model.update_learning_rate(self.iteration, warmup_iter=-1)
        self.model.feed_data(data)
        self.model.optimize_parameters(self.iteration)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self.workers:
            os.kill(worker, number)

    def close(self) -> None:
        self._signal(signal.SIGCONT)


def make_data(photos: Path, folder: Path, images: int, scale: int) -> None:
    """PNG and BMP LMDBs of the same sub-images."""
    prepare_bench.make_mosaics(photos, folder / 'HR', images)
    for encoding in ('png', 'bmp'):
        prepare(PrepareSpec(hr=(folder / 'HR',), out=folder / encoding, scales=(scale,), encoding=encoding, workers=2))


def options_of(side: str, args: argparse.Namespace, folder: Path) -> dict:
    scale = load_training_options(args.opt)['scale']
    encoding = 'png' if side == 'stock' else 'bmp'
    entries = [f'datasets:train:dataroot_gt={folder / encoding}/HR_sub.lmdb']
    entries += [f'datasets:train:dataroot_lq={folder / encoding}/LR_bicubic_X{scale}_sub.lmdb']
    entries += ['datasets:train:num_worker_per_gpu=1', 'path:pretrain_network_g=~', *ENDLESS, *args.force_yml]
    entries += STOCK if side == 'stock' else [*OURS, *args.ours]
    options = load_training_options(args.opt, entries)
    options['path'] |= {'models': str(folder), 'training_states': str(folder)}
    return options


def compare(args: argparse.Namespace, folder: Path) -> list[dict]:
    """A row for each block of each side, and the summary printed."""
    sides = [Side(name, options_of(name, args, folder)) for name in ('stock', 'ours')]
    for side in sides:
        side.block(args.warm_up)
    rows = []
    for number in range(args.blocks):
        for side in sides if number % 2 == 0 else reversed(sides):
            speed, waited = side.block(args.iterations)
            rows.append(
                {'block': number, 'side': side.name, 'iterations_per_second': speed, 'data_wait_ms': waited * 1e3}
            )
    for side in sides:
        side.close()
    stock, ours = ([row for row in rows if row['side'] == side.name] for side in sides)
    for side, values in zip(sides, (stock, ours), strict=True):
        print(
            f'{side.name:5} {_spread(values, "iterations_per_second")} it/s, {_spread(values, "data_wait_ms")} ms data wait'
        )
    stock, ours = (sorted(values, key=lambda row: row['block']) for values in (stock, ours))
    for key, better in (('iterations_per_second', 'faster'), ('data_wait_ms', 'less data wait')):
        ratios = [b[key] / a[key] if better == 'faster' else a[key] / b[key] for a, b in zip(stock, ours, strict=True)]
        print(f'ours: {statistics.median(ratios):.2f} x {better} ({min(ratios):.2f} to {max(ratios):.2f})')
    first, second = (np.array(side.losses) for side in sides)
    differences = np.abs(second / first - 1)
    print(
        f'mean losses differ by {differences[0]:.1e} in the first block, {differences.max():.1e} at most, as rounding grows'
    )
    return rows


def _spread(rows: list[dict], key: str) -> str:
    values = [row[key] for row in rows]
    return f'{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})'


def profile(args: argparse.Namespace, folder: Path) -> None:
    """The share of a step's own time that is spent outside convolutions, for both sides."""
    from torch.profiler import ProfilerActivity, profile

    for name in ('stock', 'ours'):
        side = Side(name, options_of(name, args, folder))
        batches = [side.prefetcher.next() for _ in range(args.warm_up + args.iterations)]
        side._signal(signal.SIGSTOP)
        for data in batches[: args.warm_up]:
            side.step(data)
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
        with profile(activities=activities) as measured:
            start = time.perf_counter()
            for data in batches[args.warm_up :]:
                side.step(data)
            wall = time.perf_counter() - start
        side.close()
        on_gpu = torch.cuda.is_available()
        times = {
            e.key: (e.self_device_time_total if on_gpu else e.self_cpu_time_total) for e in measured.key_averages()
        }
        total = sum(times.values())
        convolutions = sum(value for key, value in times.items() if re.search(r'conv(?!ert)', key, re.IGNORECASE))
        rest = sorted(((key, value) for key, value in times.items() if 'conv' not in key.lower()), key=lambda e: -e[1])
        print(f'{name}: {wall / args.iterations * 1e3:.0f} ms a step, {1 - convolutions / total:.1%} not convolution:')
        print('   ' + ', '.join(f'{key} {value / total:.1%}' for key, value in rest[:8]))


def file_name(args: argparse.Namespace) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f'cpu-{processor_name()}'
    words = ['train', Path(args.opt).stem.removeprefix('train_'), device]
    words += [] if torch.cuda.is_available() else [f'{torch.get_num_threads()}threads']
    words += [
        f'pt{torch.__version__.split("+")[0]}',
        *(entry.rpartition(':')[2] for entry in (*args.force_yml, *args.ours)),
    ]
    return re.sub(r'[^\w.=-]+', '-', '-'.join(words)) + '.csv'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', type=Path, required=True, help='folder of photographs to make the images from')
    parser.add_argument('--images', type=int, default=10)
    parser.add_argument('--opt', default=str(REPOSITORY / 'options/train/RFDN/train_RFDN_x2_scratch.yml'))
    parser.add_argument('--force_yml', nargs='+', default=[], metavar='KEY=VALUE', help='for both sides')
    parser.add_argument('--ours', nargs='+', default=[], metavar='KEY=VALUE', help='for ours alone')
    parser.add_argument('--warm-up', type=int, default=3)
    parser.add_argument('--iterations', type=int, default=10, help='of a block')
    parser.add_argument('--blocks', type=int, default=7)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--profile', action='store_true')
    parser.add_argument('--out', type=Path, help='folder for the CSV')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(args.photos, folder, args.images, load_training_options(args.opt)['scale'])
        if args.profile:
            profile(args, folder)
            return
        rows = compare(args, folder)
    if args.out is not None:
        target = args.out / file_name(args)
        with atomic_write(target, 'w') as stream:
            table = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator='\n')
            table.writeheader()
            table.writerows(rows)
        print(target)


if __name__ == '__main__':
    main()
