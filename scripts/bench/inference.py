#!/usr/bin/env python3
"""Milliseconds an image: every runtime, precision and form of a network against the plain eager one, in one run.

All take turns: each round runs every side once, in an order that is turned round each time, so that whatever else the
machine does falls on all alike. For each side the median of its ratios to the plain network of the same round is given,
by the clock and by processor time (what a busy machine disturbs less). Beside them: the share of the peak of matrix
multiplications, measured in the same run and precision, that the network's convolutions reach; the largest difference
from the plain network on a random image, in grey levels; PSNR (Y) on benchmark sets.

    python scripts/bench/inference.py --weights RFDN_AIM.pth [--int8 MODEL.xml] [--data ROOT] [--out docs/bench]

`--data` is a folder with benchmarks/Set5/{HR,LR_bicubic/X4} and so on. `--out` writes a CSV named after the set-up, and a
plot of the first size beside it.
"""

from __future__ import annotations

import argparse
import csv
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfdn_plugin import compat  # noqa: F401  (lets basicsr be imported)
from rfdn_plugin.deploy.backends import BACKENDS, missing, open_model, precisions_of
from rfdn_plugin.deploy.formats.form import folded_network
from rfdn_plugin.leaderboard.measure.complexity import count
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_write
from rfdn_plugin.utils.machine import processor_name
from rfdn_plugin.weights.loading import build_network, identify_file

Run = Callable[[np.ndarray], np.ndarray]
PLAIN = ('torch', 'fp32', 'eager')


def sides(args: argparse.Namespace, threads: int) -> dict[tuple[str, str, str], Run]:
    """By backend, precision and form, what runs an image."""
    identity = identify_file(args.weights)
    plain = build_network(identity)
    folded = folded_network(identity)
    found: dict[tuple[str, str, str], Run] = {PLAIN: eager(plain)}
    for backend in BACKENDS:
        if missing(backend) is not None:
            continue
        # PyTorch makes its own form of the plain network; ONNX Runtime has one precision for a model.
        forms = {'inference': plain} if backend == 'torch' else {'plain': plain, 'folded': folded}
        for precision in ('fp32', 'bf16'):
            if precision not in precisions_of(backend) or (args.only and f'{backend} {precision}' not in args.only):
                continue
            for form, network in forms.items():
                try:
                    found[backend, precision, form] = open_model(
                        network, backend=backend, precision=precision, threads=threads
                    )
                except RFDNError as error:
                    print(f'{backend} {precision}: {error}')
    for path in args.int8:
        found['openvino', 'int8', path.stem] = open_model(path, backend='openvino', threads=threads)
    return found


def eager(network: torch.nn.Module) -> Run:
    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(images)).numpy()

    return run


# --- time ----------------------------------------------------------------------------------------------------------
def measure(found: dict[tuple[str, str, str], Run], size: tuple[int, int], rounds: int) -> list[dict[str, Any]]:
    """A row for each side."""
    image = np.random.default_rng(0).random((1, 3, *size), np.float32)
    wanted = found[PLAIN](image)
    differences = {side: float(abs(run(image) - wanted).max() * 255) for side, run in found.items()}
    wall: dict[tuple, list[float]] = {side: [] for side in found}
    cpu: dict[tuple, list[float]] = {side: [] for side in found}
    for number in range(rounds):
        for side in found if number % 2 == 0 else reversed(found):
            started, used = time.perf_counter(), processor_time(found[side])
            found[side](image)
            wall[side].append(time.perf_counter() - started)
            cpu[side].append(processor_time(found[side]) - used)
    return [
        {
            'backend': side[0],
            'precision': side[1],
            'form': side[2],
            'input': f'{size[0]}x{size[1]}',
            'milliseconds': round(statistics.median(wall[side]) * 1e3, 1),
            'cpu_milliseconds': round(statistics.median(cpu[side]) * 1e3, 1),
            'ratio': round(paired(wall[PLAIN], wall[side]), 3),
            'cpu_ratio': round(paired(cpu[PLAIN], cpu[side]), 3),
            'largest_difference': float(f'{differences[side]:.3g}'),
        }
        for side in found
    ]


def processor_time(run: Run) -> float:
    """Seconds of this process, and of the one that the runtime is in where that is another (ncnn)."""
    server = getattr(run, 'server', None)
    # The clock of another process, as clock_getcpuclockid(3) names it on Linux.
    return time.process_time() + (time.clock_gettime(~server.pid << 3 | 2) if server is not None else 0)


def paired(plain: list[float], other: list[float]) -> float:
    return statistics.median(before / after for before, after in zip(plain, other, strict=True))


