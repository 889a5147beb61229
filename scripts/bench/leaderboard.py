"""BasicSR's validation loop against the leaderboard's, on the same set: equal numbers, and how much faster.

Two workloads: the metrics alone (a network that costs nothing, so that PSNR-Y, SSIM-Y and PSNR-RGB are the work), and a
real network. BasicSR's loop runs with as many threads as there are workers; rounds alternate, so that a busy machine slows
both alike. Prints the ratio of each round, their median and spread.

    python scripts/bench/leaderboard.py --hr DIR --lr DIR --scale 4 [--weights FILE [--type T]] [--workers 2] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import rfdn_plugin  # noqa: F401
from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.leaderboard.measure.cache import Cache
from rfdn_plugin.leaderboard.measure.entries import Entry, resolve
from rfdn_plugin.leaderboard.measure.evaluate import Plan, evaluate, limit_threads, open_pool
from rfdn_plugin.leaderboard.measure.sets import TestSet, open_set
from rfdn_plugin.leaderboard.options import NetworkEntry, SetOptions


class Repeat(nn.Module):
    """Repeats each pixel: the cheapest network there is, so that a loop's own work shows."""

    def __init__(self, upscale: int = 4, **_: Any) -> None:
        super().__init__()
        self.upscale = upscale
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.upscale, -1).repeat_interleave(self.upscale, -2)


class RepeatEntry(Entry):
    def network(self) -> nn.Module:
        return Repeat(self.scale).eval()


def basicsr_loop(test_set: TestSet, network: nn.Module, threads: int) -> tuple[float, dict[str, float]]:
    """Seconds and means of BasicSR's own validation."""
    from basicsr.data import build_dataloader, build_dataset

    from rfdn_plugin.models.rfdn_model import RFDNModel

    limit_threads(threads)
    luma = {'crop_border': test_set.scale, 'test_y_channel': True}
    metrics = {
        'psnr_y': {'type': 'calculate_psnr', **luma},
        'ssim_y': {'type': 'calculate_ssim', **luma},
        'psnr_rgb': {'type': 'calculate_psnr', 'crop_border': test_set.scale},
    }
    small = {'type': 'RFDN', 'upscale': test_set.scale, 'num_feat': 8, 'num_block': 1}
    options = {'name': 'bench', 'num_gpu': 0, 'is_train': False, 'dist': False, 'rank': 0, 'scale': test_set.scale}
    with contextlib.redirect_stdout(io.StringIO()):
        model = RFDNModel({**options, 'network_g': small, 'path': {}, 'val': {'metrics': metrics}})
    model.net_g = network
    loader = build_dataloader(
        build_dataset(test_set.dataset_options()), {'phase': 'val'}, num_gpu=0, dist=False, sampler=None, seed=0
    )
    started = time.perf_counter()
    model.validation(loader, current_iter=0, tb_logger=None, save_img=False)
    return time.perf_counter() - started, dict(model.metric_results)


def our_loop(test_set: TestSet, entry: Entry, workers: int) -> tuple[float, dict[str, float]]:
    """Seconds and means of the leaderboard's, starting its processes included."""
    plan = Plan({entry.label: entry}, {(test_set.name, test_set.scale): test_set}, {}, 'cpu')
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with open_pool(plan, workers) as pool:
            result = evaluate(plan, pool, Cache(folder))
        seconds = time.perf_counter() - started
    if result.failures:
        raise SystemExit(f'the entry failed: {result.failures}')
    scores = list(result.scores[entry.label, test_set.name].values())
    return seconds, {metric: statistics.fmean(score[metric] for score in scores) for metric in scores[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--hr', required=True)
    parser.add_argument('--lr', required=True)
    parser.add_argument('--scale', type=int, required=True)
    parser.add_argument('--weights', help='time this network as well')
    parser.add_argument('--type', choices=NETWORKS)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    test_set = open_set(Path(args.hr).parent.name, SetOptions(hr=args.hr, lr=args.lr), args.scale)
    free = NetworkEntry(name='repeat', scale=args.scale, weights='none')
    entries = {'metrics alone': RepeatEntry('repeat', args.scale, 'repeat', free)}
    if args.weights:
        options = NetworkEntry(name='network', scale=args.scale, weights=args.weights, type=args.type)
        entries[Path(args.weights).name] = resolve(options, args.scale, [test_set])
    print(
        f'{test_set.name} x{test_set.scale}, {len(test_set)} images, {args.workers} workers against {args.workers} threads'
    )
    for name, entry in entries.items():
        ratios = []
        for _ in range(args.rounds):
            theirs, their_means = basicsr_loop(test_set, entry.network(), args.workers)
            ours, our_means = our_loop(test_set, entry, args.workers)
            ratios.append(theirs / ours)
            worst = max(abs(our_means[metric] - their_means[metric]) for metric in their_means)
            print(
                f'  {name}: BasicSR {theirs:.1f} s, leaderboard {ours:.1f} s, {ratios[-1]:.2f} x, difference {worst:.1e}'
            )
        print(f'  {name}: {statistics.median(ratios):.2f} x (median; {min(ratios):.2f} to {max(ratios):.2f})')


if __name__ == '__main__':
    main()
