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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from rfdn_plugin.data.stored import DECODER_ERRORS, StoredImage, orientation_of, profile_of, resolution_of
from rfdn_plugin.utils.errors import RFDNError

# kind of oddity -> (what is done, what is said). 'convert': the image is used, with a notice.
# 'skip': it is left out and counted with its reason; `--strict` makes that a failure.
POLICY: dict[str, tuple[str, str]] = {
    'grey': ('convert', 'greyscale (1, 2, 4 or 8 bit): the grey is used for all three channels'),
    '16-bit': ('convert', '16 bits a channel: rounded to 8 bits, value / 257'),
    'alpha': ('convert', 'transparency: dropped, the colours are used as stored'),
    'palette': ('convert', 'palette: expanded to RGB'),
    'cmyk': ('convert', 'CMYK: converted to RGB without a colour profile, as Pillow does'),
    'colour-space': ('convert', 'stored in another colour space (YCbCr, LAB, HSV): converted to RGB by Pillow'),
    'orientation': ('convert', 'EXIF orientation: turned as a viewer shows it'),
    'profile': ('convert', 'ICC colour profile: not applied, the values are used as stored'),
    'several': ('convert', 'animated or with several pages: the first image is used'),
    'misnamed': ('convert', 'content is of another format than the name says: read by its content'),
    'renamed': ('convert', 'name has dots, is not ASCII, or differs in the suffix only: a key is made from it'),
    'small': ('convert', 'a side below the crop size: that side is kept whole'),
    'empty': ('skip', 'empty file'),
    'lfs-pointer': ('skip', 'Git LFS pointer instead of the image: run `git lfs pull`'),
    'damaged': ('skip', 'damaged or truncated: download or copy it again'),
    'too-large': ('skip', 'declares more pixels than Pillow takes for safe (179 million)'),
    'unsupported': ('skip', 'holds floating-point or 32-bit values, not a photograph of 8 or 16 bits'),
    'not-a-image': ('skip', 'not an image'),
    'side-file': ('skip', 'side file of an operating system'),
    'folder': ('skip', 'a folder'),
    'unreadable': ('skip', 'cannot be opened'),
    'too-small': ('skip', 'a side is below one LR pixel, or below --min-size'),
    'lr-mismatch': ('skip', 'the given LR has not the size of the HR divided by the scale'),
    'lr-without-hr': ('skip', 'a given LR for which there is no HR'),
}

