"""An image as its file holds it, before anything is converted for training, and what its header says beside the pixels."""

from __future__ import annotations

import math
import struct
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

# What Pillow raises for a file that is not as its format demands.
DECODER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, RuntimeError, struct.error)
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class StoredImage:
    """A decoded image with all that its file says.

    Attributes:
        pixels: uint8 or uint16; (H, W, 3) in RGB, (H, W) of a grey image; turned as its EXIF orientation says.
        alpha: (H, W) of the same type, None for an opaque image.
        notices: The kinds of `images.POLICY` that apply.
        profile: The ICC colour profile, where it is one for these pixels (RGB or grey).
        resolution: Pixels per inch, horizontally and vertically.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    notices: tuple[str, ...] = ()
    profile: bytes | None = None
    resolution: tuple[float, float] | None = None

    def as_8_bit_rgb(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The pixels as uint8, (H, W, 3), and alpha as uint8: 16 bits are rounded, grey becomes three equal channels."""
        rgb, alpha = _as_8_bit(self.pixels), None if self.alpha is None else _as_8_bit(self.alpha)
        return (cv2.cvtColor(rgb, cv2.COLOR_GRAY2RGB) if rgb.ndim == 2 else rgb), alpha


def _as_8_bit(values: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(values, alpha=1 / 257) if values.dtype == np.uint16 else values


def profile_of(header: Image.Image, pixels: np.ndarray) -> bytes | None:
    """The ICC profile of a file, where its colour space (bytes 16 to 19 of ICC.1:2022) is that of the decoded pixels.

    A CMYK image has been converted to RGB: its profile would then be wrong.
    """
    profile = header.info.get('icc_profile')
    wanted = b'GRAY' if pixels.ndim == 2 else b'RGB '
    return profile if isinstance(profile, bytes) and profile[16:20] == wanted else None


def resolution_of(header: Image.Image, *, is_turned: bool) -> tuple[float, float] | None:
    """The resolution that a file states; `is_turned` swaps the two directions."""
    try:
        across, down = (float(value) for value in header.info.get('dpi', ()))
    except (TypeError, ValueError, ZeroDivisionError):  # none, or metadata that is no resolution
        return None
    if not all(math.isfinite(value) and 0 < value < 1e6 for value in (across, down)):
        return None
    return (down, across) if is_turned else (across, down)


def orientation_of(data: bytes, header: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none."""
    if header.format == 'PNG':
        # Pillow's getexif() would decode the whole image a second time to find a chunk behind the pixels.
        exif = Image.Exif()
        block = header.info.get('exif') or _late_png_exif(data)
        if block is None:
            return 1
        try:
            exif.load(block)
        except DECODER_ERRORS:  # metadata that cannot be read does not spoil the image
            return 1
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of damage, which the pixels will show
                exif = header.getexif()
        except DECODER_ERRORS:
            return 1
    orientation = exif.get(_EXIF_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def _late_png_exif(data: bytes) -> bytes | None:
    """The EXIF block that follows the pixels of a PNG: an eXIf chunk, or ImageMagick's hexadecimal text chunk."""
    position = len(b'\x89PNG\r\n\x1a\n')
    while position + 8 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, position)
        content = data[position + 8 : position + 8 + length] if kind in (b'eXIf', b'tEXt') else b''
        if kind == b'eXIf':
            return content
        if content.startswith(b'Raw profile type exif\0'):
            lines = content.partition(b'\0')[2].split(b'\n')  # '', 'exif', the length, then hexadecimal lines
            try:
                return bytes.fromhex(b''.join(lines[3:]).decode('ascii'))
            except ValueError:
                return None
        position += 12 + length
    return None


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels by EXIF `orientation` (TIFF 6.0, tag 274: where the stored first row and column belong)."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
