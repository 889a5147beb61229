"""`rfdn upscale` measured: against the plain loop of a user, and its memory for one large image.

    python scripts/bench/upscale.py folder --weights W [--side 100 --count 500 | --images DIR] [--rounds 5]
    python scripts/bench/upscale.py memory [--weights W] [--size 3840x2160] [--precision fp32] [--ways whole kept recomputed]

folder: `rfdn upscale` and the loop below (PyTorch, OpenCV) do the same files in turn, so that a busy machine slows both alike;
the one or the other first. Prints images a second and the ratio of each round, by the clock and by the processor's time (of
the processes that a runtime starts too), in the end the medians and what the rounds span. Both write PNG.

memory: one image in each way, each in a process of its own: seconds, peak memory, and whether the results are equal.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.cli import main as rfdn
from rfdn_plugin.deploy import memory
from rfdn_plugin.deploy.choice import open_form
from rfdn_plugin.deploy.upscale import Upscaler
from rfdn_plugin.weights.loading import load_network


def plain_loop(folder: Path, out: Path, weights: str) -> None:
    """What a user would write."""
    network = load_network(weights)[0]
    for path in sorted(folder.iterdir()):
        bgr = cv2.imread(str(path))
        x = torch.from_numpy(bgr[..., ::-1].transpose(2, 0, 1).copy()).float()[None] / 255
        with torch.no_grad():
            y = network(x)[0].clamp(0, 1)
        rgb = (y * 255).round().byte().numpy().transpose(1, 2, 0)
        cv2.imwrite(str(out / f'{path.stem}.png'), rgb[..., ::-1])


def ours(folder: Path, out: Path, args: argparse.Namespace) -> None:
    words = ['upscale', folder, '-o', out, '--weights', args.weights, '--precision', args.precision]
    words += ['--backend', args.backend, '--threads', torch.get_num_threads()]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if rfdn([str(word) for word in words]):
            raise SystemExit('rfdn upscale failed')


def compare(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = args.images or make_images(Path(name) / 'in', args.count, args.side)
        count = len(list(folder.iterdir()))
        rows = []
        # Before the rounds, as it is done once: imports, and the times by which `auto` takes a runtime.
        ours(make_images(Path(name) / 'few', 2, args.side), Path(name) / 'few_out', args)
        if args.backend == 'auto':
            form = open_form(load_network(args.weights)[0], backend='auto', precision=args.precision, side=args.side)
            print(
                f'the fastest runtime: {form.backend} (rfdn upscale takes PyTorch below four megapixels of work)',
                flush=True,
            )
        for number in range(args.rounds):
            seconds = {}
            for which in ('loop', 'rfdn') if number % 2 == 0 else ('rfdn', 'loop'):
                out = Path(name) / f'{which}{number}'
                out.mkdir()
                clock, processor = time.perf_counter(), processor_seconds()
                if which == 'loop':
                    plain_loop(folder, out, args.weights)
                else:
                    ours(folder, out, args)
                seconds[which] = time.perf_counter() - clock, processor_seconds() - processor
            rows.append(seconds)
            loop, own = seconds['loop'], seconds['rfdn']
            print(
                f'round {number + 1}: loop {count / loop[0]:.3g} images/s, rfdn upscale {count / own[0]:.3g}; '
                f'ratio {loop[0] / own[0]:.2f} by the clock, {loop[1] / own[1]:.2f} by processor time',
                flush=True,
            )
        difference = largest_difference(Path(name) / 'loop0', Path(name) / 'rfdn0')
    print(
        f'{count} images, {args.precision}, {torch.get_num_threads()} thread(s), median of {args.rounds} rounds (span):'
    )
    for at, what in enumerate(('the clock', 'processor time')):
        loop, own = ([count / row[which][at] for row in rows] for which in ('loop', 'rfdn'))
        ratios = [second / first for first, second in zip(loop, own, strict=True)]
        print(f'  by {what}: loop {spread(loop)} images/s, rfdn upscale {spread(own)}, ratio {spread(ratios)}')
    print(f'  largest difference {difference} grey levels')


def spread(values: list[float]) -> str:
    return f'{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})'


def processor_seconds() -> float:
    """Of this process and those that it has started and that have ended."""
    return sum(os.times()[:4])


def make_images(folder: Path, count: int, side: int) -> Path:
    """Smooth noise: it compresses as photographs do."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        noise = generator.integers(0, 256, (side, side, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number:04}.png'), cv2.GaussianBlur(noise, (0, 0), 1.5))
    return folder


