"""Images as their files hold them: what `rfdn upscale` reads."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from rfdn_plugin.data.images import ImageError, decode_image, decode_stored, image_size, read_stored


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.randint(0, np.iinfo(dtype).max + 1, shape, dtype)


def saved(image: Image.Image, format: str, **settings) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **settings)
    return stream.getvalue()


@pytest.mark.parametrize('ending', ['.png', '.tiff'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [(), (3,), (4,)], ids=['grey', 'RGB', 'RGBA'])
def test_depth_and_channels_are_kept(ending: str, dtype: type, channels: tuple[int, ...]):
    values = noise(12, 17, *channels, dtype=dtype)
    bgr = values if not channels else values[..., [2, 1, 0, 3][: channels[0]]]
    image = decode_stored(cv2.imencode(ending, bgr)[1].tobytes())
    assert image.pixels.dtype == dtype
    assert (image.pixels == (values[..., :3] if channels else values)).all()
    assert (image.alpha is None) if channels != (4,) else (image.alpha == values[..., 3]).all()


@pytest.mark.parametrize('mode', ['L', 'LA', '1', 'P', 'RGB', 'RGBA'])
def test_modes_of_pillow(mode: str):
    original = Image.fromarray(noise(9, 14, 4)).convert('RGB' if mode == 'P' else mode).convert(mode)
    image = decode_stored(saved(original, 'PNG'), '.png')
    grey = mode in ('L', 'LA', '1')
    assert (image.pixels == np.array(original.convert('L' if grey else 'RGB'))).all()
    assert (image.alpha is None) == (mode not in ('LA', 'RGBA'))
    if image.alpha is not None:
        assert (image.alpha == np.array(original)[..., -1]).all()


def test_the_training_form_is_the_same_image():
    for data in (
        saved(Image.fromarray(noise(9, 14)), 'PNG'),
        saved(Image.fromarray(noise(9, 14, 4)), 'WEBP', lossless=True),
    ):
        stored, plain = decode_stored(data), decode_image(data)
        rgb, alpha = stored.as_8_bit_rgb()
        assert (rgb == plain.rgb).all() and stored.notices == plain.notices
        assert (alpha is None and plain.alpha is None) or (alpha == plain.alpha).all()


def test_profile_and_resolution():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    colour, grey = Image.fromarray(noise(8, 8, 3)), Image.fromarray(noise(8, 8))
    for format in ('PNG', 'JPEG', 'TIFF', 'WEBP'):
        assert decode_stored(saved(colour, format, icc_profile=profile)).profile == profile
    assert decode_stored(saved(grey, 'JPEG', icc_profile=profile)).profile is None  # RGB's, of a grey image
    assert decode_stored(saved(colour.convert('CMYK'), 'JPEG', icc_profile=profile)).profile == profile
    cmyk = profile[:16] + b'CMYK' + profile[20:]
    assert decode_stored(saved(colour.convert('CMYK'), 'JPEG', icc_profile=cmyk)).profile is None
    for format in ('PNG', 'JPEG', 'TIFF'):
        assert decode_stored(saved(colour, format, dpi=(300, 200))).resolution == pytest.approx((300, 200), abs=0.1)
    assert decode_stored(saved(colour, 'PNG')).resolution is None


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_turns_pixels_alpha_and_resolution(orientation: int):
    values = noise(7, 11, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(values), 'PNG', exif=exif, dpi=(300, 200))
    image = decode_stored(data)
    from PIL import ImageOps

    wanted = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert (np.dstack([image.pixels, image.alpha]) == wanted).all()
    turned = orientation >= 5
    assert image.resolution == pytest.approx((200, 300) if turned else (300, 200), abs=0.1)


def test_the_limit_of_pixels_is_the_callers(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 50)
    data = saved(Image.fromarray(noise(11, 11)), 'PNG')
    with pytest.raises(ImageError, match='more pixels'):
        decode_stored(data)
    assert decode_stored(data, most_pixels=200).pixels.shape == (11, 11)
    with pytest.raises(ImageError, match='more pixels'):
        decode_stored(data, most_pixels=100)
    (tmp_path / 'a.png').write_bytes(data)
    assert image_size(tmp_path / 'a.png') is None and image_size(tmp_path / 'a.png', most_pixels=200) == (11, 11)
    assert Image.MAX_IMAGE_PIXELS == 50


def test_files_that_are_no_images(tmp_path):
    for name, content, kind in (
        ('a.png', b'', 'empty'),
        ('._a.png', b'x', 'side-file'),
        ('b.png', b'text', 'not-an-image'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError) as error:
            read_stored(tmp_path / name)
        assert error.value.kind == kind
