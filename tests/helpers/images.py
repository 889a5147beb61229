"""Images made for tests, and what is expected of the odd files of the test data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from rfdn_plugin.data.prepare import PrepareSpec

# file of oddities/ -> notices of an image that is used, or the reason for which it is skipped
ODDITIES: dict[str, tuple[str, ...] | str] = {
    'rgb16_32x32.png': ('16-bit',),
    'gray16_32x32.png': ('16-bit', 'grey'),
    'gray8_32x32.png': ('grey',),
    'gray1_32x32.png': ('grey',),
    'rgba_32x32.png': ('alpha',),
    'rgba_photo.png': ('alpha',),
    'palette_32x32.png': ('palette',),
    'interlaced_rgb_32x32.png': (),
    'palette_1x1.png': ('palette',),
    'gray_1x1.png': ('grey',),
    'bad_crc.png': 'damaged',
    'truncated.png': 'damaged',
    'broken_stream.png': 'damaged',
    'gray.jpg': ('grey',),
    'gray_progressive_icc.jpg': ('grey', 'profile'),
    'progressive_rgb.jpg': ('profile',),
    'cmyk.jpg': ('cmyk',),
    'exif_orientation_6.jpg': ('orientation',),
    'exif_orientation_8.jpg': ('orientation',),
    'exif_orientation.png': ('orientation',),
    'icc_profile.png': ('alpha', 'profile'),
    'animated.gif': ('palette', 'several'),
    'still.webp': (),
    'apng.png': ('alpha', 'palette', 'several'),
    'rgb.tif': (),
    'rgb16.tiff': ('16-bit',),
    'rle8.bmp': ('palette',),
    'decompression_bomb.gif': 'too-large',
    'Thumbs.db': 'side-file',
    '.DS_Store': 'side-file',
    'jpeg_named.png': ('misnamed',),
    'photo_half.jpg': 'damaged',
    'photo_half.png': 'damaged',
    'empty.png': 'empty',
    'lfs_pointer.png': 'lfs-pointer',
    'name with space (1).png': (),
    'снимок_写真_é.png': (),
    '._baby.png': 'side-file',
    'adir.png': 'folder',
}


def photograph(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth noise: RGB with detail at several sizes, so that LR of different resizes differ."""
    generator = np.random.default_rng(seed)
    layers = [
        cv2.resize(generator.random((height // size + 2, width // size + 2, 3)), (width, height)) for size in (1, 5, 30)
    ]
    mixed = sum(layers) / len(layers)
    return ((mixed - mixed.min()) / np.ptp(mixed) * 255).astype(np.uint8)


def write(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])


def spec_for(hr: Path, out: Path, **changes) -> PrepareSpec:
    return replace(PrepareSpec(hr=(hr,), out=out, crop_size=96, step=48, workers=2), **changes)


def quiet(line: str) -> None:
    """Takes the lines of a report that nobody reads."""


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}
