"""Training samples per second of one worker: the stock dataset on PNG, the stock one on BMP, ours on both.

The databases are made by `rfdn prepare` from DIV2K-sized mosaics of photographs. All four are timed in turn, in blocks
of a few hundred samples drawn in one random order, so that what else the machine does falls on all of them; the table
shows the median and the spread of the blocks. Before that the samples are compared, pixel by pixel.

    python scripts/bench/loader.py --photos DIR [--images 10] [--blocks 7] [--samples 200]
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import prepare as prepare_bench
import torch

import rfdn_plugin  # noqa: F401  (lets basicsr be imported)
from rfdn_plugin.data.prepare import PrepareSpec, prepare
from rfdn_plugin.data.training.dataset import FastPairedImageDataset

LR_SIZE = 64  # the recipe's


def options(folder: Path, scale: int) -> dict:
    return {
        'dataroot_gt': str(folder / 'HR_sub.lmdb'),
        'dataroot_lq': str(folder / f'LR_bicubic_X{scale}_sub.lmdb'),
        'io_backend': {'type': 'lmdb'},
        'gt_size': LR_SIZE * scale,
        'use_hflip': True,
        'use_rot': True,
        'scale': scale,
        'phase': 'train',
    }


def compare(folder: Path, scale: int, blocks: int, samples: int) -> None:
    from basicsr.data.paired_image_dataset import PairedImageDataset

    datasets = {
        f'{name} on {encoding}': cls(options(folder / encoding, scale))
        for name, cls in (('stock', PairedImageDataset), ('ours', FastPairedImageDataset))
        for encoding in ('png', 'bmp')
    }
    count = len(next(iter(datasets.values())))
    for index in range(0, count, 9):
        seen = []
        for dataset in datasets.values():
            random.seed(index)
            seen.append(dataset[index])
        if not all(torch.equal(seen[0][which], sample[which]) for sample in seen for which in ('lq', 'gt')):
            raise SystemExit(f'the samples of image {index} differ')
    order = random.Random(0)
    speeds: dict[str, list[float]] = {name: [] for name in datasets}
    for _ in range(blocks):
        indices = [order.randrange(count) for _ in range(samples)]
        for name, dataset in datasets.items():
            start = time.perf_counter()
            for index in indices:
                dataset[index]
            speeds[name].append(samples / (time.perf_counter() - start))
    for name, values in speeds.items():
        ratios = [value / first for value, first in zip(values, speeds['stock on png'], strict=True)]
        print(
            f'x{scale} {name:14} {statistics.median(values):7.0f} samples/s ({min(values):.0f}-{max(values):.0f})   '
            f'{statistics.median(ratios):5.1f} x stock on png ({min(ratios):.1f}-{max(ratios):.1f})',
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', type=Path, required=True, help='folder of photographs to make the images from')
    parser.add_argument('--images', type=int, default=10)
    parser.add_argument('--blocks', type=int, default=7)
    parser.add_argument('--samples', type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_bench.make_mosaics(args.photos, folder / 'HR', args.images)
        for encoding in ('png', 'bmp'):
            prepare(PrepareSpec(hr=(folder / 'HR',), out=folder / encoding, encoding=encoding, workers=2))
        print('samples of all four are equal where compared; one worker, one thread')
        for scale in prepare_bench.SCALES:
            compare(folder, scale, args.blocks, args.samples)


if __name__ == '__main__':
    main()
