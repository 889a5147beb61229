"""MATLAB's bicubic: bit-equal to published LR images, exact by its definition."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from rfdn_plugin.data.bicubic import BORDERS, downscale, mod_crop

PUBLISHED = [('Set5', 'symmetric', 5), ('Set14', 'replicate', 14), ('BSD100', 'replicate', 100)]


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize(('name', 'border', 'count'), PUBLISHED)
def test_equals_the_published_lr(data_root, name, border, count, scale):
    folder = data_root / 'benchmarks' / name
    paths = sorted((folder / 'LR_bicubic' / f'X{scale}').glob('*.png'))
    assert len(paths) == count
    differing = []
    for path in paths:
        hr = cv2.imread(str(folder / 'HR' / path.name.replace(f'x{scale}.png', '.png')), cv2.IMREAD_UNCHANGED)
        made = downscale(mod_crop(hr, scale), scale, border)
        if not np.array_equal(made, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)):
            differing.append(path.name)
    assert not differing


def exact_rows(image: np.ndarray, factor: int, border: str) -> np.ndarray:
    """One pass over the rows by the definition of MATLAB's imresize, in rational numbers."""
    height = image.shape[0]
    rows = -(-height // factor)

    def cubic(x: Fraction) -> Fraction:
        x = abs(x)
        if x <= 1:
            return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
        return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2 if x <= 2 else Fraction(0)

    result = np.empty((rows, *image.shape[1:]), np.uint8)
    for row in range(rows):
        centre = (row + Fraction(1, 2)) * factor - Fraction(1, 2)
        reach = 2 * factor + 2
        taps = range(int(centre) - reach, int(centre) + reach + 1)
        weights = {tap: cubic((centre - tap) / factor) for tap in taps}
        whole = sum(weights.values())
        total = np.zeros(image.shape[1:], object)
        for tap, weight in weights.items():
            place = tap % (2 * height) if border == 'symmetric' else min(max(tap, 0), height - 1)
            place = 2 * height - 1 - place if place >= height else place
            total = total + image[place].astype(object) * (weight / whole)
        rounded = np.vectorize(lambda value: min(max((2 * value + 1) // 2, 0), 255), otypes=[np.uint8])(total)
        result[row] = rounded
    return result


@pytest.mark.parametrize('border', BORDERS)
@pytest.mark.parametrize('factor', [2, 3, 4, 5, 8])
def test_equals_the_definition_in_rational_numbers(factor, border):
    generator = np.random.default_rng(0)
    # Black and white makes the sums overshoot and meet ties; the sizes are no multiples.
    for height, width in ((1, 1), (2, 3), (13, 9)):
        image = generator.choice(np.array([0, 255, 128], np.uint8), (height, width, 3))
        first = exact_rows(image, factor, border)
        expected = exact_rows(first.swapaxes(0, 1), factor, border).swapaxes(0, 1)
        assert np.array_equal(downscale(image, factor, border), expected)


@pytest.mark.parametrize('shape', [(40, 31), (40, 31, 1), (40, 31, 3), (40, 31, 4)])
def test_channels_do_not_mix_and_greyscale_stays_two_dimensional(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    for factor in (2, 3, 4):
        made = downscale(image, factor)
        assert made.ndim == image.ndim
        assert made.shape[2:] == shape[2:]
        for channel in range(shape[2] if len(shape) == 3 else 0):
            assert np.array_equal(made[..., channel], downscale(np.ascontiguousarray(image[..., channel]), factor))


def test_long_images_cross_the_blocks_without_a_seam():
    image = np.random.default_rng(3).integers(0, 256, (1001, 7, 3), np.uint8)
    inner = downscale(image[200:600], 2)[8:-8]
    assert np.array_equal(downscale(image, 2)[108:292], inner)


def test_sizes():
    image = np.zeros((10, 21, 3), np.uint8)
    assert downscale(image, 3).shape == (4, 7, 3)
    assert downscale(image[:1, :1], 4).shape == (1, 1, 3)
    assert mod_crop(image, 4).shape == (8, 20, 3)
    assert np.array_equal(downscale(image, 1), image)


@pytest.mark.parametrize(
    ('image', 'factor', 'border'),
    [
        (np.zeros((4, 4, 3), np.float32), 2, 'symmetric'),
        (np.zeros((0, 4, 3), np.uint8), 2, 'symmetric'),
        (np.zeros((4,), np.uint8), 2, 'symmetric'),
        (np.zeros((4, 4, 3), np.uint8), 0, 'symmetric'),
        (np.zeros((4, 4, 3), np.uint8), 1.5, 'symmetric'),
        (np.zeros((4, 4, 3), np.uint8), 2, 'reflect'),
    ],
)
def test_what_cannot_work_is_refused(image, factor, border):
    with pytest.raises(ValueError):
        downscale(image, factor, border)
