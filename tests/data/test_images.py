"""The policy for odd images, file by file, against Pillow's reading of the same files."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from helpers.damage import damaged
from helpers.images import ODDITIES
from PIL import Image, ImageOps

from rfdn_plugin.data.images import POLICY, ImageError, decode_image, find_images, image_size, read_image


def test_every_file_of_the_manifest_has_a_policy(data_root):
    lines = (data_root / 'oddities' / 'MANIFEST.tsv').read_text(encoding='utf-8').splitlines()[1:]
    assert {line.split('\t')[0].rstrip('/') for line in lines} == set(ODDITIES)


@pytest.mark.parametrize('name', ODDITIES)
def test_oddity_is_handled_as_the_policy_says(data_root, name):
    path = data_root / 'oddities' / name
    expected = ODDITIES[name]
    if isinstance(expected, str):
        assert POLICY[expected][0] == 'skip'
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert caught.value.kind == expected
        assert '\n' not in str(caught.value)
        return
    image = read_image(path)
    assert image.notices == expected
    assert all(POLICY[notice][0] == 'convert' for notice in image.notices)
    assert image.rgb.dtype == np.uint8
    assert image.rgb.shape[2] == 3
    assert (image.alpha is not None) == ('alpha' in expected)
    if '16-bit' in expected and 'grey' in expected:
        grey = np.asarray(Image.open(path)).astype(float)
        assert np.array_equal(image.rgb, np.repeat(np.rint(grey / 257).astype(np.uint8)[..., None], 3, axis=2))
        return
    reference = ImageOps.exif_transpose(Image.open(path)).convert('RGBA')
    difference = np.abs(np.asarray(reference).astype(int)[..., :3] - image.rgb).max()
    # Pillow cuts the low byte of 16-bit colours off, ours are rounded.
    assert difference <= (1 if '16-bit' in expected else 0)
    if image.alpha is not None:
        assert np.array_equal(image.alpha, np.asarray(reference)[..., 3])


def photograph(height: int = 40, width: int = 60) -> np.ndarray:
    noise = np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp'])
def test_every_orientation_is_turned_as_a_viewer_does(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f'turned{suffix}'
    Image.fromarray(photograph()).save(path, exif=exif, **({} if suffix == '.png' else {'quality': 100}))
    image = read_image(path)
    assert ('orientation' in image.notices) == (orientation != 1)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert('RGB'))
    assert image.rgb.shape == expected.shape
    assert np.abs(expected.astype(int) - image.rgb).max() <= 2  # two JPEG decoders


FORMATS = ('PNG', 'JPEG', 'TIFF', 'BMP', 'WEBP', 'GIF')
MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'LAB', 'HSV', 'I;16', 'F')


def written(mode: str, form: str) -> bytes | None:
    """An image in one of Pillow's modes as a file of one format; None where the format has no such mode."""
    source = Image.fromarray(photograph())
    if mode == 'I;16':
        made = Image.fromarray(photograph()[..., 0].astype(np.uint16) * 257)
    elif mode in ('LAB', 'HSV', 'YCbCr'):
        made = Image.frombytes(mode, source.size, source.tobytes())
    else:
        made = source.convert('L').convert('F') if mode == 'F' else source.convert(mode)
    stream = io.BytesIO()
    try:
        made.save(stream, form)
        Image.open(stream).load()  # Pillow 12 writes a TIFF in YCbCr that it cannot read
    except (OSError, ValueError):
        return None
    return stream.getvalue()


@pytest.mark.parametrize(('mode', 'form'), [(m, f) for m in MODES for f in FORMATS if written(m, f) is not None])
def test_every_mode_of_every_format_is_used_or_named(mode, form):
    data = written(mode, form)
    if mode == 'F' and form == 'TIFF':
        with pytest.raises(ImageError) as caught:
            decode_image(data)
        assert caught.value.kind == 'unsupported'
    else:
        assert decode_image(data).rgb.shape == (40, 60, 3)


