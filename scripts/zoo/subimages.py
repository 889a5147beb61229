"""Cuts images into sub-images and keeps those that teach: every hard one, and a share of the easy ones.

    python scripts/zoo/subimages.py IMAGES OUT [--size 240] [--shrink 1.6 2.5] [--hard 0.5] [--easy-share 0.25]

The difficulty of a sub-image is its mean error, in grey levels, after x2 down and up by bicubic interpolation. Hard
sub-images alone teach faster and then spoil smooth areas (measured), so a share of the easy half stays. Images that are
also taken smaller give sharper edges, closer together, as small test images have them.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from PIL import Image


def opened(path: Path, shrink: float) -> Image.Image:
    """An image in RGB, smaller by a factor."""
    image = Image.open(path).convert('RGB')
    size = round(image.width / shrink), round(image.height / shrink)
    return image if shrink == 1 else image.resize(size, Image.Resampling.LANCZOS)


def difficulty(image: np.ndarray) -> float:
    """Mean absolute error in grey levels after x2 down and up; `image` is H x W x 3 uint8."""
    whole = Image.fromarray(image)
    half = whole.resize((image.shape[1] // 2, image.shape[0] // 2), Image.Resampling.BICUBIC)
    back = half.resize(whole.size, Image.Resampling.BICUBIC)
    return float(np.abs(np.asarray(back, np.float32) - np.asarray(whole, np.float32)).mean())


def cuts(length: int, size: int) -> list[int]:
    """Starts of windows of `size` that cover `length` evenly; overlap spreads over all of them."""
    count = -(-length // size)
    return [0] if count == 1 else [round(index * (length - size) / (count - 1)) for index in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('images', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--size', type=int, default=240)
    parser.add_argument('--shrink', type=float, nargs='*', default=[], help='also take each image smaller by these')
    parser.add_argument('--hard', type=float, default=0.5, help='the hardest share, all of which is kept')
    parser.add_argument('--easy-share', type=float, default=0.25, help='the share of the others that is kept')
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    size, found = arguments.size, []
    for path in sorted(arguments.images.glob('*.png')):
        for shrink in (1.0, *arguments.shrink):
            image = np.asarray(opened(path, shrink))
            if min(image.shape[:2]) < size:
                continue
            for row in cuts(image.shape[0], size):
                for column in cuts(image.shape[1], size):
                    part = image[row : row + size, column : column + size]
                    found.append((difficulty(part), path, shrink, row, column))
    found.sort(reverse=True)
    hard = round(len(found) * arguments.hard)
    step = max(1, round(1 / arguments.easy_share)) if arguments.easy_share else len(found)
    kept = found[:hard] + found[hard::step]
    kept.sort(key=lambda entry: entry[1:])
    for (path, shrink), group in itertools.groupby(kept, key=lambda entry: entry[1:3]):
        image = opened(path, shrink)
        for *_, row, column in group:
            name = f'{path.stem}_{row}_{column}' if shrink == 1 else f'{path.stem}_by{100 * shrink:.0f}_{row}_{column}'
            part = image.crop((column, row, column + size, row + size))
            part.save(arguments.out / f'{name}.png', compress_level=1)
    limits = np.percentile([entry[0] for entry in found], [10, 50, 90])
    print(
        f'{len(kept)} of {len(found)} sub-images; difficulty at 10, 50, 90 %: '
        + ', '.join(f'{value:.2f}' for value in limits)
        + ' grey levels'
    )


if __name__ == '__main__':
    main()
