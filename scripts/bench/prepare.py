"""How fast `rfdn prepare` is beside BasicSR's way, as ratios measured in one run.

BasicSR's way is what its data preparation does: `imresize` for the LR images, written as PNG; `extract_subimages` of
the HR and of each LR folder (its script is not in the wheel; `extract` below makes the same calls of OpenCV with the
script's settings: a pool, PNG level 3); `make_lmdb_from_imgs` of each. It gets the same number of processes wherever it
has a pool, and for `imresize`, for which it has none, one is made. The pixels of both results are compared.

Each way runs as a process of its own, in turn, `--repeats` times; the table shows the median and the spread of wall
time and of processor time (of all its processes), and the peak memory of the process tree.

    python scripts/bench/prepare.py --photos DIR [--images 20] [--repeats 3] [--workers 2]
    python scripts/bench/prepare.py --photos DIR --memory 20 200      # peak memory only, ours
    python scripts/bench/prepare.py --photos DIR --resize             # the resize alone, one thread
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import rfdn_plugin  # noqa: F401  (lets basicsr be imported)

SIZE = (1356, 2040)  # of a DIV2K image
SCALES = (2, 3, 4)
CROP, STEP = 480, 240


# --- images ------------------------------------------------------------------------------------------------------
def make_mosaics(photos: Path, folder: Path, count: int) -> None:
    """DIV2K-sized images put together from photographs."""
    paths = sorted(path for path in photos.iterdir() if path.suffix.lower() in ('.jpg', '.png'))
    tiles = [cv2.imread(str(path)) for path in paths]
    tiles = [tile if tile.shape[0] <= tile.shape[1] else cv2.rotate(tile, cv2.ROTATE_90_CLOCKWISE) for tile in tiles]
    height, width = (min(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    rows, columns = -(-SIZE[0] // height), -(-SIZE[1] // width)
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        chosen = generator.choice(len(tiles), (rows, columns))
        lines = [np.hstack([tiles[index][:height, :width] for index in line]) for line in chosen]
        cv2.imwrite(str(folder / f'{number:04d}.png'), np.vstack(lines)[: SIZE[0], : SIZE[1]])


# --- BasicSR's way -------------------------------------------------------------------------------------------------
def shrink_with_basicsr(folder: Path, name: str) -> None:
    from basicsr.utils.matlab_functions import imresize

    hr = cv2.imread(str(folder / 'HR' / name)).astype(np.float32) / 255
    for scale in SCALES:
        lr = imresize(hr, 1 / scale)
        cv2.imwrite(str(folder / f'X{scale}' / name), (lr * 255).round().clip(0, 255).astype(np.uint8))


def extract(path: Path, target: Path, crop: int, step: int) -> None:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    starts = []
    for side in image.shape[:2]:
        along = list(range(0, side - crop + 1, step))
        starts.append([*along, side - crop] if along[-1] + crop < side else along)
    number = 0
    for top in starts[0]:
        for left in starts[1]:
            number += 1
            window = np.ascontiguousarray(image[top : top + crop, left : left + crop])
            cv2.imwrite(str(target / f'{path.stem}_s{number:03d}.png'), window, [cv2.IMWRITE_PNG_COMPRESSION, 3])


def run_basicsr(hr: Path, out: Path, workers: int) -> None:
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    out.mkdir(parents=True)
    (out / 'HR').symlink_to(hr)
    folders = ['HR', *(f'X{scale}' for scale in SCALES)]
    for name in folders:
        (out / name).mkdir(exist_ok=True)
        (out / f'{name}_sub').mkdir()
    names = sorted(os.listdir(hr))
    with multiprocessing.Pool(workers) as pool:
        pool.map(partial(shrink_with_basicsr, out), names)
    for name, scale in zip(folders, (1, *SCALES), strict=True):
        with multiprocessing.Pool(workers) as pool:
            jobs = [(out / name / image, out / f'{name}_sub', CROP // scale, STEP // scale) for image in names]
            pool.starmap(extract, jobs)
    for name in folders:
        paths = sorted(os.listdir(out / f'{name}_sub'))
        keys = [path.removesuffix('.png') for path in paths]
        make_lmdb_from_imgs(str(out / f'{name}_sub'), str(out / f'{name}_sub.lmdb'), paths, keys)


# --- ours ----------------------------------------------------------------------------------------------------------
def run_ours(hr: Path, out: Path, workers: int, encoding: str) -> None:
    from rfdn_plugin.data.prepare import PrepareSpec, prepare

    sizes = {'scales': SCALES, 'crop_size': CROP, 'step': STEP}
    prepare(PrepareSpec(hr=(hr,), out=out, encoding=encoding, workers=workers, **sizes))


# --- measuring -----------------------------------------------------------------------------------------------------
def measure(way: str, hr: Path, out: Path, workers: int) -> dict:
    """Run one way in a process of its own; wall and processor seconds, and the peak memory of its processes in MB."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, __file__, '--photos', hr, '--workers', str(workers), '--run', way, hr, out]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    memory = PeakMemory(process.pid)
    _, errors = process.communicate()
    wall = time.perf_counter() - start
    peak = memory.stop()
    if process.returncode:
        sys.exit(errors.decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {'wall': wall, 'cpu': cpu, 'memory': peak}


class PeakMemory:
    """Samples the summed proportional memory (PSS: shared pages counted once) of a process and its children."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._stopped = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def stop(self) -> float:
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._stopped.wait(0.1):
            total = 0
            for pid in self._tree():
                try:
                    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
                except OSError:  # ended meanwhile
                    continue
                total += sum(int(line.split()[1]) for line in lines if line.startswith(('Pss_Anon:', 'Pss_Shmem:')))
            self._peak = max(self._peak, total / 1024)

    def _tree(self) -> list[int]:
        pids = [self._pid]
        for pid in pids:
            try:
                tasks = list(Path(f'/proc/{pid}/task').iterdir())
                pids += [int(child) for task in tasks for child in (task / 'children').read_text().split()]
            except OSError:
                continue
        return pids


def compare(photos: Path, count: int, repeats: int, workers: int, folder: Path) -> dict:
    hr = folder / 'HR'
    make_mosaics(photos, hr, count)
    ways = ('basicsr', 'png', 'bmp')
    figures: dict[str, list[dict]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            figures[way].append(measure(way, hr, folder / way, workers))
            print(way, {name: round(value, 2) for name, value in figures[way][-1].items()}, flush=True)
    entries = {way: check_pixels(folder, way) for way in ways[1:]}
    disk = {way: sum(path.stat().st_size for path in (folder / way).glob('*.lmdb/data.mdb')) for way in ways}
    print(f'\n{count} images of {SIZE[1]}x{SIZE[0]}, scales {SCALES}, {workers} workers, {repeats} repeats in turn')
    print(f'{"way":8} {"wall s":>18} {"ratio":>14} {"CPU s":>8} {"ratio":>6} {"peak MB":>8} {"disk MB":>8}')
    summary = {}
    for way in ways:
        wall = [figure['wall'] for figure in figures[way]]
        cpu = [figure['cpu'] for figure in figures[way]]
        beside = list(zip(figures['basicsr'], figures[way], strict=True))
        ratios = [theirs['wall'] / ours['wall'] for theirs, ours in beside]
        cpu_ratio = statistics.median(theirs['cpu'] / ours['cpu'] for theirs, ours in beside)
        peak = max(figure['memory'] for figure in figures[way])
        print(
            f'{way:8} {statistics.median(wall):7.2f} ({min(wall):.1f}-{max(wall):.1f}) '
            f'{statistics.median(ratios):6.1f} ({min(ratios):.1f}-{max(ratios):.1f}) '
            f'{statistics.median(cpu):8.2f} {cpu_ratio:6.1f} {peak:8.0f} {disk[way] / 1e6:8.0f}'
        )
        summary[way] = {'wall': wall, 'ratio': ratios, 'cpu': cpu, 'peak_mb': peak, 'disk': disk[way]}
    # BasicSR does not round between the two passes of the resize, MATLAB does: the LR differ for that.
    for way, text in entries.items():
        print(f'values of {way} beside those of BasicSR: {text}')
    return summary


def check_pixels(folder: Path, way: str) -> str:
    """HR and LR of ours beside BasicSR's databases, entry by entry."""
    import lmdb

    texts = []
    for theirs, ours in (('HR_sub', 'HR_sub'), *((f'X{scale}_sub', f'LR_bicubic_X{scale}_sub') for scale in SCALES)):
        with (
            lmdb.open(str(folder / 'basicsr' / f'{theirs}.lmdb'), readonly=True, lock=False) as first,
            lmdb.open(str(folder / way / f'{ours}.lmdb'), readonly=True, lock=False) as second,
            first.begin() as one,
            second.begin() as two,
        ):
            if one.stat()['entries'] != two.stat()['entries']:
                sys.exit(f'{ours}: {two.stat()["entries"]} entries, BasicSR has {one.stat()["entries"]}')
            differing, total, largest = 0, 0, 0
            for key, value in one.cursor():
                images = [cv2.imdecode(np.frombuffer(data, np.uint8), 1) for data in (value, two.get(key))]
                difference = cv2.absdiff(*images)
                total += difference.size
                differing += int(np.count_nonzero(difference))
                largest = max(largest, int(difference.max()))
        share = f'{differing / total:.2%} differ, by {largest} at most' if differing else 'equal'
        texts.append(f'{theirs.removesuffix("_sub")} {share}')
    return ', '.join(texts)


def compare_resize(photos: Path, folder: Path, repeats: int) -> None:
    import torch
    from basicsr.utils.matlab_functions import imresize

    from rfdn_plugin.data.bicubic import downscale

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    make_mosaics(photos, folder / 'HR', 1)
    hr = cv2.imread(str(folder / 'HR' / '0001.png'))
    unit = hr.astype(np.float32) / 255
    print(f'{"scale":>5} {"BasicSR ms":>11} {"ours ms":>8} {"ratio":>16}')
    for scale in SCALES:
        times: list[tuple[float, float]] = []
        for _ in range(repeats):
            start = time.perf_counter()
            imresize(unit, 1 / scale)
            middle = time.perf_counter()
            downscale(hr, scale)
            times.append((middle - start, time.perf_counter() - middle))
        ratios = [theirs / ours for theirs, ours in times]
        theirs, ours = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        spread = f'{statistics.median(ratios):6.1f} ({min(ratios):.1f}-{max(ratios):.1f})'
        print(f'{scale:5} {theirs:11.1f} {ours:8.1f} {spread}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', type=Path, required=True, help='folder of photographs to make the images from')
    parser.add_argument('--images', type=int, default=20)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--memory', type=int, nargs='+', metavar='N', help='peak memory at these numbers of images')
    parser.add_argument('--resize', action='store_true', help='compare the resize alone')
    parser.add_argument('--work', type=Path, help='folder for the data (default: a temporary one)')
    parser.add_argument('--json', type=Path, help='write the figures here')
    parser.add_argument('--run', nargs=3, metavar=('WAY', 'HR', 'OUT'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        way, hr, out = args.run[0], Path(args.run[1]), Path(args.run[2])
        run_basicsr(hr, out, args.workers) if way == 'basicsr' else run_ours(hr, out, args.workers, way)
        return
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        if args.resize:
            compare_resize(args.photos, folder, args.repeats)
        elif args.memory:
            for count in args.memory:
                make_mosaics(args.photos, folder / str(count), count)
                for encoding in ('png', 'bmp'):
                    figures = measure(encoding, folder / str(count), folder / 'out', args.workers)
                    seconds, peak = figures['wall'], figures['memory']
                    print(f'{count} images, {encoding}: peak {peak:.0f} MB, {seconds:.1f} s', flush=True)
        else:
            summary = compare(args.photos, args.images, args.repeats, args.workers, folder)
            if args.json:
                args.json.write_text(json.dumps(summary, indent=1))


if __name__ == '__main__':
    main()
