"""How a sub-image is stored in the LMDB: PNG (small) or BMP (no inflating when it is read).

Both are read by BasicSR's `imfrombytes`. PNG levels 1 to 3 go through ISA-L's deflate where the package `isal` is
installed, several times faster than libpng for the same size; every other level is OpenCV's.
"""

from __future__ import annotations

import struct
import zlib
from typing import Literal

import cv2
import numpy as np

try:
    from isal import isal_zlib
except ImportError:  # an accelerator: without it OpenCV encodes
    isal_zlib = None  # type: ignore[assignment]

Encoding = Literal['png', 'bmp']
DEFAULT_LEVEL = 1

_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_FILTER_UP = 2
_BMP_PIXELS = struct.Struct('<I')  # offset of the pixels, at byte 10
# At byte 18: width, height (negative: top row first), planes, bits a pixel, compression.
_BMP_SHAPE = struct.Struct('<iiHHI')
_BMP_HEADER_BYTES = 54


def encoder_name(encoding: Encoding, level: int) -> str:
    """Name of the code that makes the bytes: two encoders give equal pixels, not equal bytes."""
    if encoding == 'bmp':
        return 'bmp'
    return f'png level {level} by {"isal" if _uses_isal(level) else "opencv"}'


def encode(rgb: np.ndarray, encoding: Encoding, level: int = DEFAULT_LEVEL) -> bytes:
    """Encode uint8 RGB (H, W, 3) without loss. `level` is the PNG compression level, 0 to 9; BMP has none."""
    if encoding == 'png' and _uses_isal(level):
        return _encode_png_with_isal(rgb, level)
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    settings = [cv2.IMWRITE_PNG_COMPRESSION, level] if encoding == 'png' else []
    encoded, buffer = cv2.imencode(f'.{encoding}', bgr, settings)
    if not encoded:
        raise ValueError(f'OpenCV did not encode an image of shape {rgb.shape} as {encoding}')
    return buffer.tobytes()


def _uses_isal(level: int) -> bool:
    return isal_zlib is not None and 1 <= level <= 3


def _encode_png_with_isal(rgb: np.ndarray, level: int) -> bytes:
    """A PNG (ISO/IEC 15948) with one IDAT chunk and the filter "up" on every row, which suits photographs."""
    height, width = rgb.shape[:2]
    rows = np.ascontiguousarray(rgb).reshape(height, width * 3)
    filtered = np.empty((height, width * 3 + 1), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, no interlacing
    chunks = ((b'IHDR', header), (b'IDAT', isal_zlib.compress(filtered, level)), (b'IEND', b''))
    return _PNG_SIGNATURE + b''.join(
        struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(content, zlib.crc32(kind)))
        for kind, content in chunks
    )


class BmpView:
    """The pixels of an encoded 24-bit BMP as an array that is read where it is sliced: uint8 BGR, (H, W, 3).

    Slicing gives a copy of those pixels and touches no others, so a crop from a mapped LMDB reads only its own rows.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        (offset,) = _BMP_PIXELS.unpack_from(data, 10)
        width, height, *_ = _BMP_SHAPE.unpack_from(data, 18)
        self._bottom_up = height > 0  # as almost every BMP is
        self.shape = (abs(height), width, 3)
        stride = _bmp_stride(width)
        rows = np.frombuffer(data, np.uint8, stride * abs(height), offset).reshape(abs(height), stride)
        self._rows = rows[::-1] if self._bottom_up else rows

    def __getitem__(self, where: tuple) -> np.ndarray:
        """`view[top:bottom, left:right, ...]` as a contiguous array."""
        rows, columns, *_ = where
        left, right, _ = columns.indices(self.shape[1])
        return self._rows[rows, left * 3 : right * 3].reshape(-1, right - left, 3).copy()


def is_plain_bmp(data: bytes | memoryview) -> bool:
    """Whether `BmpView` can read the data: an uncompressed 24-bit BMP with all of its pixels."""
    if len(data) < _BMP_HEADER_BYTES or bytes(data[:2]) != b'BM':
        return False
    (offset,) = _BMP_PIXELS.unpack_from(data, 10)
    width, height, planes, bits, compression = _BMP_SHAPE.unpack_from(data, 18)
    if width <= 0 or height == 0 or (planes, bits, compression) != (1, 24, 0):
        return False
    return offset + _bmp_stride(width) * abs(height) <= len(data)


def _bmp_stride(width: int) -> int:
    return (width * 3 + 3) // 4 * 4
