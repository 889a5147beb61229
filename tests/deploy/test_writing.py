"""Images are written as they are, read back by other libraries."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from rfdn_plugin.data.images import decode_stored
from rfdn_plugin.data.stored import StoredImage
from rfdn_plugin.deploy.writing import encode_image, limits, write_image
from rfdn_plugin.utils.errors import RFDNError

PROFILES = {
    space: ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()[:16] + space + b'\0' * 4000
    for space in (b'RGB ', b'GRAY')
}


def make(grey: bool, alpha: bool, dtype: type, height: int = 130, width: int = 33) -> StoredImage:
    most = np.iinfo(dtype).max
    pixels = np.random.randint(0, most + 1, (height, width) if grey else (height, width, 3), dtype)
    opacity = np.random.randint(0, most + 1, (height, width), dtype) if alpha else None
    return StoredImage(pixels, opacity, (), PROFILES[b'GRAY' if grey else b'RGB '], (300.0, 200.0))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('alpha', [False, True], ids=['opaque', 'alpha'])
@pytest.mark.parametrize('grey', [False, True], ids=['RGB', 'grey'])
@pytest.mark.parametrize('format', ['png', 'tiff'])
def test_nothing_is_lost(format: str, grey: bool, alpha: bool, dtype: type):
    image = make(grey, alpha, dtype)
    assert limits(image, format) == []
    data = encode_image(image, format)
    back = decode_stored(data, f'.{format}')
    wide = format == 'tiff' and grey and alpha and dtype == np.uint16  # few programs read it: written in colour
    colours = np.repeat(image.pixels[..., None], 3, axis=2) if wide else image.pixels
    assert back.pixels.dtype == dtype and (back.pixels == colours).all()
    assert (back.alpha is None) if not alpha else (back.alpha == image.alpha).all()
    header = Image.open(io.BytesIO(data))
    assert header.info['icc_profile'] == image.profile
    assert header.info['dpi'] == pytest.approx(image.resolution, abs=0.02)
    if dtype == np.uint8:
        wanted = image.pixels if not alpha else np.dstack([image.pixels, image.alpha])
        header.load()
        assert (np.array(header) == wanted).all()


@pytest.mark.parametrize('grey', [False, True], ids=['RGB', 'grey'])
@pytest.mark.parametrize('format', ['png', 'tiff', 'jpg', 'webp'])
def test_without_profile_and_resolution(format: str, grey: bool):
    pixels = make(grey, False, np.uint8).pixels
    image = Image.open(io.BytesIO(encode_image(StoredImage(pixels), format)))
    assert image.size == (33, 130) and 'icc_profile' not in image.info
    assert image.mode == ('RGB' if not grey or format == 'webp' else 'L')


@pytest.mark.parametrize('format', ['jpg', 'webp'])
def test_lossy_formats_keep_what_they_can(format: str):
    y, x = np.mgrid[0:60, 0:80]
    pixels = np.stack([x * 3, y * 4, x + y], axis=2).astype(np.uint8)
    image = StoredImage(pixels, (x * 3).astype(np.uint8), (), PROFILES[b'RGB '], (72.0, 72.0))
    back = Image.open(io.BytesIO(encode_image(image, format, quality=98)))
    assert np.abs(np.array(back.convert('RGB')).astype(int) - pixels).max() < 12
    assert back.info['icc_profile'] == image.profile
    assert limits(image, format) == (['transparency is dropped'] if format == 'jpg' else [])
    if format == 'webp':
        assert (np.array(back)[..., 3] == image.alpha).all()
    wide = make(False, False, np.uint16)
    assert limits(wide, format) == ['16 bits a channel become 8']
    assert cv2.imdecode(np.frombuffer(encode_image(wide, format), np.uint8), cv2.IMREAD_UNCHANGED).dtype == np.uint8


@pytest.mark.parametrize(('format', 'side'), [('webp', 16_384), ('jpg', 65_501)])
def test_too_large_for_the_format(format: str, side: int):
    with pytest.raises(RFDNError, match='take --format png or tiff'):
        encode_image(StoredImage(np.zeros((1, side), np.uint8)), format)


def test_files_are_written_whole(tmp_path):
    image = make(False, True, np.uint16)
    content = write_image(tmp_path / 'sub' / 'a.png', image, 'png')
    assert (tmp_path / 'sub' / 'a.png').read_bytes() == content
    assert [path.name for path in (tmp_path / 'sub').iterdir()] == ['a.png']


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('alpha', [False, True], ids=['opaque', 'alpha'])
@pytest.mark.parametrize('grey', [False, True], ids=['RGB', 'grey'])
def test_large_images_are_written_without_copies(grey: bool, alpha: bool, dtype: type, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr('rfdn_plugin.deploy.writing._LARGE', 0)
    image = make(grey, alpha, dtype)
    back = decode_stored(encode_image(image, 'png'), '.png')
    assert back.pixels.dtype == dtype and (back.pixels == image.pixels).all() and back.profile == image.profile
    assert (back.alpha is None) if not alpha else (back.alpha == image.alpha).all()
