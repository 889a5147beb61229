"""`rfdn upscale`: files to files."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.images import ODDITIES
from PIL import Image

from rfdn_plugin.cli import main
from rfdn_plugin.deploy import files
from rfdn_plugin.deploy.upscale import Upscaler
from rfdn_plugin.weights.loading import load_network


def upscale(*arguments: object) -> int:
    """The command, with the exit code of usage errors too."""
    try:
        return main(['upscale', *map(str, arguments)])
    except SystemExit as leaving:
        return int(leaving.code or 0)


def save(path: Path, shape: tuple[int, ...] = (12, 10, 3), seed: int = 0) -> np.ndarray:
    """A random image in a lossless file; RGB as it is in the array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    assert cv2.imwrite(str(path), pixels if pixels.ndim == 2 else pixels[..., ::-1])
    return pixels


def read(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return pixels if pixels.ndim == 2 else pixels[..., ::-1]


def network():
    return load_network('zoo:RFDN_x2')[0]


def test_a_folder_keeps_its_tree(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    images = {
        name: save(tmp_path / 'in' / name, seed=at) for at, name in enumerate(['a.png', 'sub/b.tiff', 'sub/c d/é.bmp'])
    }
    (tmp_path / 'in' / 'notes.txt').write_text('no image')
    out = tmp_path / 'out'
    assert upscale(tmp_path / 'in', '-o', out) == 0
    results = [out / 'a.png', out / 'sub/b.png', out / 'sub/c d/é.png']
    assert sorted(path for path in out.rglob('*.png')) == results
    for path, pixels in zip(results, images.values(), strict=True):
        assert (read(path) == Upscaler(network())(pixels)).all()
    said = capsys.readouterr().out
    assert '3 written' in said and '1 x .txt' in said
    before = {path: path.stat().st_mtime_ns for path in results}
    assert upscale(tmp_path / 'in', '-o', out) == 0
    assert '0 written' in (said := capsys.readouterr().out) and '3 were finished already' in said
    assert before == {path: path.stat().st_mtime_ns for path in results}


def test_files_patterns_and_the_results_folder_inside(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    for at, name in enumerate(['x1.png', 'x2.png', 'y.png', 'name [1].png']):
        save(tmp_path / name, seed=at)
    assert upscale(tmp_path / 'x*.png', tmp_path / 'name [1].png', '-o', tmp_path / 'out') == 0
    assert sorted(path.name for path in (tmp_path / 'out').glob('*.png')) == ['name [1].png', 'x1.png', 'x2.png']
    assert upscale(tmp_path, '-o', tmp_path / 'out') == 0  # what lies in the results is no input
    assert sorted(path.name for path in (tmp_path / 'out').rglob('*.png')) == [
        'name [1].png',
        'x1.png',
        'x2.png',
        'y.png',
    ]


def test_results_above_the_images(zoo: Path, tmp_path: Path):
    for at in range(2):
        save(tmp_path / 'photos' / f'{at}.png', seed=at)
    for _ in range(2):
        assert upscale(tmp_path / 'photos', '-o', tmp_path) == 0
        assert sorted(path.name for path in tmp_path.glob('*.png')) == ['0.png', '1.png']


def test_what_a_killed_run_had_begun_is_removed(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / 'out'
    for name in ('a.png', 'b c.png', 'sub/[d].png'):
        save(tmp_path / 'in' / name)
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).with_name(f'.{Path(name).name}.k3_x2.partial').touch()
    kept = [out / '.other.png.k3.partial', out / 'sub/.a.png.k3.partial', out / '.partial']
    for path in kept:
        path.touch()
    scans, glob = [], Path.glob
    monkeypatch.setattr(Path, 'glob', lambda self, pattern: scans.append(self) or glob(self, pattern))
    assert upscale(tmp_path / 'in', '-o', out) == 0
    monkeypatch.undo()
    assert sorted(path for path in scans if path != zoo) == [out, out / 'sub'], 'one scan for each folder'
    assert sorted(out.rglob('*.partial')) == sorted(kept)


def test_nothing_is_replaced_unless_asked(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    save(tmp_path / 'a.png')
    save(tmp_path / 'b.png')
    out = tmp_path / 'out'
    save(out / 'a.png', seed=5)
    before = (out / 'a.png').read_bytes()
    arguments = [tmp_path / 'a.png', tmp_path / 'b.png', '-o', out]
    assert upscale(*arguments) == 1
    error = capsys.readouterr().err
    assert 'exists already: --overwrite' in error and '1 of 2 images' in error
    assert (out / 'a.png').read_bytes() == before and read(out / 'b.png').shape == (24, 20, 3)
    assert upscale(*arguments, '--overwrite') == 0 and read(out / 'a.png').shape == (24, 20, 3)
    assert upscale(*arguments, '--self-ensemble') == 1
    assert 'other settings' in capsys.readouterr().err
    save(tmp_path / 'b.png', (8, 8, 3), seed=9)
    assert upscale(*arguments) == 1 and 'another image' in capsys.readouterr().err
    assert upscale(*arguments, '--overwrite') == 0
    assert read(out / 'b.png').shape == (16, 16, 3) and '1 were finished already' in capsys.readouterr().out
    assert upscale(*arguments, '--self-ensemble', '--overwrite') == 0
    wanted = Upscaler(network(), self_ensemble=True)(read(tmp_path / 'b.png'))
    assert (read(out / 'b.png') == wanted).all() and (wanted != Upscaler(network())(read(tmp_path / 'b.png'))).any()


@pytest.mark.parametrize('format', ['png', 'jpg', 'webp', 'tiff'])
def test_formats(zoo: Path, tmp_path: Path, format: str, capsys: pytest.CaptureFixture):
    pixels = save(tmp_path / 'grey.png', (20, 16))
    cv2.imwrite(str(tmp_path / 'deep.png'), np.random.randint(0, 65536, (9, 8, 4), np.uint16))
    assert upscale(tmp_path / 'grey.png', tmp_path / 'deep.png', '-o', tmp_path / 'out', '--format', format) == 0
    grey, deep = (read(tmp_path / 'out' / f'{name}.{format}') for name in ('grey', 'deep'))
    said = capsys.readouterr().out
    if format in ('png', 'tiff'):
        assert (grey == Upscaler(network())(pixels)).all() and deep.dtype == np.uint16 and deep.shape == (18, 16, 4)
    else:
        assert deep.dtype == np.uint8 and '16 bits a channel become 8' in said
        assert ('transparency is dropped' in said) == (format == 'jpg')
    assert Image.open(tmp_path / 'out' / f'grey.{format}').mode == ('RGB' if format == 'webp' else 'L')


def test_profile_resolution_and_orientation(zoo: Path, tmp_path: Path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    original = Image.fromarray(np.random.randint(0, 256, (10, 16, 3), np.uint8))
    original.save(tmp_path / 'a.png', exif=exif, icc_profile=profile, dpi=(300, 300))
    assert upscale(tmp_path / 'a.png', '-o', tmp_path / 'out') == 0
    result = Image.open(tmp_path / 'out/a.png')
    assert result.size == (20, 32) and result.getexif().get(0x0112, 1) == 1
    assert result.info['icc_profile'] == profile and result.info['dpi'] == pytest.approx((300, 300), abs=0.1)
    assert (np.array(result) == Upscaler(network())(np.rot90(np.array(original), -1))).all()


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['film.mp4'], 'is a video: take its images out first'),
        (['nothing.png'], 'no such file or folder'),
        (['no*.png'], 'no file matches'),
        (['empty'], 'no images in'),
        (['a.png', '--scale', '4', '--weights', 'zoo:RFDN_x2'], 'is of x2: leave --scale out'),
        (['a.png', '--model', 'RFDN', '--weights', 'zoo:RFDN_x2'], 'leave one out'),
        (['a.png', 'a.bmp'], 'would both become'),
        (['a.png', '--quality', '101'], '1 to 100'),
        (['a.png', '--memory', 'much'], 'no size'),
        (['a.png', '--tile', '0'], 'at least 1'),
        (['a.png', '-o', '.'], 'is one of the images to upscale'),
        (['full', '-o', 'full'], 'full is the folder of the images: name another one'),
    ],
    ids=str,
)
def test_wrong_use_is_one_line(zoo: Path, tmp_path: Path, arguments: list[str], said: str, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ('a.png', 'a.bmp'):
        save(Path(name))
    Path('film.mp4').write_bytes(b'\0\0\0\x18ftypmp42')
    Path('empty').mkdir()
    save(Path('full/a.bmp'))
    assert upscale('-o', 'out', *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and 'Traceback' not in error and not Path('out').exists()


def test_a_model_that_is_not_shipped(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    save(tmp_path / 'a.png')
    assert upscale(tmp_path / 'a.png', '-o', tmp_path / 'out', '--scale', '4') == 1
    assert 'zoo:RFDN_x4 is not in the zoo' in capsys.readouterr().err
    assert upscale(tmp_path / 'a.png', '-o', tmp_path / 'out', '--model', 'E_RFDN', '--scale', '3') == 0
    assert read(tmp_path / 'out/a.png').shape == (36, 30, 3)


def test_too_little_memory_is_told_of_each_image(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    save(tmp_path / 'a.png')
    assert upscale(tmp_path / 'a.png', '-o', tmp_path / 'out', '--memory', '1M') == 1
    assert 'pixels need' in capsys.readouterr().err


def test_the_oddities_as_the_policy_says(zoo: Path, tmp_path: Path, data_root: Path, capsys: pytest.CaptureFixture):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    shutil.copytree(data_root / 'oddities', folder)
    os.chmod(folder, 0o755)
    os.rename(folder / 'photo_half.png', folder / 'half.png')  # photo_half.jpg would have the same result
    (folder / 'progressive_rgb.jpg').unlink()  # the largest one by far
    assert upscale(folder, '-o', out) == 1
    error = capsys.readouterr().err
    for name, kinds in ODDITIES.items():
        name = 'half.png' if name == 'photo_half.png' else name
        result = out / Path(name).with_suffix('.png')
        if name == 'progressive_rgb.jpg' or kinds in ('side-file', 'folder', 'not-an-image'):
            continue
        if isinstance(kinds, str):
            assert f'{folder / name}: ' in error and not result.exists(), name
            continue
        pixels = read(result)
        assert (pixels.ndim == 2) == ('grey' in kinds), name
        assert (pixels.ndim == 3 and pixels.shape[2] == 4) == ('alpha' in kinds), name
        assert (pixels.dtype == np.uint16) == ('16-bit' in kinds), name
    for name in ('exif_orientation_6.jpg', 'exif_orientation_8.jpg', 'exif_orientation.png', 'rgb.tif'):
        from PIL import ImageOps

        small = np.array(ImageOps.exif_transpose(Image.open(data_root / 'oddities' / name)).convert('RGB')).astype(int)
        large = read(out / Path(name).with_suffix('.png')).astype(int)
        shrunken = (large[::2, ::2] + large[1::2, ::2] + large[::2, 1::2] + large[1::2, 1::2]) / 4
        assert np.abs(shrunken - small).mean() < 6, name


def test_a_broken_file_does_not_stop_the_rest(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    for at in range(5):
        save(tmp_path / 'in' / f'{at}.png', seed=at)
    whole = (tmp_path / 'in/2.png').read_bytes()
    (tmp_path / 'in/2.png').write_bytes(whole[: len(whole) // 2])
    assert upscale(tmp_path / 'in', '-o', tmp_path / 'out') == 1
    assert '2.png: damaged' in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / 'out').glob('*.png')) == ['0.png', '1.png', '3.png', '4.png']
    (tmp_path / 'in/2.png').write_bytes(whole)
    assert upscale(tmp_path / 'in', '-o', tmp_path / 'out') == 0
    assert '1 written' in (said := capsys.readouterr().out) and '4 were finished already' in said


def test_a_full_disk_ends_the_run_in_one_line(zoo: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture):
    for at in range(4):
        save(tmp_path / 'in' / f'{at}.png', seed=at)

    def full(path: Path, *arguments: object, **settings: object) -> bytes:
        raise OSError(28, 'No space left on device', str(path))

    monkeypatch.setattr(files, 'write_image', full)
    assert upscale(tmp_path / 'in', '-o', tmp_path / 'out') == 1
    error = capsys.readouterr().err
    assert 'No space left on device: make room' in error and 'Traceback' not in error


def test_two_runs_into_one_folder(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    from rfdn_plugin.utils.lock import Lock

    save(tmp_path / 'a.png')
    (tmp_path / 'out').mkdir()
    with Lock(tmp_path / 'out' / files._LOCK, 'the folder', 'wait'):
        assert upscale(tmp_path / 'a.png', '-o', tmp_path / 'out') == 1
    assert str(tmp_path / 'out') in capsys.readouterr().err
    assert upscale(tmp_path / 'a.png', '-o', tmp_path / 'out') == 0


def _run_in_child(arguments: list[str]) -> int:
    """The command in a forked process; its id."""
    child = os.fork()
    if child:
        return child
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        os._exit(main(arguments))
    finally:
        os._exit(99)


@pytest.mark.skipif(sys.platform != 'linux', reason='forks')
def test_killed_ten_times(zoo: Path, tmp_path: Path):
    """SIGKILL at any moment: no torn file, nothing is done twice, nothing is left over."""
    folder, out, count = tmp_path / 'in', tmp_path / 'out', 60
    images = [save(folder / f'{at:02}.png', (14, 12, 3), seed=at) for at in range(count)]
    arguments = ['upscale', str(folder), '-o', str(out)]
    generator, kills, finished = random.Random(1), 0, {}
    while kills < 10:
        child = _run_in_child(arguments)
        target = len(finished) + generator.randint(1, 5)  # results that are there when it is killed
        while len(list(out.glob('*.png'))) < min(target, count) and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        time.sleep(generator.random() * 0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        for path in out.glob('*.png'):
            assert cv2.imread(str(path)).shape == (28, 24, 3)
            status = (path.stat().st_ino, path.stat().st_mtime_ns)
            assert finished.setdefault(path.name, status) == status
    assert 10 <= len(finished) < count, 'the kills did not fall into the work'
    assert main(arguments) == 0
    for at, pixels in enumerate(images):
        path = out / f'{at:02}.png'
        assert (read(path) == Upscaler(network())(pixels)).all()
        status = (path.stat().st_ino, path.stat().st_mtime_ns)
        assert finished.setdefault(path.name, status) == status
    assert sorted(path.name for path in out.iterdir() if path.name.startswith('.')) == ['.rfdn_upscale.jsonl']
    lines = (out / '.rfdn_upscale.jsonl').read_text().splitlines()
    assert len({json.loads(line)['output'] for line in lines if line.endswith('}') and line.startswith('{')}) == count


def test_official_quality_through_files(tmp_path: Path, data_root: Path):
    """Set5 x4 with the weights of AIM 2020, as files, measured by the leaderboard: as measured directly."""
    weights = data_root / 'weights/official/RFDN_AIM.pth'
    assert upscale(data_root / 'benchmarks/Set5/LR_bicubic/X4', '-o', tmp_path / 'Set5', '--weights', weights) == 0
    sets = {
        'Set5': {
            key: str(data_root / f'benchmarks/Set5/{place}') for key, place in (('hr', 'HR'), ('lr', 'LR_bicubic/X4'))
        }
    }
    entries = [{'name': 'files', 'type': 'images', 'scale': 4, 'dir': str(tmp_path / '{set}')}]
    options = {'name': 'files', 'sets': sets, 'entries': entries, 'report': {'images': 0}}
    (tmp_path / 'board.yml').write_text(json.dumps(options))
    assert (
        main(['leaderboard', '-opt', str(tmp_path / 'board.yml'), '--out', str(tmp_path / 'board'), '--workers', '1'])
        == 0
    )
    row = json.loads((tmp_path / 'board/leaderboard.json').read_text())['entries'][0]
    assert row['sets']['Set5']['psnr_y'] == pytest.approx(32.1589, abs=5e-5)