_SIDE_FILES = {'thumbs.db', 'ehthumbs.db', 'desktop.ini', '.ds_store', '.localized', '@eadir', '__macosx'}
_SIGNATURES = (b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'GIF8', b'BM', b'II*\0', b'MM\0*', b'RIFF')
_LFS_POINTER = b'version https://git-lfs'
_SUFFIXES = {
    'PNG': {'.png', '.apng'},
    'JPEG': {'.jpg', '.jpeg', '.jpe', '.jfif'},
    'MPO': {'.jpg', '.jpeg', '.mpo'},
    'BMP': {'.bmp', '.dib'},
    'DIB': {'.bmp', '.dib'},
    'TIFF': {'.tif', '.tiff'},
    'WEBP': {'.webp'},
    'GIF': {'.gif'},
}
IMAGE_SUFFIXES = frozenset().union(*_SUFFIXES.values(), {'.avif', '.jp2', '.ppm', '.pgm', '.pnm', '.tga'})
_OPENCV_MODES = {'1', 'L', 'LA', 'RGB', 'RGBA', 'I;16', 'I;16B', 'I;16L', 'I'}
_GREY_MODES = {'1', 'L', 'LA', 'La'}
_PNG_GREY_ALPHA = 4
_TIFF_BITS = 258


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image.

    Attributes:
        rgb: uint8, (H, W, 3).
        notices: The kinds of `POLICY` by which it was converted; empty for a plain RGB image.
        alpha: uint8, (H, W), for callers that carry transparency along; None for an opaque image.
    """

    rgb: np.ndarray
    notices: tuple[str, ...] = ()
    alpha: np.ndarray | None = None


class ImageError(RFDNError):
    """A file that cannot be used. `kind` is its key in `POLICY`, `detail` what the decoder said, if anything."""

    def __init__(self, kind: str, detail: str = '') -> None:
        self.kind, self.detail = kind, detail
        super().__init__(POLICY[kind][1] + (f' ({detail})' if detail else ''))

    def __reduce__(self) -> tuple:  # an exception with its own arguments does not cross processes otherwise
        return type(self), (self.kind, self.detail)


def read_image(path: str | os.PathLike) -> DecodedImage:
    """Read a file by `POLICY`.

    Returns:
        The image: RGB, uint8, (H, W, 3), with the notices of what was converted.

    Raises:
        ImageError: The file is to be skipped; `kind` says why.
    """
    return decode_image(_bytes_of(Path(path)), Path(path).suffix)


def read_stored(path: str | os.PathLike, *, most_pixels: int | None = None) -> StoredImage:
    """Read a file as it is: 16 bits, grey, alpha, colour profile and resolution are kept. Arguments: `decode_stored`."""
    return decode_stored(_bytes_of(Path(path)), Path(path).suffix, most_pixels=most_pixels)


def _bytes_of(path: Path) -> bytes:
    if path.is_dir():
        raise ImageError('folder')
    if is_side_file(path.name):
        raise ImageError('side-file')
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
    notices = set(_header_notices(header, suffix))
    pixels, alpha, converted = _decode(data, header)
    notices.update(converted)
    orientation = orientation_of(data, header)
    if orientation != 1:
        notices.add('orientation')
        pixels = _turned(pixels, orientation)
        alpha = None if alpha is None else _turned(alpha, orientation)
    profile, resolution = profile_of(header, pixels), resolution_of(header, turned=orientation >= 5)
    return StoredImage(pixels, alpha, tuple(sorted(notices)), profile, resolution)


def image_size(path: str | os.PathLike) -> tuple[int, int] | None:
    """Height and width of the image that `read_image` gives, by the header alone; None where it cannot be read."""
    try:
        with warnings.catch_warnings(), Image.open(path) as header:
            warnings.simplefilter('ignore')
            height, width = header.height, header.width
            # Pillow turns TIFF files by itself, the size in its header included.
            is_turned = header.format != 'TIFF' and orientation_of(b'', header) >= 5
            return (width, height) if is_turned else (height, width)
    except (*DECODER_ERRORS, Image.DecompressionBombError):
        return None


def is_side_file(name: str) -> bool:
    """Whether a file or folder of this name is left beside images by an operating system or a file server."""
    return name.startswith('._') or name.lower() in _SIDE_FILES


def find_images(
    folders: Iterable[str | os.PathLike], recursive: bool = False
) -> tuple[list[tuple[Path, Path]], list[tuple[Path, ImageError]]]:
    """List the files that may be images, sorted by their path below the folder, and what else lies there.

    A file is a candidate by its name's suffix; whether it is an image is found out when it is read.

    Args:
        folders: Folders, each of which must exist.
        recursive: Enter subfolders, except those named like an image and side folders.

    Returns:
        The candidates as (folder, path below it), and (path, reason) for everything else.

    Raises:
        RFDNError: A folder does not exist or is a file.
    """
    candidates: list[tuple[Path, Path]] = []
    others: list[tuple[Path, ImageError]] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            problem = 'is not a folder' if folder.exists() else 'does not exist'
            raise RFDNError(f'the folder of images {folder} {problem}: give the folder that holds the image files')
        for path in _walk(folder, recursive):
            if is_side_file(path.name):
                others.append((path, ImageError('side-file')))
            elif path.is_dir():
                hint = '' if path.suffix.lower() in IMAGE_SUFFIXES or recursive else 'entered only with --recursive'
                others.append((path, ImageError('folder', hint)))
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                candidates.append((folder, path.relative_to(folder)))
            else:
                others.append((path, ImageError('not-a-image')))
    candidates.sort(key=lambda item: item[1].as_posix())
    return candidates, others


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        enter = recursive and path.is_dir() and path.suffix.lower() not in IMAGE_SUFFIXES
        if enter and not is_side_file(path.name) and not path.name.startswith('.'):
            yield from _walk(path, recursive)
        else:
            yield path


# --- the header ----------------------------------------------------------------------------------------------------
def _open_header(data: bytes, most_pixels: int | None) -> Image.Image:
    try:
        with warnings.catch_warnings(), _pixel_limit(most_pixels):
            warnings.simplefilter('ignore')  # Pillow warns of large images below its limit, and of odd metadata
            return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise ImageError('too-large') from error
    except UnidentifiedImageError as error:
        raise ImageError('damaged' if data.startswith(_SIGNATURES) else 'not-a-image') from error
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
    expected = _SUFFIXES.get(header.format or '', set())
    if suffix and expected and suffix.lower() not in expected:
        yield 'misnamed'


# --- the pixels ----------------------------------------------------------------------------------------------------
def _decode(data: bytes, header: Image.Image) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """RGB or grey, uint8 or uint16; alpha of the same type or None; and the notices that only the pixels show."""
    several = getattr(header, 'n_frames', 1) > 1
    if header.mode not in _OPENCV_MODES or (several and header.format not in ('MPO', 'TIFF')):
        return _decode_with_pillow(header)
    bits = getattr(header, 'tag_v2', {}).get(_TIFF_BITS, ())
    if header.format == 'TIFF' and header.mode in ('RGBA', 'LA') and set(bits) == {8}:
        return _decode_with_pillow(header)  # OpenCV multiplies the colours by alpha
    if header.format in ('JPEG', 'MPO') and b'\xff\xd9' not in data[-4096:]:
        # No end marker: OpenCV before version 5 fills a truncated image with grey and says nothing; Pillow refuses.
        _decode_with_pillow(header)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:  # damaged, or a format that this build of OpenCV lacks
        return _decode_with_pillow(header)
    notices = []
    if pixels.dtype == np.uint16:
        notices.append('16-bit')
    elif pixels.dtype != np.uint8:
        raise ImageError('unsupported', str(pixels.dtype))
    if pixels.ndim == 2:
        return pixels, None, notices
    alpha = None
    if pixels.shape[2] == 4:
        notices.append('alpha')
        alpha = np.ascontiguousarray(pixels[:, :, 3])
    if header.mode in _GREY_MODES or (
        header.format == 'PNG' and data[25] == _PNG_GREY_ALPHA
    ):  # 16 bits: Pillow says RGBA
        return np.ascontiguousarray(pixels[:, :, 0]), alpha, notices
    if alpha is not None:
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB), alpha, notices
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), None, notices


def _decode_with_pillow(header: Image.Image) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    if header.mode == 'F':
        raise ImageError('unsupported', 'float')
    transparent = header.has_transparency_data
    kind = 'L' if header.mode in _GREY_MODES else 'RGB'
    try:
        converted = header.convert(f'{kind}A' if transparent else kind)
    except DECODER_ERRORS as error:
        raise ImageError('damaged', str(error)) from error
    pixels = np.array(converted)
    if not transparent:
        return pixels, None, []
    colours = pixels[:, :, 0] if kind == 'L' else pixels[:, :, :3]
    return np.ascontiguousarray(colours), np.ascontiguousarray(pixels[:, :, -1]), ['alpha']


def _turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer shows for EXIF `orientation` (TIFF 6.0, tag 274: where the stored first row and column belong)."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
