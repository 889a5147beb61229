"""What Pillow and OpenCV leave out or read wrongly, taken from the bytes of a file: TIFF tags, PNM, PNG."""

from __future__ import annotations

import re
import struct
import zlib
from typing import NamedTuple

import numpy as np

from rfdn_plugin.data.image_policy import ImageError

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
TIFF_SIGNATURES = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
HEIC_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'mif1', b'msf1')
"""What stands at byte 8 of the photographs of telephones, behind `ftyp`."""
_JPEG_2000 = (b'\0\0\0\x0cjP  ', b'\xffO\xffQ')
SECTOR = 256
"""Zero bytes: half of the smallest block of a disk, and five times the longest run seen in flat images (51)."""
_SIGNATURES = (PNG_SIGNATURE, *TIFF_SIGNATURES, *_JPEG_2000, b'\xff\xd8\xff', b'GIF8', b'BM', b'RIFF')


def begins_like_an_image(data: bytes) -> bool:
    """Whether a file has the signature of a format that is read here."""
    return data.startswith(_SIGNATURES) or data[4:12] in (b'ftypavif', b'ftypavis')


# --- TIFF 6.0, and BigTIFF with numbers of 8 bytes ---------------------------------------------------------------------
class Tiff:
    """The tags of the first image of a TIFF file.

    Attributes:
        bits: Bits of a sample: of the channel with most.
        is_integer: Whether the samples are whole numbers from 0 up.
        white_is_zero: Whether 0 is white.
        is_planar: Whether each channel is stored by itself.
        alpha: 'associated' (the colours were multiplied by it), 'separate' or None.
        compression: The number of TIFF 6.0 and its supplements.
    """

    def __init__(self, data: bytes) -> None:
        self._order = '<' if data[:1] == b'I' else '>'
        self._data = data
        self._places: dict[int, tuple[int, int, int]] = {}  # tag -> type, count, where the value stands
        try:
            self._read_directory()
        except struct.error:  # truncated: who decodes it will say so
            pass
        self.bits = max(self._values(258) or (1,))
        self.is_integer = set(self._values(339) or (1,)) == {1}
        self.white_is_zero = self._values(262)[:1] == (0,)
        self.is_planar = self._values(284)[:1] == (2,)
        colours = 1 if self._values(262)[:1] in ((0,), (1,)) else 3
        is_extra = len(self._values(258)) == colours + 1
        self.alpha = {1: 'associated', 2: 'separate'}.get((self._values(338) or (2 if is_extra else 0,))[0])
        self.compression = (self._values(259) or (1,))[0]

    @property
    def is_readable(self) -> bool:
        """Whether the tags could be read at all."""
        return 256 in self._places

    def without_orientation(self) -> bytes:
        """The file with the orientation "as stored": some decoders turn by it and some do not."""
        if 274 not in self._places:
            return self._data
        _, _, at = self._places[274]
        return self._data[:at] + struct.pack(self._order + 'H', 1) + self._data[at + 2 :]

    @property
    def has_damaged_strip(self) -> bool:
        """Whether a deflated strip or tile fails its own checksum (libtiff leaves that of the last one unread), or one
        of PackBits has more zeros than it writes: a run of equal bytes takes two."""
        if self.compression not in (8, 32946, 32773):
            return False
        offsets = self._values(273) or self._values(324)
        for start, length in zip(offsets, self._values(279) or self._values(325), strict=False):
            strip = self._data[start : start + length]
            if self.compression == 32773:
                if bytes(SECTOR) in strip:
                    return True
                continue
            try:
                zlib.decompress(strip)
            except zlib.error:
                return True
        return False

    def _read_directory(self) -> None:
        is_big = self._unpack('H', 2)[0] == 43
        number, header, entry, inline = ('Q', 16, 20, 8) if is_big else ('I', 8, 12, 4)
        (directory,) = self._unpack(number, header - struct.calcsize(number))
        count_format = 'Q' if is_big else 'H'
        (count,) = self._unpack(count_format, directory)
        start = directory + struct.calcsize(count_format)
        for at in range(start, start + min(count, 4096) * entry, entry):
            tag, kind, length = self._unpack('HH' + number, at)
            value = at + entry - inline
            size = {1: 1, 3: 2, 4: 4, 16: 8}.get(kind)
            if size is not None:
                if size * length > inline:
                    (value,) = self._unpack(number, value)
                self._places.setdefault(tag, (kind, length, value))

    def _values(self, tag: int) -> tuple[int, ...]:
        if tag not in self._places:
            return ()
        kind, count, at = self._places[tag]
        try:
            return self._unpack(f'{count}' + {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}[kind], at)
        except struct.error:
            return ()

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, self._data, at)


