"""Damage that the decoders do not tell of, looked for in the bytes of a file: zeros, checksums, data that is left over."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np

from rfdn_plugin.data.decoder_messages import decoder_messages
from rfdn_plugin.data.raw_formats import PNG_SIGNATURE, SECTOR

_LONG_RUN = 64
"""Zero bytes in a baseline JPEG: more than two blocks."""
_SHOWN_CHUNKS = (b'IHDR', b'PLTE', b'IDAT', b'tRNS')
_WEBP_END = 4
"""Bytes without which no whole WebP file can be decoded; encoders fill up at most three."""


def hidden_damage(data: bytes, form: str, metadata: Mapping[Any, Any]) -> str:
    """What is wrong with the pixels of a file that its decoder may accept; empty where nothing was found.

    Formats without compression or checksum hide most damage: what can be seen is found, not all there is.

    Args:
        data: The file.
        form: Its format by Pillow's name.
        metadata: What Pillow found beside the pixels; EXIF, XMP and a colour profile may hold anything.
    """
    if form == 'PNG' and png_fails_checksum(data):
        return 'a part of it fails its checksum'
    if form == 'WEBP' and _webp_has_left_over(data):
        return 'its pixels end before its data'
    return 'a stretch of zeros in its pixels' if _has_zeroed_stretch(data, form, metadata) else ''


def png_fails_checksum(data: bytes) -> bool:
    """Whether a chunk with pixels, palette or transparency of a PNG file fails its CRC: OpenCV does not read all of them."""
    view, position = memoryview(data), len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, position)
        end = position + 8 + length
        if kind in _SHOWN_CHUNKS and end + 4 <= len(data):
            (checksum,) = struct.unpack_from('>I', data, end)
            if zlib.crc32(view[position + 4 : end]) != checksum:
                return True
        position = end + 4
    return False


def _webp_has_left_over(data: bytes) -> bool:
    """Whether a WebP file can be decoded without its last bytes.

    WebP has no checksum. A damaged stretch takes more or fewer bytes than the one that stood there: where it takes more
    the decoder says so, where it takes fewer the end is left over.
    """
    for kind, content in _riff_chunks(data):
        if kind in (b'VP8 ', b'VP8L') and len(content) > 16 * _WEBP_END:
            part = content[:-_WEBP_END] + bytes(len(content) % 2)
            chunk = b'WEBP' + kind + struct.pack('<I', len(content) - _WEBP_END) + part
            file = b'RIFF' + struct.pack('<I', len(chunk)) + chunk
            with decoder_messages():
                return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    return False


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from('<4sI', data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _has_zeroed_stretch(data: bytes, form: str, metadata: Mapping[Any, Any]) -> bool:
    """Whether zeros stand in the pixels of a JPEG, AVIF or JPEG 2000 file where no encoder writes them.

    The codes of AVIF and JPEG 2000 adapt to whatever comes often, those of a JPEG are looked at. In WebP flat images
    have stretches of kilobytes, and formats without compression hold black as zeros.
    """
    if form in ('JPEG', 'MPO'):
        return _has_zeroed_blocks(data)
    if form not in ('AVIF', 'JPEG2000') or bytes(SECTOR) not in data:
        return False
    parts = [part for part in metadata.values() if isinstance(part, bytes) and len(part) >= SECTOR]
    for part in sorted(parts, key=len, reverse=True):
        data = data.replace(part, b'')
    return bytes(SECTOR) in data


def _has_zeroed_blocks(data: bytes) -> bool:
    """Whether a stretch of zeros stands in the pixels of a baseline JPEG whose Huffman codes cannot give one.

    Where the decoder finds as many blocks behind the stretch as were lost in it, it has nothing to warn of. Zeros are the
    shortest code again and again: that is "no more coefficients" in flat images whose tables were made for them, and
    else a small coefficient in every place of a block, which no image has.
    """
    first_symbols: dict[int, int] = {}
    position, is_baseline = 2, False
    while position + 4 <= len(data):
        marker, length = struct.unpack_from('>HH', data, position)
        segment = data[position + 4 : position + 2 + length]
        if marker == 0xFFC4:
            first_symbols |= _first_symbols(segment)
        elif marker in (0xFFC0, 0xFFC1):
            is_baseline = True
        elif marker == 0xFFDA:
            tables = {segment[2 + 2 * number] & 15 for number in range(segment[0])} if segment else set()
            ends_blocks = all(first_symbols.get(table, 0) in (0x00, 0xF0) for table in tables)
            if not is_baseline or ends_blocks:
                return False
            start = position + 2 + length
            end = data.find(b'\xff\xd9', start)
            return data.find(bytes(_LONG_RUN), start, end if end > 0 else len(data)) >= 0
        elif marker < 0xFFC0:
            return False
        position += 2 + length
    return False


def _first_symbols(segment: bytes) -> dict[int, int]:
    """For each AC table of a DHT segment the symbol whose code is all zeros."""
    symbols, position = {}, 0
    while position + 17 < len(segment):
        kind, number = segment[position] >> 4, segment[position] & 15
        if kind == 1:
            symbols[number] = segment[position + 17]
        position += 17 + sum(segment[position + 1 : position + 17])
    return symbols