def largest_difference(first: Path, second: Path) -> int:
    pairs = ((cv2.imread(str(path)), cv2.imread(str(second / path.name))) for path in first.iterdir())
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in pairs)


def measure_memory(args: argparse.Namespace) -> None:
    width, height = map(int, args.size.split('x'))
    rows = []
    for way in args.ways:
        command = [sys.executable, __file__, 'one', way, '--size', args.size, '--precision', args.precision]
        command += ['--weights', args.weights] if args.weights else []
        done = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        rows.append([way, args.size, args.precision, *done])
        seconds, processor, gibibytes, digest = done
        rate = width * height / float(processor) / 1e6
        print(
            f'{way}: {seconds} s, {processor} s of the processor ({rate:.3f} LR megapixels/s), {gibibytes} GiB, {digest}',
            flush=True,
        )
    print('equal' if len({row[-1] for row in rows}) == 1 else 'DIFFERENT')
    if args.csv:
        with open(args.csv, 'w', newline='') as stream:
            writer = csv.writer(stream)
            writer.writerow(['way', 'size', 'precision', 'seconds', 'processor_seconds', 'peak_gib', 'sha256'])
            writer.writerows(rows)


def one(args: argparse.Namespace) -> None:
    """An image in one way, in this process."""
    width, height = map(int, args.size.split('x'))
    torch.manual_seed(0)
    network = (
        load_network(args.weights)[0] if args.weights else NETWORKS['RFDN'](upscale=2, interpolation_start=True).eval()
    )
    upscaler = Upscaler(network, precision=args.precision)
    if args.way == 'whole':
        memory._LARGEST_MAP = sys.maxsize  # by itself a CPU takes parts for a large image
    possible = memory.ways(upscaler.form, height, width)
    keeps = {
        'whole': lambda way: not way.tile,
        'kept': lambda way: way.keep,
        'recomputed': lambda way: way.tile and not way.keep,
    }
    wanted = next(way for way in possible if keeps[args.way](way))
    memory.choose = lambda *_: wanted
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 1.5)
    del noise
    upscaler(image[:64, :64])
    Path('/proc/self/clear_refs').write_text('5')  # the peak from here on
    clock, processor = time.perf_counter(), time.process_time()
    output = upscaler(image)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    peak = memory._kilobytes(Path('/proc/self/status'), 'VmHWM') or 0
    print(f'{clock:.1f} {processor:.1f} {peak / 2**30:.2f} {hashlib.sha256(output.tobytes()).hexdigest()[:16]}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    folder = commands.add_parser('folder')
    folder.add_argument('--weights', required=True)
    folder.add_argument('--images', type=Path)
    folder.add_argument('--side', type=int, default=100)
    folder.add_argument('--count', type=int, default=500)
    folder.add_argument('--rounds', type=int, default=5)
    folder.add_argument('--precision', default='fp32')
    folder.add_argument('--backend', default='auto')
    folder.set_defaults(run=compare)
    large = commands.add_parser('memory')
    large.add_argument('--ways', nargs='+', default=['whole', 'kept', 'recomputed'])
    large.add_argument('--csv', type=Path)
    large.set_defaults(run=measure_memory)
    single = commands.add_parser('one')
    single.add_argument('way')
    single.set_defaults(run=one)
    for command in (large, single):
        command.add_argument('--weights')
        command.add_argument('--size', default='3840x2160')
        command.add_argument('--precision', default='fp32')
    args = parser.parse_args()
    args.run(args)


if __name__ == '__main__':
    main()