@pytest.mark.parametrize('form', FORMATS)
def test_every_truncation_is_an_error_with_a_kind_or_a_whole_image(form):
    stream = io.BytesIO()
    Image.fromarray(photograph(64, 64)).save(stream, form)
    data = stream.getvalue()
    refused = 0
    for length in range(0, len(data), max(len(data) // 40, 1)):
        try:
            decode_image(data[:length])
        except ImageError as error:
            refused += 1
            assert error.kind in ('empty', 'damaged', 'not-an-image')
    assert refused >= 36


@pytest.mark.parametrize(('mode', 'form'), [(m, f) for m in MODES for f in FORMATS if written(m, f) is not None])
def test_a_damaged_file_is_an_error_with_a_kind_or_an_image(mode: str, form: str):
    """Half of the damage is in the first 300 bytes, where the headers are."""
    random, whole = Random(f'{mode} {form}'), written(mode, form)
    for number in range(40):
        data = damaged(whole, random) if number % 2 else damaged(whole[:300], random) + whole[300:]
        try:
            assert decode_image(data).rgb.dtype == np.uint8
        except ImageError as error:
            assert error.kind in ('empty', 'damaged', 'not-an-image', 'unsupported', 'too-large')


def test_random_bytes_behind_a_signature_never_raise_anything_else():
    generator = np.random.default_rng(6)
    stream = io.BytesIO()
    Image.fromarray(photograph()).save(stream, 'PNG')
    starts = [b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff\xe0', b'GIF89a', b'BM', b'II*\0', b'MM\0*', b'RIFF']
    starts.append(stream.getvalue()[:60])
    for start in starts:
        for _ in range(20):
            with pytest.raises(ImageError):
                decode_image(start + generator.bytes(300))


def test_an_error_crosses_processes():
    error = ImageError('damaged', 'half of it')
    copied = pickle.loads(pickle.dumps(error))
    assert (copied.kind, copied.detail, str(copied)) == (error.kind, error.detail, str(error))


def test_finding_names_everything_that_is_no_candidate(tmp_path):
    for name in ('b.PNG', 'a.jpg', 'notes.txt', 'Thumbs.db', '._a.jpg', 'sub/c.png', 'dir.png/d.png', '__MACOSX/x.png'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'')
    candidates, others = find_images([tmp_path])
    assert [name.as_posix() for _, name in candidates] == ['a.jpg', 'b.PNG']
    kinds = {path.name: error.kind for path, error in others}
    assert kinds == {
        'notes.txt': 'not-an-image',
        'Thumbs.db': 'side-file',
        '._a.jpg': 'side-file',
        '__MACOSX': 'side-file',
        'sub': 'folder',
        'dir.png': 'folder',
    }
    candidates, others = find_images([tmp_path], recursive=True)
    assert [name.as_posix() for _, name in candidates] == ['a.jpg', 'b.PNG', 'sub/c.png']
    assert 'sub' not in {path.name for path, _ in others}


def test_the_documentation_shows_the_whole_policy(repository):
    text = (repository / 'docs' / 'datasets.md').read_text(encoding='utf-8')
    for kind, (action, sentence) in POLICY.items():
        assert f'| `{kind}` | {action} | {sentence} |' in text, kind


def test_names_with_any_bytes_are_found(tmp_path: Path):
    name = b'caf\xe9.png'  # Latin-1, no valid UTF-8
    try:
        (tmp_path / 'x').mkdir()
        with open(bytes(tmp_path / 'x') + b'/' + name, 'wb') as stream:
            stream.write(cv2.imencode('.png', photograph())[1].tobytes())
    except OSError:
        pytest.skip('the file system takes UTF-8 names only')
    [(folder, found)], others = find_images([tmp_path / 'x'])
    assert not others
    assert read_image(folder / found).notices == ()


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_the_size_in_the_header_is_that_of_the_image_that_is_read(tmp_path, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f'turned.{form.lower()}'
    Image.fromarray(photograph()).save(path, form, exif=exif)
    assert image_size(path) == ((60, 40) if orientation >= 5 else (40, 60))
