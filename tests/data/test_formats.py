"""Every format and feature that the one reader takes, pixel by pixel against what was written, or another decoder."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, features

from rfdn_plugin.cli import main
from rfdn_plugin.data.decoder_messages import decoder_messages
from rfdn_plugin.data.images import ImageError, decode_image, image_size, read_image

HEIGHT, WIDTH = 37, 50
_numbers = np.random.default_rng(0)
RGB = cv2.GaussianBlur(_numbers.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 2)
RGBA16 = _numbers.integers(0, 65536, (HEIGHT, WIDTH, 4), np.uint16)
ALPHA = _numbers.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
INDEX = _numbers.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
RGBA, GREY, RGB16, GREY16 = np.dstack([RGB, ALPHA]), RGB[..., 1], RGBA16[..., :3], RGBA16[..., 0]


def to_8(values: np.ndarray, largest: int = 65535) -> np.ndarray:
    """Above 8 bits by way of 16, which is how such an image is stored."""
    if 255 < largest < 65535:
        values, largest = np.floor(values.astype(np.float64) * 65535 / largest + 0.5), 65535
    return np.floor(values.astype(np.float64) * 255 / largest + 0.5).astype(np.uint8)


def grey_as_rgb(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


# --- writers that know nothing of Pillow and OpenCV ----------------------------------------------------------------
def tiff(
    samples: np.ndarray,
    photometric: int,
    *,
    bits: int | None = None,
    order: str = '<',
    compression: int = 1,
    planar: bool = False,
    big: bool = False,
    rows_per_strip: int = 10,
    sample_format: int = 1,
    **tags: tuple[str, list[int]],
) -> bytes:
    """A TIFF file; `samples` H x W x C, `tags` further ones as t274=('H', [6])."""
    height, width, channels = samples.shape
    bits = bits or samples.dtype.itemsize * 8

    def packed(rows: np.ndarray) -> bytes:
        if bits in (8, 16, 32):
            return rows.astype(rows.dtype.newbyteorder(order)).tobytes()
        flat = rows.reshape(rows.shape[0], -1).astype(np.uint32)
        digits = (flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        return np.packbits(digits.reshape(rows.shape[0], -1).astype(np.uint8), axis=1).tobytes()

    planes = [samples[..., c : c + 1] for c in range(channels)] if planar else [samples]
    strips = [packed(plane[top : top + rows_per_strip]) for plane in planes for top in range(0, height, rows_per_strip)]
    strips = [zlib.compress(strip) if compression == 8 else strip for strip in strips]
    number, header = ('Q', 16) if big else ('I', 8)
    offsets = list(np.cumsum([header] + [len(strip) for strip in strips[:-1]]).astype(int))
    entries = {
        256: ('I', [width]),
        257: ('I', [height]),
        258: ('H', [bits] * channels),
        259: ('H', [compression]),
        262: ('H', [photometric]),
        273: ('I', offsets),
        277: ('H', [channels]),
        278: ('I', [rows_per_strip]),
        279: ('I', [len(strip) for strip in strips]),
        284: ('H', [2 if planar else 1]),
        339: ('H', [sample_format] * channels),
    }
    entries |= {int(name[1:]): value for name, value in tags.items()}
    body = b''.join(strips)
    extra_at = header + len(body)
    extra, table = b'', b''
    for tag, (form, values) in sorted(entries.items()):
        content = struct.pack(f'{order}{len(values)}{form}', *map(int, values))
        inline = struct.calcsize(number)
        if len(content) > inline:
            place = struct.pack(order + number, extra_at + len(extra))
            extra += content + b'\0' * (len(content) % 2)
        else:
            place = content.ljust(inline, b'\0')
        table += struct.pack(order + 'HH' + number, tag, {'H': 3, 'I': 4}[form], len(values)) + place
    start = extra_at + len(extra)
    mark = b'II' if order == '<' else b'MM'
    if big:
        first = mark + struct.pack(order + 'HHHQ', 43, 8, 0, start)
        directory = struct.pack(order + 'Q', len(entries)) + table + struct.pack(order + 'Q', 0)
    else:
        first = mark + struct.pack(order + 'HI', 42, start)
        directory = struct.pack(order + 'H', len(entries)) + table + struct.pack(order + 'I', 0)
    return first + body + extra + directory


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png(samples: np.ndarray, bits: int, colour_type: int, interlaced: bool, before: bytes = b'') -> bytes:
    """A PNG file; `before` are chunks in front of the pixels."""

    def rows(part: np.ndarray) -> bytes:
        if bits >= 8:
            return b''.join(b'\0' + row.astype('>u2' if bits == 16 else 'u1').tobytes() for row in part)
        digits = (part[..., None].astype(int) >> np.arange(bits - 1, -1, -1)) & 1
        return b''.join(b'\0' + np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in digits)

    parts = [samples[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [samples]
    raw = b''.join(rows(part) for part in parts if part.size)
    header = struct.pack('>IIBBBBB', samples.shape[1], samples.shape[0], bits, colour_type, 0, 0, interlaced)
    content = chunk(b'IHDR', header) + before + chunk(b'IDAT', zlib.compress(raw)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + content


def pnm(kind: int, values: np.ndarray, largest: int, comment: bytes = b'') -> bytes:
    size = b'%d %d' % values.shape[1::-1]
    head = b'P%d\n' % kind + comment + size + (b'\n' if kind in (1, 4) else b'\n%d\n' % largest)
    if kind == 4:
        return head + np.packbits(values.astype(np.uint8), axis=1).tobytes()
    if kind > 4:
        return head + values.astype('>u2' if largest > 255 else 'u1').tobytes()
    return head + b'\n'.join(b' '.join(b'%d' % value for value in row.ravel()) for row in values) + b'\n'


# --- name -> (file, RGB, alpha or None) ----------------------------------------------------------------------------
def _tiff_cases() -> dict:
    cases = {}
    for order in '<>':
        for compression in (1, 8):
            for big in (False, True) if order == '<' else (False,):
                settings = {'order': order, 'compression': compression, 'big': big}
                name = f'{"little" if order == "<" else "big"}-endian, compression {compression}{", BigTIFF" * big}'
                cases |= {
                    f'RGB, {name}': (tiff(RGB, 2, **settings), RGB, None),
                    f'RGB 16, {name}': (tiff(RGB16, 2, **settings), to_8(RGB16), None),
                    f'grey, {name}': (tiff(GREY[..., None], 1, **settings), grey_as_rgb(GREY), None),
                    f'grey 16, {name}': (tiff(GREY16[..., None], 1, **settings), grey_as_rgb(to_8(GREY16)), None),
                }
    separate, associated, unknown = (('H', [number]) for number in (2, 1, 0))
    palette = _numbers.integers(0, 65536, (3, 256))
    black_alpha = np.where(ALPHA == 0, 1, ALPHA)
    premultiplied = np.dstack([np.rint(RGB * (black_alpha[..., None] / 255)).astype(np.uint8), black_alpha])
    by_alpha = (premultiplied[..., :3].astype(int) * 255 // black_alpha[..., None]).clip(0, 255).astype(np.uint8)
    cases |= {
        'white is zero': (tiff(255 - GREY[..., None], 0), grey_as_rgb(GREY), None),
        'white is zero 16': (tiff(65535 - GREY16[..., None], 0), grey_as_rgb(to_8(GREY16)), None),
        '12 bits': (tiff(GREY16[..., None] >> 4, 1, bits=12), grey_as_rgb(to_8(GREY16 >> 4, 4095)), None),
        '4 bits': (tiff(GREY[..., None] >> 4, 1, bits=4), grey_as_rgb(to_8(GREY >> 4, 15)), None),
        'bilevel': (tiff(GREY[..., None] >> 7, 1, bits=1), grey_as_rgb((GREY >> 7) * 255), None),
        'planes': (tiff(RGB, 2, planar=True), RGB, None),
        'palette': (tiff(INDEX[..., None], 3, t320=('H', list(palette.ravel()))), palette.T[INDEX] >> 8, None),
        'alpha': (tiff(RGBA, 2, t338=separate), RGB, ALPHA),
        'alpha 16': (tiff(RGBA16, 2, t338=separate), to_8(RGB16), to_8(RGBA16[..., 3])),
        'alpha multiplied': (tiff(premultiplied, 2, t338=associated), by_alpha, black_alpha),
        'a fourth channel': (tiff(RGBA, 2, t338=unknown), RGB, None),
        'a fourth channel 16': (tiff(RGBA16, 2, t338=unknown), to_8(RGB16), None),
        'grey and alpha': (tiff(RGBA[..., 2:], 1, t338=separate), grey_as_rgb(RGB[..., 2]), ALPHA),
        'one strip': (tiff(RGB, 2, rows_per_strip=HEIGHT), RGB, None),
    }
    return {f'TIFF {name}': case for name, case in cases.items()}


def _png_cases() -> dict:
    cases = {}
    for interlaced in (False, True):
        for bits in (1, 2, 4, 8):
            name, values = f'{bits} bits{", interlaced" * interlaced}', GREY >> (8 - bits)
            palette = _numbers.integers(0, 256, (2**bits, 3)).astype(np.uint8)
            plte, trns = chunk(b'PLTE', palette.tobytes()), chunk(b'tRNS', bytes([0, 128]))
            of_index = np.r_[[0, 128], np.full(2**bits, 255)].astype(np.uint8)
            grey = grey_as_rgb(to_8(values, 2**bits - 1))
            one = chunk(b'tRNS', struct.pack('>H', 1))
            cases |= {
                f'grey {name}': (png(values, bits, 0, interlaced), grey, None),
                f'grey {name}, transparent level': (
                    png(values, bits, 0, interlaced, one),
                    grey,
                    np.where(values == 1, 0, 255).astype(np.uint8),
                ),
                f'palette {name}': (png(values, bits, 3, interlaced, plte), palette[values], None),
                f'palette {name}, alpha': (
                    png(values, bits, 3, interlaced, plte + trns),
                    palette[values],
                    of_index[values],
                ),
            }
        for bits, rgba, rgb_8, alpha_8 in (
            (8, RGBA, RGB, ALPHA),
            (16, RGBA16, to_8(RGB16), to_8(RGBA16[..., 3])),
        ):
            name, level = f'{bits} bits{", interlaced" * interlaced}', rgba[3, 4, :3]
            trns = chunk(b'tRNS', struct.pack('>HHH', *map(int, level)))
            is_level = (rgba[..., :3] == level).all(axis=2)
            one = chunk(b'tRNS', struct.pack('>H', int(rgba[3, 4, 0])))
            cases |= {
                f'RGB {name}': (png(rgba[..., :3], bits, 2, interlaced), rgb_8, None),
                f'RGB {name}, transparent colour': (
                    png(rgba[..., :3], bits, 2, interlaced, trns),
                    rgb_8,
                    np.where(is_level, 0, 255).astype(np.uint8),
                ),
                f'RGBA {name}': (png(rgba, bits, 6, interlaced), rgb_8, alpha_8),
                f'grey and alpha {name}': (
                    png(rgba[..., 2:], bits, 4, interlaced),
                    grey_as_rgb(rgb_8[..., 2]),
                    alpha_8,
                ),
                f'grey {name}': (png(rgba[..., 0], bits, 0, interlaced), grey_as_rgb(rgb_8[..., 0]), None),
                f'grey {name}, transparent': (
                    png(rgba[..., 0], bits, 0, interlaced, one),
                    grey_as_rgb(rgb_8[..., 0]),
                    np.where(rgba[..., 0] == rgba[3, 4, 0], 0, 255).astype(np.uint8),
                ),
            }
    gamma, depth = chunk(b'gAMA', struct.pack('>I', 100000)), chunk(b'sBIT', bytes([5, 5, 5]))
    cases['RGB with a gamma'] = (png(RGB, 8, 2, False, gamma), RGB, None)
    cases['RGB 16 with a gamma'] = (png(RGB16, 16, 2, False, gamma), to_8(RGB16), None)
    cases['RGB with significant bits'] = (png(RGB, 8, 2, False, depth), RGB, None)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    iccp = chunk(b'iCCP', b'sRGB\0\0' + zlib.compress(profile))
    cases['RGB with a profile'] = (png(RGB, 8, 2, False, iccp), RGB, None)
    return {f'PNG {name}': case for name, case in cases.items()}


def _pnm_cases() -> dict:
    cases = {}
    for largest in (1, 2, 15, 100, 254, 255, 256, 1000, 1023, 4095, 65534, 65535):
        values, colours = (part.astype(np.int64) * largest // 65535 for part in (GREY16, RGB16))
        for kind, part in ((2, values), (3, colours), (5, values), (6, colours)):
            expected = to_8(part, largest)
            cases[f'P{kind} of {largest}'] = (
                pnm(kind, part, largest),
                grey_as_rgb(expected) if part.ndim == 2 else expected,
                None,
            )
    bits = GREY < 128
    bilevel = grey_as_rgb(np.where(bits, 0, 255).astype(np.uint8))
    cases['P1'] = (pnm(1, bits, 1), bilevel, None)
    cases['P1 without spaces'] = (pnm(1, bits, 1).replace(b' ', b'').replace(b'5037', b'50 37'), bilevel, None)
    cases['P4'] = (pnm(4, bits, 1), bilevel, None)
    cases['a comment'] = (pnm(6, RGB, 255, b'# made by\n# nobody 5\n'), RGB, None)
    cases['two images'] = (pnm(6, RGB, 255) * 2, RGB, None)
    return {f'PNM {name}': case for name, case in cases.items()}


CASES = {**_tiff_cases(), **_png_cases(), **_pnm_cases()}


@pytest.mark.parametrize('name', CASES)
def test_the_pixels_are_those_that_were_written(name):
    data, rgb, alpha = CASES[name]
    image = decode_image(data)
    np.testing.assert_array_equal(image.rgb, rgb)
    assert (image.alpha is None) == (alpha is None) and ('alpha' in image.notices) == (alpha is not None)
    if alpha is not None:
        np.testing.assert_array_equal(image.alpha, alpha)
    assert ('16-bit' in image.notices) == (' 16' in name or '12 bits' in name or _is_pnm_of_16_bits(name))
    assert 'decoder-warning' not in image.notices


def _is_pnm_of_16_bits(name: str) -> bool:
    last = name.split()[-1]
    return name.startswith('PNM') and last.isdigit() and int(last) > 255


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['RGB', 'RGB 16', 'grey', 'grey 16', 'RGBA', 'big-endian', 'BigTIFF', 'deflated'])
def test_a_tiff_is_turned_once(tmp_path, kind, orientation):
    samples = {'RGB 16': RGB16, 'grey': GREY[..., None], 'grey 16': GREY16[..., None], 'RGBA': RGBA}.get(kind, RGB)
    settings = {'big-endian': {'order': '>'}, 'BigTIFF': {'big': True}, 'deflated': {'compression': 8}}.get(kind, {})
    tags = {'t274': ('H', [orientation])} | ({'t338': ('H', [2])} if kind == 'RGBA' else {})
    path = tmp_path / 'a.tif'
    path.write_bytes(tiff(samples, 1 if 'grey' in kind else 2, **settings, **tags))
    stored = samples if samples.dtype == np.uint8 else to_8(samples)
    stored = grey_as_rgb(stored[..., 0]) if stored.shape[2] == 1 else stored
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }
    expected = turns[orientation](stored)
    image = read_image(path)
    np.testing.assert_array_equal(image.rgb, expected[..., :3])
    assert ('orientation' in image.notices) == (orientation != 1)
    assert image_size(path) == expected.shape[:2]
    if kind == 'RGBA':
        np.testing.assert_array_equal(image.alpha, expected[..., 3])


@pytest.mark.parametrize(
    'data',
    [
        tiff(RGB.astype(np.float32), 2, sample_format=3),
        tiff(GREY16[..., None].astype(np.float32), 1, sample_format=3),
        tiff(GREY16[..., None].astype(np.uint32), 1),
        tiff(GREY16[..., None].view(np.int16), 1, sample_format=2),
        tiff(GREY[..., None].view(np.int8), 1, sample_format=2),
        tiff(RGB16, 2, planar=True),
        tiff(GREY16[..., None] >> 2, 1, bits=14),
        tiff(RGB, 2, big=True, order='>'),
    ],
    ids=[
        'float RGB',
        'float grey',
        '32 bits',
        'signed 16',
        'signed 8',
        'planes of 16',
        '14 bits',
        'big-endian BigTIFF',
    ],
)
def test_what_no_decoder_here_reads_is_called_unsupported(data):
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    assert caught.value.kind == 'unsupported'


@pytest.mark.parametrize(
    'data',
    [
        b'P5\n4 4\n',
        b'P5\n4 4\n70000\n' + bytes(32),
        b'P5\n4 4\n0\n' + bytes(16),
        b'P5\n4 4\n255\n' + bytes(15),
        b'P6\n4 4\n1023\n' + bytes(95),
        b'P5\n4 4\n100\n' + bytes([101]) * 16,
        b'P2\n2 2\n255\n1 2 3',
        b'P2\n2 2\n255\n1 2 3 x',
        b'P4\n9 2\n' + bytes(3),
        b'P1\n2 2\n0 1 0',
    ],
)
def test_a_pnm_that_is_not_whole_is_damaged(data):
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    assert caught.value.kind == 'damaged'


# --- other formats, against Pillow -----------------------------------------------------------------------------------
def saved(image: Image.Image, form: str, **settings) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **settings)
    return stream.getvalue()


JPEGS = {
    f'{mode}, {name}': saved(Image.fromarray(RGB).convert(mode), 'JPEG', quality=95, **settings)
    for mode in ('RGB', 'L', 'CMYK')
    for name, settings in {
        '4:4:4': {'subsampling': 0},
        '4:2:2': {'subsampling': 1},
        '4:2:0': {'subsampling': 2},
        'progressive': {'progressive': True},
        'optimised': {'optimize': True},
        'restarts': {'restart_marker_rows': 1},
        'resolution': {'dpi': (72, 72)},
        'RGB kept': {'keep_rgb': True},
    }.items()
}


@pytest.mark.parametrize('name', JPEGS)
def test_jpeg_is_decoded_as_pillow_does(name):
    image = decode_image(JPEGS[name])
    expected = np.asarray(Image.open(io.BytesIO(JPEGS[name])).convert('RGB')).astype(int)
    assert np.abs(image.rgb - expected).max() <= 2
    assert not {'decoder-warning', 'alpha'} & set(image.notices)
    assert ('grey' in image.notices) == name.startswith('L')
    assert ('cmyk' in image.notices) == name.startswith('CMYK')


LOSSLESS = [
    (form, mode, settings)
    for form, settings in {
        'BMP': {},
        'TGA': {},
        'TGA ': {'compression': 'tga_rle'},
        'WEBP': {'lossless': True, 'exact': True},
        'JPEG2000': {'irreversible': False},
        'GIF': {},
        'TIFF': {'compression': 'tiff_lzw'},
        'TIFF ': {'compression': 'packbits'},
        'TIFF  ': {'compression': 'tiff_adobe_deflate', 'tiffinfo': {317: 2}},
    }.items()
    for mode in ('RGB', 'RGBA', 'L', 'LA', '1', 'P')
    # There is no predictor for single bits: Pillow 12 destroys the process's memory as it refuses.
    if not (mode == '1' and 'tiffinfo' in settings)
]


@pytest.mark.parametrize(('form', 'mode', 'settings'), LOSSLESS)
def test_lossless_formats_are_decoded_as_pillow_does(form, mode, settings):
    try:
        data = saved(Image.fromarray(RGBA).convert(mode), form.strip(), **settings)
    except (OSError, ValueError, KeyError):
        pytest.skip(f'Pillow writes no {form} of mode {mode}')
    image = decode_image(data)
    opened = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(image.rgb, np.asarray(opened.convert('RGBA'))[..., :3])
    if mode in ('RGBA', 'LA') and opened.has_transparency_data:
        np.testing.assert_array_equal(image.alpha, np.asarray(opened.convert('RGBA'))[..., 3])


# --- what a decoder says -----------------------------------------------------------------------------------------------
PHOTOGRAPH = Image.fromarray(cv2.GaussianBlur(_numbers.integers(0, 256, (237, 250, 3), np.uint8), (0, 0), 2))
CHECKED = {
    'JPEG': {},
    'JPEG progressive': {'progressive': True},
    'JPEG optimised': {'optimize': True},
    'JPEG 4:4:4': {'subsampling': 0, 'quality': 98},
    'PNG': {},
    'GIF': {},
    'TIFF LZW': {'compression': 'tiff_lzw'},
    'TIFF deflate': {'compression': 'tiff_adobe_deflate'},
    'TIFF JPEG': {'compression': 'jpeg'},
    'TIFF PackBits': {'compression': 'packbits'},
    'JPEG2000': {},
    'JPEG2000 lossy': {'irreversible': True, 'quality_layers': [20]},
    'WEBP': {},
    'WEBP lossless': {'lossless': True},
    **({'AVIF': {}, 'AVIF high': {'quality': 98}} if features.check('avif') else {}),
}
"""Those of which damage can be seen; the others have no checksum, or decoders that do not tell."""
OF_A_SECTOR = [name for name in CHECKED if name.startswith(('JPEG2000', 'AVIF', 'WEBP')) or name.endswith('PackBits')]
AVIF = pytest.param('AVIF', marks=pytest.mark.skipif(not features.check('avif'), reason='Pillow without AVIF'))


@pytest.mark.parametrize('at', [0.3, 0.5, 0.95])  # a few per cent of the places in JPEG show nothing, by chance
@pytest.mark.parametrize('name', CHECKED)
def test_a_zeroed_stretch_is_damage(name, at, capfd):
    data = bytearray(saved(PHOTOGRAPH, name.split()[0], **CHECKED[name]))
    assert decode_image(bytes(data)).notices in ((), ('palette',))
    start, length = int(len(data) * at), 300 if name in OF_A_SECTOR else max(len(data) // 50, 8)
    data[start : start + length] = bytes(length)
    with pytest.raises(ImageError) as caught:
        decode_image(bytes(data))
    assert caught.value.kind == 'damaged'
    assert capfd.readouterr().err == ''  # what the decoder printed is in the error


@pytest.mark.parametrize('mode', ['CMYK', 'L'])
def test_a_damaged_jpeg_of_another_mode(mode):
    data = bytearray(saved(PHOTOGRAPH.convert(mode), 'JPEG'))
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    with pytest.raises(ImageError, match=r'Corrupt JPEG data|stretch of zeros'):
        decode_image(bytes(data))


@pytest.mark.parametrize('length', [64, 100, 400, 2000])
def test_a_zeroed_stretch_is_seen_wherever_it_lies(length):
    """Also where the decoder finds as many blocks as were lost, and says nothing."""
    whole = saved(PHOTOGRAPH, 'JPEG', quality=95)
    for start in range(1000, len(whole) - length - 100, len(whole) // 40):
        data = bytearray(whole)
        data[start : start + length] = bytes(length)
        with pytest.raises(ImageError):
            decode_image(bytes(data))


@pytest.mark.parametrize('colour', [0, 128, 255])
@pytest.mark.parametrize('settings', [{}, {'optimize': True}, {'progressive': True}, {'subsampling': 0}])
def test_flat_images_are_not_taken_for_damaged(colour, settings):
    flat = Image.new('RGB', (400, 300), (colour, colour, 255 - colour))
    assert decode_image(saved(flat, 'JPEG', **settings)).notices == ()
    flat.paste(PHOTOGRAPH, (50, 20))
    for quality in (10, 75, 98):
        assert decode_image(saved(flat, 'JPEG', quality=quality, **settings)).notices == ()


@pytest.mark.parametrize(
    'settings', [{}, {'quality': 5}, {'method': 0}, {'lossless': True}, {'lossless': True, 'method': 0}]
)
@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
def test_a_whole_webp_file_has_nothing_left_over(settings, mode):
    images = [
        Image.new('RGB', size, colour) for size in ((1, 1), (33, 7), (300, 200)) for colour in ('black', (10, 200, 30))
    ]
    for image in (PHOTOGRAPH, PHOTOGRAPH.quantize(4), *images):
        image = image.convert('RGB')
        if mode == 'RGBA':
            image.putalpha(image.getchannel('G'))
        assert 'decoder-warning' not in decode_image(saved(image, 'WEBP', **settings)).notices


@pytest.mark.parametrize('mode', ['RGB', 'L', 'P', '1'])
def test_a_flipped_bit_of_a_png_is_damage_wherever_it_lies(mode):
    """Also in the checksum of the pixels and in the last bytes of their stream, which OpenCV leaves unread."""
    whole = saved(PHOTOGRAPH.convert(mode), 'PNG')
    start, end = whole.index(b'IDAT') + 4, whole.rindex(b'IEND') - 4
    for position in (*range(start, end, (end - start) // 20), *range(end - 12, end)):
        data = bytearray(whole)
        data[position] ^= 16
        with pytest.raises(ImageError, match='checksum'):
            decode_image(bytes(data))


@pytest.mark.parametrize('form', ['JPEG2000', AVIF])
def test_zeros_that_are_right_are_no_damage(form):
    """Flat images, and metadata that is padded with zeros."""
    flat = Image.new('RGB', (400, 300), (255, 255, 255))
    assert decode_image(saved(flat, form)).rgb.min() == 255
    flat.paste(PHOTOGRAPH, (50, 20))
    assert decode_image(saved(flat, form)).notices == ()
    if form == 'AVIF':
        exif = Image.Exif()
        exif[0x010E] = 'x' + '\0' * 2000 + 'x'
        assert decode_image(saved(flat, form, exif=exif.tobytes())).notices == ()


@pytest.mark.parametrize('form', ['BMP', 'PPM', 'WEBP', 'JPEG2000', AVIF, 'TIFF', 'GIF', 'PNG', 'JPEG'])
@pytest.mark.parametrize('kept', [0.1, 0.6, 0.97])
def test_a_file_that_was_cut_short_is_damaged(form, kept, capfd, recwarn):
    data = saved(PHOTOGRAPH, form)
    with pytest.raises(ImageError) as caught:
        decode_image(data[: int(len(data) * kept)])
    assert caught.value.kind == 'damaged'
    assert capfd.readouterr().err == '' and not recwarn.list


@pytest.mark.parametrize('mode', ['RGB', 'L', 'I;16'])
def test_a_tiff_whose_last_bytes_are_missing_says_so_where_its_pixels_are_whole(mode, capfd, recwarn):
    """Only the place of a next image is cut off: nothing of a decoder reaches the terminal."""
    image = PHOTOGRAPH.convert('L') if mode != 'RGB' else PHOTOGRAPH
    if mode == 'I;16':
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    data = saved(image, 'TIFF', compression='tiff_lzw')
    for missing in (1, 3):
        with contextlib.suppress(ImageError):
            assert 'decoder-warning' in decode_image(data[:-missing]).notices
    assert capfd.readouterr().err == '' and not recwarn.list


def test_a_photograph_of_a_telephone_is_told():
    """HEIC under the name of a JPEG, as some programs copy it."""
    with pytest.raises(ImageError, match='HEIC') as caught:
        decode_image(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic' + bytes(100), '.jpg')
    assert caught.value.kind == 'unsupported'


@pytest.mark.parametrize('form', ['WEBP', 'JPEG2000', AVIF, 'TGA', 'BMP', 'PPM', 'GIF', 'TIFF'])
def test_noise_in_a_file_is_an_image_or_damage(form):
    """Never an exception of the decoder's own."""
    whole, numbers = saved(PHOTOGRAPH, form), np.random.default_rng(0)
    for _ in range(12):
        data = bytearray(whole)
        start = int(numbers.integers(len(data)))
        data[start : start + 40] = numbers.bytes(min(40, len(data) - start))
        with contextlib.suppress(ImageError):
            decode_image(bytes(data))


