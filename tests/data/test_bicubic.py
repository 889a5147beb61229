"""MATLAB's bicubic: bit-equal to published LR images, exact by its definition, the same by every path."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from rfdn_plugin.data import bicubic
from rfdn_plugin.data.bicubic import downscale, mod_crop, resize, upscale

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


def exact_rows(image: np.ndarray, factor: Fraction, border: str) -> np.ndarray:
    """One pass over the rows by the definition of MATLAB's imresize, in rational numbers."""
    height = image.shape[0]
    rows = -(-height * factor.numerator // factor.denominator)
    stretch = min(factor, Fraction(1))

    def cubic(x: Fraction) -> Fraction:
        x = abs(x)
        if x <= 1:
            return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
        return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2 if x <= 2 else Fraction(0)

    result = np.empty((rows, *image.shape[1:]), np.uint8)
    for row in range(rows):
        centre = (row + Fraction(1, 2)) / factor - Fraction(1, 2)
        reach = int(2 / stretch) + 2
        taps = range(int(centre) - reach, int(centre) + reach + 1)
        weights = {tap: cubic((centre - tap) * stretch) for tap in taps}
        whole = sum(weights.values())
        total = np.zeros(image.shape[1:], object)
        for tap, weight in weights.items():
            place = tap % (2 * height) if border == 'symmetric' else min(max(tap, 0), height - 1)
            place = 2 * height - 1 - place if place >= height else place
            total = total + image[place].astype(object) * (weight / whole)
        rounded = np.vectorize(lambda value: min(max((2 * value + 1) // 2, 0), 255), otypes=[np.uint8])(total)
        result[row] = rounded
    return result


@pytest.mark.parametrize('border', ['symmetric', 'replicate'])
@pytest.mark.parametrize('factor', [Fraction(1, s) for s in (2, 3, 4, 5, 8)] + [Fraction(s) for s in (2, 3, 4)])
def test_equals_the_definition_in_rational_numbers(factor, border):
    generator = np.random.default_rng(0)
    # Black and white makes the sums overshoot and meet ties; the sizes are no multiples.
    for height, width in ((1, 1), (2, 3), (13, 9)):
        image = generator.choice(np.array([0, 255, 128], np.uint8), (height, width, 3))
        first = exact_rows(image, factor, border)
        expected = exact_rows(first.swapaxes(0, 1), factor, border).swapaxes(0, 1)
        assert np.array_equal(resize(image, factor, border), expected)


@pytest.mark.parametrize('shape', [(40, 31), (40, 31, 1), (40, 31, 3), (40, 31, 4)])
def test_channels_do_not_mix_and_greyscale_stays_two_dimensional(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    for factor in (Fraction(1, 2), 3, Fraction(2, 3)):
        resized = resize(image, factor)
        assert resized.ndim == image.ndim
        assert resized.shape[2:] == shape[2:]
        for channel in range(shape[2] if len(shape) == 3 else 0):
            assert np.array_equal(resized[..., channel], resize(np.ascontiguousarray(image[..., channel]), factor))


def test_whole_factors_agree_with_the_general_path(monkeypatch):
    image = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 256, (150, 130, 3), np.uint8), (0, 0), 1)
    for factor in (Fraction(1, 4), Fraction(1, 3), Fraction(2), Fraction(3)):
        rows = -(-150 * factor.numerator // factor.denominator)
        flat = image.reshape(150, -1)
        general = bicubic._by_any_factor(flat, rows, float(factor), 'symmetric')
        difference = cv2.absdiff(bicubic._resize_rows(image, rows, factor, 'symmetric').reshape(rows, -1), general)
        # The general path works in floating point, where a tie may fall to either side.
        assert difference.max() <= 1
        assert np.count_nonzero(difference) < difference.size / 1000


def test_long_images_cross_the_blocks_without_a_seam():
    image = np.random.default_rng(3).integers(0, 256, (1001, 7, 3), np.uint8)
    inner = downscale(image[200:600], 2)[8:-8]
    assert np.array_equal(downscale(image, 2)[108:292], inner)
    assert np.array_equal(upscale(image, 2)[416:1184], upscale(image[200:600], 2)[16:-16])


def test_sizes_and_scales():
    image = np.zeros((10, 21, 3), np.uint8)
    assert resize(image, 1 / 3).shape == (4, 7, 3)
    assert resize(image, (5, 42)).shape == (5, 42, 3)
    assert resize(image, 1.5).shape == (15, 32, 3)
    assert mod_crop(image, 4).shape == (8, 20, 3)
    assert np.array_equal(resize(image, 1), image)


@pytest.mark.parametrize(
    ('image', 'scale', 'border'),
    [
        (np.zeros((4, 4, 3), np.float32), 2, 'symmetric'),
        (np.zeros((0, 4, 3), np.uint8), 2, 'symmetric'),
        (np.zeros((4, 4, 3), np.uint8), 0, 'symmetric'),
        (np.zeros((4, 4, 3), np.uint8), 2, 'reflect'),
    ],
)
def test_what_cannot_work_is_refused(image, scale, border):
    with pytest.raises(ValueError):
        resize(image, scale, border)
