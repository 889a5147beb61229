"""The one reader of images: what each kind of file becomes, or why it is left out.

`POLICY` is the written rule, `docs/datasets.md` shows it as a table, and every command that takes images reads them
through here. A file is judged by its content, not by its name. Pillow reads the header and the rare kinds; OpenCV
decodes the common ones, which is several times faster.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from rfdn_plugin.data.damage import hidden_damage
from rfdn_plugin.data.decoder_messages import decoder_messages
from rfdn_plugin.data.image_files import IMAGE_SUFFIXES, SUFFIXES_OF_FORMATS, find_images, is_side_file, is_special
from rfdn_plugin.data.image_policy import POLICY, ImageError
from rfdn_plugin.data.raw_formats import (
    HEIC_BRANDS,
    TIFF_SIGNATURES,
    Tiff,
    begins_like_an_image,
    decode_pnm,
    scaled,
)
from rfdn_plugin.data.stored import DECODER_ERRORS, StoredImage, orientation_of, profile_of, resolution_of, turned

__all__ = [
    'IMAGE_SUFFIXES',
    'POLICY',
    'DecodedImage',
    'ImageError',
    'StoredImage',
    'decode_image',
    'decode_stored',
    'find_images',
    'image_size',
    'is_side_file',
    'read_file',
    'read_image',
    'read_stored',
]

_LFS_POINTER = b'version https://git-lfs'
_OPENCV_MODES = {'1', 'L', 'LA', 'RGB', 'RGBA', 'I;16', 'I;16B', 'I;16L', 'I'}
_GREY_MODES = {'1', 'L', 'LA', 'La'}


@dataclass(frozen=True)
class DecodedImage:
    """Pixels of a decoded image, with what was changed to get RGB of 8 bits.

    Attributes:
        rgb: uint8, (H, W, 3).
        notices: The kinds of `POLICY` by which it was converted; empty for a plain RGB image.
        alpha: uint8, (H, W), for callers that carry transparency along; None for an opaque image.
    """

    rgb: np.ndarray
    notices: tuple[str, ...] = ()
    alpha: np.ndarray | None = None


# RGB or grey, uint8 or uint16; alpha of the same type or None; the kinds of `POLICY` that only the pixels show.
_Pixels = tuple[np.ndarray, np.ndarray | None, list[str]]


def read_image(path: str | os.PathLike) -> DecodedImage:
    """Read an image file as RGB of 8 bits, as `POLICY` has it for grey, alpha, palettes and so on.

    Returns:
        The image: RGB, uint8, (H, W, 3), with the notices of what was converted.

    Raises:
        ImageError: The file is to be skipped; `kind` says why.
    """
    return decode_image(read_file(path), Path(path).suffix)


def read_stored(path: str | os.PathLike, *, most_pixels: int | None = None) -> StoredImage:
    """Read a file as it is: 16 bits, grey, alpha, colour profile and resolution are kept. Arguments: `decode_stored`."""
    return decode_stored(read_file(path), Path(path).suffix, most_pixels=most_pixels)


def read_file(path: str | os.PathLike) -> bytes:
    """The bytes of a file that may be an image.

    Raises:
        ImageError: It is not a file, is one of an operating system, or cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageError('folder')
    if is_side_file(path.name):
        raise ImageError('side-file')
    if is_special(path):
        raise ImageError('special-file')
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError('unreadable', error.strerror or str(error)) from error


def decode_image(data: bytes, suffix: str = '') -> DecodedImage:
    """Decode the bytes of a file by `POLICY`; `suffix` (as '.png') is what its name promises, '' for no promise.

    Raises:
        ImageError: As `read_image`.
    """
    stored = decode_stored(data, suffix)
    rgb, alpha = stored.as_8_bit_rgb()
    return DecodedImage(rgb, stored.notices, alpha)


def decode_stored(data: bytes, suffix: str = '', *, most_pixels: int | None = None) -> StoredImage:
    """Decode the bytes of a file as it is, by the same policy for what cannot be used.

    Args:
        data: The bytes.
        suffix: As for `decode_image`.
        most_pixels: How many pixels a file may declare; where not given, what Pillow takes for safe.

    Raises:
        ImageError: As `read_image`.
    """
    if not data:
        raise ImageError('empty')
    if data.startswith(_LFS_POINTER):
        raise ImageError('lfs-pointer')
    header = _open_header(data, most_pixels)
    orientation = orientation_of(data, header)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of metadata; those of pixels become notices
            notices = set(_header_notices(header, suffix))
            pixels, alpha, converted = _decode(data, header)
    except DECODER_ERRORS as error:  # of the pixels, or of a header that is read further where it is asked for more
        raise ImageError('damaged', str(error)) from error
    notices.update(converted)
    if orientation != 1:
        notices.add('orientation')
        pixels = turned(pixels, orientation)
        alpha = None if alpha is None else turned(alpha, orientation)
    profile, resolution = profile_of(header, pixels), resolution_of(header, is_turned=orientation >= 5)
    return StoredImage(pixels, alpha, tuple(sorted(notices)), profile, resolution)