# --- PBM, PGM, PPM ---------------------------------------------------------------------------------------------------
_PNM_HEADER = re.compile(rb'P([1-6])' + rb'(?:\s|#[^\n\r]*[\n\r])+(\d+)' * 2)
_PNM_LARGEST = re.compile(rb'(?:\s|#[^\n\r]*[\n\r])+(\d+)')


class Pnm(NamedTuple):
    """A decoded PNM file: uint8 or uint16, (H, W) or (H, W, 3), and the value that stood for white in the file."""

    pixels: np.ndarray
    largest: int


def decode_pnm(data: bytes) -> Pnm:
    """The first image of a PBM, PGM or PPM file, plain or raw, its values scaled to 0..255 or, above 8 bits, to 0..65535.

    Raises:
        ImageError: The file is damaged or truncated.
    """
    header = _PNM_HEADER.match(data)
    if header is None:
        raise ImageError('damaged', 'the header is not that of a PNM file')
    kind, width, height = (int(group) for group in header.groups())
    end, largest = header.end(), 1
    if kind not in (1, 4):
        match = _PNM_LARGEST.match(data, end)
        if match is None or not 1 <= int(match[1]) <= 65535:
            raise ImageError('damaged', 'the largest value is missing or not from 1 to 65535')
        largest, end = int(match[1]), match.end()
    channels = 3 if kind in (3, 6) else 1
    if kind <= 3:
        values = _plain_values(data[end:], kind, height * width * channels)
    else:
        values = _raw_values(data, end + 1, kind, height, width * channels, largest)
    if values.size < height * width * channels or not values.size:
        raise ImageError('damaged', f'{values.size} values of {height * width * channels}')
    values = values.reshape(height, width, channels)
    if values.max() > largest:
        raise ImageError('damaged', f'a value is above the largest, {largest}')
    if kind in (1, 4):
        values = 1 - values  # 1 is black
    pixels = scaled(values, largest, 65535 if largest > 255 else 255)
    return Pnm(pixels[..., 0] if channels == 1 else pixels, largest)


def scaled(values: np.ndarray, largest: int, white: int) -> np.ndarray:
    """Whole numbers from 0..largest to 0..white (255 or 65535), rounded to nearest, as uint8 or uint16."""
    result = values if largest == white else (values.astype(np.uint64) * (2 * white) + largest) // (2 * largest)
    return result.astype(np.uint8 if white == 255 else np.uint16)


def _plain_values(body: bytes, kind: int, count: int) -> np.ndarray:
    body = re.sub(rb'#[^\n\r]*', b' ', body)
    if kind == 1:  # the digits may stand together
        digits = np.frombuffer(body, np.uint8)
        return digits[(digits == ord('0')) | (digits == ord('1'))][:count] - ord('0')
    try:
        return np.array(body.split(maxsplit=count)[:count], np.int64)
    except ValueError as error:
        raise ImageError('damaged', 'a value is not a number') from error


def _raw_values(data: bytes, start: int, kind: int, height: int, row: int, largest: int) -> np.ndarray:
    if kind == 4:
        stride = -(-row // 8)
        packed = np.frombuffer(data, np.uint8, min(height * stride, max(len(data) - start, 0)), start)
        bits = np.unpackbits(packed[: packed.size // stride * stride].reshape(-1, stride), axis=1)
        return bits[:, :row].ravel()
    kind_of_value = np.dtype('>u2' if largest > 255 else 'u1')
    available = max(len(data) - start, 0) // kind_of_value.itemsize
    return np.frombuffer(data, kind_of_value, min(height * row, available), start)
