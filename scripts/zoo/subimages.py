"""Cuts images into sub-images and keeps those that teach: every hard one, and a share of the easy ones.

    python scripts/zoo/subimages.py IMAGES OUT [--size 240] [--shrink 1.6 2.5] [--hard 0.5] [--easy-share 0.25]
                                           [--soften 0.5]

The difficulty of a sub-image is its mean error, in grey levels, after x2 down and up by bicubic interpolation. Hard
sub-images alone teach faster and then spoil smooth areas (measured), so a share of the easy half stays. Images that are
also taken smaller give sharper edges, closer together, as small test images have them. Images that were scaled down are
sharper than photographs are pixel by pixel: a share of the sub-images is softened.
"""

import argparse
import itertools
import random
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


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


def softened(image: Image.Image, box: tuple[int, int, int, int], sigma: float) -> Image.Image:
    """The part of an image in `box` (left, upper, right, lower), blurred by a Gaussian of `sigma` pixels."""
    left, upper, right, lower = box
    margin = 4  # sees what lies beside the part, as far as there is something
    around = (
        max(0, left - margin),
        max(0, upper - margin),
        min(image.width, right + margin),
        min(image.height, lower + margin),
    )
    blurred = gaussian_filter(np.asarray(image.crop(around), np.float32), (sigma, sigma, 0), mode='nearest')
    inner = blurred[upper - around[1] :, left - around[0] :][: lower - upper, : right - left]
    return Image.fromarray(inner.round().astype(np.uint8))


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
    parser.add_argument('--soften', type=float, default=0.0, help='the share that is blurred by 0.3 to 0.6 pixels')
    arguments = parser.parse_args()
    generator = random.Random(0)
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
            box = (column, row, column + size, row + size)
            soft = generator.random() < arguments.soften
            part = softened(image, box, generator.uniform(0.3, 0.6)) if soft else image.crop(box)
            part.save(arguments.out / f'{name}.png', compress_level=1)
    limits = np.percentile([entry[0] for entry in found], [10, 50, 90])
    print(
        f'{len(kept)} of {len(found)} sub-images; difficulty at 10, 50, 90 %: '
        + ', '.join(f'{value:.2f}' for value in limits)
        + ' grey levels'
    )


if __name__ == '__main__':
    main()