def image_size(path: str | os.PathLike, *, most_pixels: int | None = None) -> tuple[int, int] | None:
    """Height and width of the image that `read_image` gives, by the header alone; None where it cannot be read.

    `most_pixels`: as for `decode_stored`.
    """
    try:
        with warnings.catch_warnings(), _pixel_limit(most_pixels):
            warnings.simplefilter('ignore')
            with Image.open(path) as header:
                height, width = header.height, header.width
                # Pillow turns TIFF files by itself, the size in its header included.
                is_turned = header.format != 'TIFF' and orientation_of(b'', header) >= 5
                return (width, height) if is_turned else (height, width)
    except (*DECODER_ERRORS, Image.DecompressionBombError):
        return None


# --- the header ----------------------------------------------------------------------------------------------------
def _open_header(data: bytes, most_pixels: int | None) -> Image.Image:
    try:
        with warnings.catch_warnings(), _pixel_limit(most_pixels):
            warnings.simplefilter('ignore')  # Pillow warns of large images below its limit, and of odd metadata
            return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise ImageError('too-large') from error
    except UnidentifiedImageError as error:
        if data.startswith(TIFF_SIGNATURES) and Tiff(data).is_readable:
            raise ImageError('unsupported', f'TIFF of {Tiff(data).bits} bits') from error
        if data[4:8] == b'ftyp' and data[8:12] in HEIC_BRANDS:
            raise ImageError('unsupported', 'HEIC') from error
        raise ImageError('damaged' if begins_like_an_image(data) else 'not-an-image') from error
    except DECODER_ERRORS as error:
        raise ImageError('damaged', str(error)) from error


_limit_lock = threading.Lock()


@contextlib.contextmanager
def _pixel_limit(most_pixels: int | None) -> Iterator[None]:
    """Pillow's limit is one for the process; it refuses files of twice as many pixels."""
    if most_pixels is None:
        yield
        return
    with _limit_lock:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, most_pixels // 2
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _header_notices(header: Image.Image, suffix: str) -> Iterator[str]:
    if header.mode in ('1', 'L', 'LA', 'La') or header.mode.startswith('I'):
        yield 'grey'
    elif header.mode in ('P', 'PA'):
        yield 'palette'
    elif header.mode == 'CMYK':
        yield 'cmyk'
    elif header.mode not in ('RGB', 'RGBA', 'RGBX', 'RGBa', 'F'):
        yield 'colour-space'
    if getattr(header, 'n_frames', 1) > 1:
        yield 'several'
    if header.info.get('icc_profile'):
        yield 'profile'
    expected = SUFFIXES_OF_FORMATS.get(header.format or '', set())
    if suffix and expected and suffix.lower() not in expected:
        yield 'misnamed'


# --- the pixels ----------------------------------------------------------------------------------------------------
def _decode(data: bytes, header: Image.Image) -> _Pixels:
    if header.format == 'TIFF':
        return _decode_tiff(data, header.size)
    if header.format == 'PPM' and data[1:2] in b'123456':
        return _decode_pnm(data)
    is_jpeg = header.format in ('JPEG', 'MPO')
    if reason := hidden_damage(data, header.format or '', header.info):
        raise ImageError('damaged', reason)
    several = getattr(header, 'n_frames', 1) > 1
    if header.mode not in _OPENCV_MODES or (several and header.format != 'MPO'):
        pixels, alpha, notices = _decode_with_pillow(header)
        # Pillow does not tell what libjpeg warned of.
        return pixels, alpha, notices + (_decode_with_opencv(data)[1] if is_jpeg else [])
    if is_jpeg and b'\xff\xd9' not in data[-4096:]:
        # No end marker: OpenCV before version 5 fills a truncated image with grey and says nothing; Pillow refuses.
        _decode_with_pillow(header)
    decoded, notices = _decode_with_opencv(data)
    if decoded is None:  # damaged, or a format that this build of OpenCV lacks
        return _decode_with_pillow(header)
    if decoded.dtype == np.uint16:
        notices.append('16-bit')
    elif decoded.dtype != np.uint8:
        raise ImageError('unsupported', str(decoded.dtype))
    if decoded.ndim == 2:
        if header.format == 'PNG' and 'transparency' in header.info:
            opaque = np.iinfo(decoded.dtype).max
            level, bits = header.info['transparency'], data[24]  # the level that is transparent, as it is stored
            level = level * 255 // (2**bits - 1) if bits in (2, 4) else level
            alpha = np.where(decoded == level, 0, opaque).astype(decoded.dtype)
            return decoded, alpha, [*notices, 'alpha']
        return decoded, None, notices
    alpha = None
    if decoded.shape[2] == 4:
        notices.append('alpha')
        alpha = np.ascontiguousarray(decoded[:, :, 3])
    is_grey_png = header.format == 'PNG' and data[25] == 4  # grey with alpha: of 16 bits Pillow says RGBA
    if header.mode in _GREY_MODES or is_grey_png:
        return np.ascontiguousarray(decoded[:, :, 0]), alpha, notices
    if alpha is not None:
        return cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGB), alpha, notices
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=decoded), None, notices