def test_damage_that_only_the_decoder_tells_of_is_found_by_every_command(tmp_path, capsys):
    whole, damaged = saved(PHOTOGRAPH, 'JPEG', quality=95), bytearray(saved(PHOTOGRAPH, 'JPEG', quality=95))
    damaged[len(damaged) // 2 : len(damaged) // 2 + 400] = bytes(400)
    (tmp_path / 'hr').mkdir()
    (tmp_path / 'hr/a.jpg').write_bytes(whole)
    (tmp_path / 'hr/b.jpg').write_bytes(damaged)
    prepare = ['prepare', '--hr', str(tmp_path / 'hr'), '--scales', '2', '--workers', '1', '--out']
    assert main([*prepare, str(tmp_path / 'strict'), '--strict']) == 1
    assert 'b.jpg: damaged' in capsys.readouterr().err
    assert main([*prepare, str(tmp_path / 'set'), '--folders', '--strict']) == 1
    assert main([*prepare, str(tmp_path / 'out')]) == 0
    output = capsys.readouterr().out
    assert 'skipped: 1 x damaged' in output and 'b.jpg (' in output
    assert main(['verify', str(tmp_path / 'hr'), '--workers', '1']) == 1
    assert 'not-decodable' in capsys.readouterr().out


def test_lines_of_others_pass_while_a_decoder_is_listened_to(capfd):
    with decoder_messages() as messages:
        os.write(2, b'a line of a progress bar\nlibpng warning: iCCP: known incorrect sRGB profile\n')
    assert messages == ['libpng warning: iCCP: known incorrect sRGB profile'] and not messages.pixels_are_wrong
    assert capfd.readouterr().err == 'a line of a progress bar\n'
    with decoder_messages() as messages:
        os.write(2, b'Corrupt JPEG data: bad Huffman code\n')
    assert messages.pixels_are_wrong


def test_threads_that_decode_together_get_their_own_messages():
    damaged = bytearray(saved(PHOTOGRAPH, 'JPEG', quality=95))
    damaged[len(damaged) // 2 : len(damaged) // 2 + 400] = bytes(400)
    found: list[str] = []

    def decode(data: bytes) -> None:
        for _ in range(10):
            try:
                decode_image(data)
                found.append('whole')
            except ImageError as error:
                found.append(error.kind)

    threads = [threading.Thread(target=decode, args=(data,)) for data in (JPEGS['RGB, 4:2:0'], bytes(damaged)) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ['damaged'] * 20 + ['whole'] * 20


def test_the_photographs_of_the_test_data_have_no_damage(data_root):
    for path in sorted((data_root / 'train' / 'BSDS500_train').iterdir())[::8]:
        assert read_image(path).notices == (), path


def test_a_process_without_an_error_stream_decodes():
    kept = os.dup(2)
    try:
        os.close(2)
        shape = decode_image(JPEGS['RGB, 4:2:0']).rgb.shape
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert shape == (HEIGHT, WIDTH, 3)
