#!/usr/bin/env python3
"""How many fine-tuning iterations the start of the upsampler saves: a curve for each way to start it.

    python scripts/bench/transfer_curve.py --weights IMDN_x2.pth --to-scale 3 --train datasets/DIV2K/HR \
        --benchmarks datasets --set Set5 -o docs/transfer_curve.png

The same network is fine-tuned for another scale three times, with the upsampler random (what BasicSR does), resampled
and fitted; everything else is the same: the patches and their order, Adam, L1. The measured points are written beside
the image as CSV. Small batches and short runs: the curve shows the start, not what a whole training reaches.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transfer_table import measure

from rfdn_plugin.utils.files import atomic_write
from rfdn_plugin.weights.identify import Identity
from rfdn_plugin.weights.loading import identify_file
from rfdn_plugin.weights.transfer.fit import fit_upsampler
from rfdn_plugin.weights.transfer.resample import to_scale
from rfdn_plugin.weights.transfer.run import FitImages

COLOURS = {'random': '#b2182b', 'resampled': '#2166ac', 'fitted': '#1b7837'}


def started(identity: Identity, scale: int, start: str, images: FitImages) -> nn.Module:
    network = to_scale(identity, scale)
    if start == 'random':
        for layer in network.modules():
            if layer is network.upsampler[0]:
                layer.reset_parameters()
    elif start == 'fitted':
        fit_upsampler(network, images)
    return network


def patches(pairs: list, scale: int, side: int, batch: int, generator: np.random.Generator) -> tuple:
    """A batch of random LR patches and their HR, flipped and turned."""
    low_batch, high_batch = [], []
    for index in generator.integers(len(pairs), size=batch):
        low, high = pairs[index]
        y, x = (int(generator.integers(size - side + 1)) for size in low.shape[-2:])
        low = low[:, y : y + side, x : x + side]
        high = high[:, y * scale : (y + side) * scale, x * scale : (x + side) * scale]
        turns, flip = int(generator.integers(4)), bool(generator.integers(2))
        for part, collected in ((low, low_batch), (high, high_batch)):
            part = torch.rot90(part, turns, (1, 2))
            collected.append(part.flip(-1) if flip else part)
    return torch.stack(low_batch), torch.stack(high_batch)


def run(network: nn.Module, pairs: list, args: argparse.Namespace, points: list[int]) -> list[tuple[int, float]]:
    generator = np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=args.lr, betas=(0.9, 0.99))
    curve = []
    for iteration in range(points[-1] + 1):
        if iteration in points:
            quality = measure({'': network.eval()}, args.benchmarks / args.set, args.to_scale)['']
            curve.append((iteration, quality))
            print(f'  {iteration}: {quality:.3f} dB', flush=True)
        low, high = patches(pairs, args.to_scale, args.side, args.batch, generator)
        loss = (network(low) - high).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return curve


def draw(curves: dict[str, list[tuple[int, float]]], args: argparse.Namespace) -> None:
    import matplotlib  # comes with mmengine

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), constrained_layout=True)
    for start, curve in curves.items():
        iterations, quality = zip(*curve, strict=True)
        axes.plot(iterations, quality, 'o-', ms=3.5, color=COLOURS[start], label=f'{start} upsampler')
        offset = (5, 4 if start == 'fitted' else -11)
        axes.annotate(f'{quality[-1]:.2f}', (iterations[-1], quality[-1]), xytext=offset, textcoords='offset points')
    axes.set_xscale('symlog', linthresh=10)
    axes.set_xlabel(f'fine-tuning iterations (batch {args.batch} of {args.side}x{args.side} LR pixels)')
    axes.set_ylabel(f'PSNR-Y on {args.set} x{args.to_scale} [dB]')
    axes.set_title(f'{args.weights.stem} fine-tuned for x{args.to_scale}')
    axes.margins(x=0.14)
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right')
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=150)
    with atomic_write(args.output) as stream:
        stream.write(buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', type=Path, required=True)
    parser.add_argument('--to-scale', type=int, required=True)
    parser.add_argument('--train', type=Path, required=True, help='folder or LMDB of HR images')
    parser.add_argument('--images', type=int, default=100, help='of which to train and to fit')
    parser.add_argument('--benchmarks', type=Path, required=True)
    parser.add_argument('--set', default='Set5')
    parser.add_argument('--iterations', type=int, default=1000, help='of the random start')
    parser.add_argument('--short', type=int, default=200, help='of the other two')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--side', type=int, default=24, help='of a patch, in LR pixels')
    parser.add_argument('--lr', type=float, default=2e-4)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('-o', '--output', type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    identity = identify_file(args.weights)
    images = FitImages(args.train, args.to_scale, args.images)
    pairs = [pair for pair in images if min(pair[0].shape[-2:]) >= args.side]
    steps = [0, 5, 10, 20, 50, 100, 200, 350, 500, 700, 1000, 1500, 2000, 3000, 5000, 10000]
    curves = {}
    for start in COLOURS:
        torch.manual_seed(0)
        last = args.iterations if start == 'random' else args.short
        print(start, flush=True)
        network = started(identity, args.to_scale, start, images)
        curves[start] = run(network, pairs, args, [step for step in steps if step <= last])
    with atomic_write(args.output.with_suffix('.csv'), 'w') as stream:
        rows = csv.writer(stream)
        rows.writerow(['start', 'iterations', 'psnr_y'])
        rows.writerows((start, *point) for start, curve in curves.items() for point in curve)
    draw(curves, args)


if __name__ == '__main__':
    main()