def _decode_with_opencv(data: bytes) -> tuple[np.ndarray | None, list[str]]:
    """What OpenCV makes of a file, None where it cannot, and the notices of what its decoders said."""
    pixels: np.ndarray | None
    with decoder_messages() as messages:
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pixels = None
    if pixels is None:
        return None, []
    if messages.pixels_are_wrong:
        raise ImageError('damaged', messages[0])
    return pixels, ['decoder-warning'] if messages else []


def _decode_with_pillow(header: Image.Image) -> _Pixels:
    if header.mode == 'F':
        raise ImageError('unsupported', 'float')
    transparent = header.has_transparency_data
    kind = 'L' if header.mode in _GREY_MODES else 'RGB'
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        converted = header.convert(f'{kind}A' if transparent else kind)
    notices = ['decoder-warning'] if said else []
    pixels = np.array(converted)
    if not transparent:
        return pixels, None, notices
    colours = pixels[:, :, 0] if kind == 'L' else pixels[:, :, :3]
    return np.ascontiguousarray(colours), np.ascontiguousarray(pixels[:, :, -1]), [*notices, 'alpha']


def _decode_pnm(data: bytes) -> _Pixels:
    pixels, largest = decode_pnm(data)
    notices = ['16-bit'] if largest > 255 else []
    return pixels, None, notices if largest in (1, 255, 65535) else [*notices, 'maxval']


def _decode_tiff(data: bytes, size: tuple[int, int]) -> _Pixels:
    """A TIFF file without its orientation: Pillow and OpenCV each turn by it at a moment of their own.

    Pillow reads 8 bits right, and OpenCV colours of 16; each reads some of the other's files wrongly without a word.
    `size` is what was allowed to be decoded.
    """
    tiff = Tiff(data)
    if not tiff.is_integer or tiff.bits > 16:
        raise ImageError('unsupported', f'{tiff.bits} bits' if tiff.is_integer else 'no whole numbers from 0')
    data = tiff.without_orientation()
    header = _open_header(data, 2 * size[0] * size[1])
    if tiff.bits > 8 and header.mode.startswith('RGB'):
        return _decode_16_bit_tiff(data, tiff)
    if not header.mode.startswith('I;16'):
        with decoder_messages():  # Pillow raises what libtiff also prints
            pixels, alpha, notices = _decode_with_pillow(header)
        if tiff.has_damaged_strip:
            raise ImageError('damaged', 'a strip fails its checksum, or holds a stretch of zeros')
        is_jpeg = tiff.compression in (6, 7)
        return pixels, alpha, notices + (_decode_with_opencv(data)[1] if is_jpeg else [])
    with decoder_messages(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        grey = np.asarray(header).astype(np.uint32)
    white, notices = 2**tiff.bits - 1, ['16-bit', 'decoder-warning'] if said else ['16-bit']
    return scaled(white - grey if tiff.white_is_zero else grey, white, 65535), None, notices


def _decode_16_bit_tiff(data: bytes, tiff: Tiff) -> _Pixels:
    if tiff.is_planar or tiff.bits != 16:
        raise ImageError('unsupported', f'TIFF with separate planes of {tiff.bits} bits')
    pixels, notices = _decode_with_opencv(data)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise ImageError('damaged', 'OpenCV cannot decode it')
    notices.append('16-bit')
    rgb, alpha = cv2.cvtColor(np.ascontiguousarray(pixels[:, :, :3]), cv2.COLOR_BGR2RGB), None
    if pixels.shape[2] == 4 and tiff.alpha is not None:
        alpha = np.ascontiguousarray(pixels[:, :, 3])
        notices.append('alpha')
        if tiff.alpha == 'associated':
            divided = rgb.astype(np.float64) * 65535 / np.maximum(alpha, 1)[..., None]
            rgb = np.rint(divided).clip(0, 65535).astype(np.uint16)
    return rgb, alpha, notices