def peaks(side: int = 1024, runs: int = 7) -> dict[str, float]:
    """Multiply-adds per second of processor time that a matrix multiplication reaches, by precision."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(side, side, generator=generator) for _ in range(2))
    pairs: dict[str, tuple[Callable, torch.Tensor, torch.Tensor]] = {'fp32': (torch.mm, a, b)}
    pairs['bf16'] = (torch.mm, a.bfloat16(), b.bfloat16())
    pairs['int8'] = (torch._int_mm, (a * 100).to(torch.int8), (b * 100).to(torch.int8))
    found = {}
    for precision, (multiply, x, y) in pairs.items():
        times = []
        for _ in range(runs):
            used = time.process_time()
            for _ in range(3):
                multiply(x, y)
            times.append((time.process_time() - used) / 3)
        found[precision] = side**3 / min(times)
    return found


# --- quality -------------------------------------------------------------------------------------------------------
def psnr(run: Run, folder: Path, scale: int) -> float:
    """The mean PSNR of Y over a benchmark set, by BasicSR's function."""
    import cv2
    from basicsr.metrics import calculate_psnr

    values = []
    for path in sorted((folder / 'HR').glob('*.png')):
        low_bgr = cv2.imread(str(folder / 'LR_bicubic' / f'X{scale}' / f'{path.stem}x{scale}.png'))
        low = np.ascontiguousarray(low_bgr[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255
        output = np.rint(run(low)[0].clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)[..., ::-1]
        high = cv2.imread(str(path))[: output.shape[0], : output.shape[1]]
        values.append(calculate_psnr(output, high, crop_border=scale, test_y_channel=True))
    return float(np.mean(values))


# --- output --------------------------------------------------------------------------------------------------------
def set_up(args: argparse.Namespace) -> str:
    """The name of the set-up: weights, processor, versions."""
    words = ['inference', args.weights.stem, processor_name(), platform.machine(), f'pt{torch.__version__}']
    if missing('openvino') is None:
        import openvino

        words.append(f'ov{openvino.__version__.split("-")[0]}')
    return re.sub(r'[^\w.]+', '-', '-'.join(words))


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars of the ratios by processor time, of the first size and number of threads."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    first = [row for row in rows if (row['input'], row['threads']) == (rows[0]['input'], rows[0]['threads'])]
    first.sort(key=lambda row: row['cpu_ratio'])
    colours = {'fp32': '#4878a8', 'bf16': '#e49444', 'int8': '#6a9f58'}
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(first) + 1.2))
    names = [f'{row["backend"]} {row["precision"]} {row["form"]}' for row in first]
    bars = axes.barh(names, [row['cpu_ratio'] for row in first], color=[colours[row['precision']] for row in first])
    axes.bar_label(bars, [f'{row["cpu_ratio"]:.2f}' for row in first], padding=3)
    axes.axvline(1, color='black', linewidth=0.8)
    axes.set_xlabel(f'times as fast as plain PyTorch, {rows[0]["input"]} input, {rows[0]["threads"]} thread(s)')
    axes.spines[['top', 'right']].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', type=Path, required=True)
    parser.add_argument(
        '--int8', type=Path, nargs='*', default=[], metavar='XML', help='of rfdn export --precision int8'
    )
    parser.add_argument('--sizes', nargs='+', default=['180x320', '256x256', '540x960'], metavar='HxW')
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--only', nargs='*', default=[], metavar='"BACKEND PRECISION"', help='beside the plain network')
    parser.add_argument('--data', type=Path, help='folder with benchmarks/')
    parser.add_argument('--sets', nargs='+', default=['Set5'], metavar='SET')
    parser.add_argument('--out', type=Path, help='folder for the CSV and the plot')
    args = parser.parse_args()
    identity = identify_file(args.weights)
    rows: list[dict[str, Any]] = []
    quality: dict[tuple, dict[str, float]] = {}
    for threads in args.threads:
        torch.set_num_threads(threads)
        found = sides(args, threads)
        for size in (tuple(map(int, text.split('x'))) for text in args.sizes):
            peak = peaks()
            macs = count(build_network(identity), size).conv_macs
            told = ', '.join(f'{name} {value / 1e9:.0f}' for name, value in peak.items())
            print(f'{size[0]}x{size[1]}, {threads} thread(s); peaks, 10^9 multiply-adds a second of a core: {told}')
            for row in measure(found, size, args.rounds):
                reached = macs / (row['cpu_milliseconds'] / 1e3) / peak[row['precision']]
                row |= {'threads': threads, 'share_of_peak': round(reached, 3), 'rounds': args.rounds}
                rows.append(row)
                print(
                    f'  {row["backend"]:12} {row["precision"]:5} {row["form"]:10} {row["milliseconds"]:8.0f} ms '
                    f'({row["cpu_milliseconds"]:.0f} of a core), {row["ratio"]:.2f} x ({row["cpu_ratio"]:.2f}), '
                    f'{reached:.0%} of the peak, differs by {row["largest_difference"]:.2g}'
                )
        for side, run in found.items() if args.data and not quality else ():
            of = {name: psnr(run, args.data / 'benchmarks' / name, identity.upscale) for name in args.sets}
            quality[side] = of
            print(f'  {" ".join(side)}: ' + ', '.join(f'{name} {value:.4f} dB' for name, value in of.items()))
    for row in rows:
        of = quality.get((row['backend'], row['precision'], row['form']), {})
        row |= {f'psnr_y_{name}': round(value, 4) for name, value in of.items()}
    if args.out is not None:
        target = args.out / f'{set_up(args)}.csv'
        with atomic_write(target, 'w') as stream:
            table = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator='\n')
            table.writeheader()
            table.writerows(rows)
        plot(rows, target.with_suffix('.png'))
        print(target)


if __name__ == '__main__':
    main()
