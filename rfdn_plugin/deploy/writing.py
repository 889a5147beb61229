"""Writing upscaled images: PNG and TIFF as they are, JPEG and WebP as far as these formats can hold them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from rfdn_plugin.data.stored import StoredImage
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_write

SUFFIXES = {'png': '.png', 'jpg': '.jpg', 'webp': '.webp', 'tiff': '.tiff'}
_LARGEST_SIDE = {'jpg': 65_500, 'webp': 16_383}
_INCH = 39.3701  # in a metre
_ROWS_PER_STRIP = 64
_LARGE = 256 << 20
"""Bytes of pixels above which a PNG is written with as little memory as can be."""


def limits(image: StoredImage, format: str) -> list[str]:
    """What a format cannot hold of an image, in words; empty for PNG and TIFF."""
    if format in ('png', 'tiff'):
        return []
    lost = []
    if image.pixels.dtype == np.uint16:
        lost.append('16 bits a channel become 8')
    if format == 'jpg' and image.alpha is not None:
        lost.append('transparency is dropped')
    return lost


def write_image(
    path: Path,
    image: StoredImage,
    format: str,
    quality: int = 95,
    *,
    before: Callable[[bytes], None] = lambda content: None,
) -> bytes:
    """Write an image, whole or not at all.

    Args:
        path: The file.
        image: Its pixels, alpha, colour profile and resolution.
        format: One of `SUFFIXES`.
        quality: Of JPEG and WebP, 1 to 100.
        before: Called with the content once it is on the disk, before it gets its name.

    Returns:
        What was written.

    Raises:
        RFDNError: The image is too large for the format.
        OSError: The file cannot be written.
    """
    content = encode_image(image, format, quality)
    with atomic_write(path) as stream:
        stream.write(content)
        before(content)
    return content


def encode_image(image: StoredImage, format: str, quality: int = 95) -> bytes:
    """The bytes of a file; arguments and errors as `write_image`."""
    height, width = image.pixels.shape[:2]
    if max(height, width) > _LARGEST_SIDE.get(format, max(height, width)):
        raise RFDNError(
            f'{width}x{height} pixels do not fit into {format} ({_LARGEST_SIDE[format]} a side): take --format png or tiff.'
        )
    match format:
        case 'png':
            return _encode_png(image)
        case 'tiff':
            return _encode_tiff(image)
    return _encode_lossy(image, format, quality)


def _samples(image: StoredImage) -> np.ndarray:
    """H x W x samples: the colours or the grey, and alpha."""
    if image.alpha is not None:
        return np.dstack([image.pixels, image.alpha])
    return image.pixels if image.pixels.ndim == 3 else image.pixels[..., None]


def _encode_lossy(image: StoredImage, format: str, quality: int) -> bytes:
    rgb, alpha = image.as_8_bit_rgb()
    if format == 'jpg':
        grey = image.pixels.ndim == 2
        encoded = Image.fromarray(np.ascontiguousarray(rgb[..., 0]) if grey else rgb)
        settings: dict[str, Any] = {'quality': quality, 'subsampling': 0, 'optimize': True}
    else:
        encoded = Image.fromarray(rgb if alpha is None else np.dstack([rgb, alpha]))
        settings = {'quality': quality, 'method': 4, 'exact': True}
    if image.profile is not None and (format == 'jpg' or image.pixels.ndim == 3):
        settings['icc_profile'] = image.profile
    if image.resolution is not None:
        settings['dpi'] = tuple(round(value) for value in image.resolution)
    stream = io.BytesIO()
    encoded.save(stream, 'JPEG' if format == 'jpg' else 'WEBP', **settings)
    return stream.getvalue()


# --- PNG (ISO/IEC 15948) -------------------------------------------------------------------------------------------
def _encode_png(image: StoredImage) -> bytes:
    samples = _samples(image)
    if samples.shape[2] == 2 or samples.nbytes > _LARGE:  # OpenCV has no grey with alpha, and needs copies
        return _with_chunks(_png_by_strips(samples), image)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[samples.shape[2]]
    done, buffer = cv2.imencode('.png', samples[..., order])
    if not done:
        raise RFDNError(f'OpenCV cannot write {samples.shape[1]}x{samples.shape[0]} pixels as PNG: take --format tiff.')
    return _with_chunks(buffer.tobytes(), image)


def _png_by_strips(samples: np.ndarray) -> bytes:
    """A PNG with the filter "up" on every row, compressed a few rows at a time: no copy of the image is needed."""
    height, width, channels = samples.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack('>IIBBBBB', width, height, 8 * samples.itemsize, colour_type, 0, 0, 0)
    content = bytearray(b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', header))
    compressor = zlib.compressobj(1)
    above = np.zeros((1, width * channels * samples.itemsize), np.uint8)
    for row in range(0, height, _ROWS_PER_STRIP):
        strip = samples[row : row + _ROWS_PER_STRIP]
        rows = strip.astype(samples.dtype.newbyteorder('>')).reshape(len(strip), -1).view(np.uint8)
        filtered = np.full((len(rows), 1 + rows.shape[1]), 2, np.uint8)  # a row's first byte names its filter
        np.subtract(rows, np.concatenate([above, rows[:-1]]), out=filtered[:, 1:])
        above = rows[-1:]
        if packed := compressor.compress(filtered.data):
            content += _chunk(b'IDAT', packed)
    content += _chunk(b'IDAT', compressor.flush()) + _chunk(b'IEND', b'')
    return bytes(content)


def _with_chunks(png: bytes, image: StoredImage) -> bytes:
    """The file with the colour profile and the resolution, which stand right behind the header (8 + 25 bytes)."""
    extra = b''
    if image.profile is not None:
        extra += _chunk(b'iCCP', b'ICC profile\0\0' + zlib.compress(image.profile))
    if image.resolution is not None:
        across, down = (round(value * _INCH) for value in image.resolution)
        extra += _chunk(b'pHYs', struct.pack('>IIB', across, down, 1))
    return png[:33] + extra + png[33:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(content, zlib.crc32(kind)))


# --- TIFF 6.0 ------------------------------------------------------------------------------------------------------
_SHORT, _LONG, _RATIONAL, _UNDEFINED = 3, 4, 5, 7


def _encode_tiff(image: StoredImage) -> bytes:
    """A little-endian file with strips compressed by Deflate; one directory, its values behind it, then the strips."""
    samples = _samples(image)
    if samples.shape[2] == 2 and samples.itemsize == 2:  # which Pillow does not read
        samples = samples[..., [0, 0, 0, 1]]
    samples = np.ascontiguousarray(samples).astype(samples.dtype.newbyteorder('<'), copy=False)
    height, width, channels = samples.shape
    strips = [zlib.compress(samples[row : row + _ROWS_PER_STRIP].data, 3) for row in range(0, height, _ROWS_PER_STRIP)]
    tags: list[tuple[int, int, list[int] | bytes]] = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [8 * samples.itemsize] * channels),
        (259, _SHORT, [8]),  # Deflate
        (262, _SHORT, [2 if channels > 2 else 1]),  # RGB, or grey with black as 0
        (273, _LONG, [0] * len(strips)),  # where the strips are: filled in below
        (277, _SHORT, [channels]),
        (278, _LONG, [_ROWS_PER_STRIP]),
        (279, _LONG, [len(strip) for strip in strips]),
    ]
    if image.resolution is not None:
        across, down = (round(value * 1000) for value in image.resolution)
        tags += [(282, _RATIONAL, [across, 1000]), (283, _RATIONAL, [down, 1000]), (296, _SHORT, [2])]
    if image.alpha is not None:
        tags.append((338, _SHORT, [2]))  # not multiplied into the colours
    if image.profile is not None:
        tags.append((34675, _UNDEFINED, image.profile))
    start = 8 + len(_directory(tags, 8))
    tags[5] = (273, _LONG, list(accumulate(map(len, strips[:-1]), initial=start)))
    if start + sum(map(len, strips)) >= 1 << 32:
        raise RFDNError('the image needs more than the 4 GiB of a TIFF file: take --format png.')
    return b''.join([struct.pack('<2sHI', b'II', 42, 8), _directory(tags, 8), *strips])


def _directory(tags: list[tuple[int, int, list[int] | bytes]], position: int) -> bytes:
    """The directory and the values that do not fit into its four bytes an entry, for this position in the file."""
    entries, values = [], b''
    behind = position + 2 + 12 * len(tags) + 4
    for tag, kind, content in tags:
        if isinstance(content, bytes):
            count, data = len(content), content
        else:
            count = len(content) // 2 if kind == _RATIONAL else len(content)
            data = struct.pack(f'<{len(content)}{"H" if kind == _SHORT else "I"}', *content)
        if len(data) > 4:
            where = struct.pack('<I', behind + len(values))
            values += data + b'\0' * (len(data) % 2)
        else:
            where = data.ljust(4, b'\0')
        entries.append(struct.pack('<HHI', tag, kind, count) + where)
    return struct.pack('<H', len(tags)) + b''.join(entries) + struct.pack('<I', 0) + values
