"""`rfdn verify`: each way in which a database can be wrong is made by hand, found and named."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from helpers.images import photograph, quiet, spec_for, write
from PIL import Image

from rfdn_plugin import cli
from rfdn_plugin.data.bicubic import downscale
from rfdn_plugin.data.images import decode_image
from rfdn_plugin.data.prepare import prepare
from rfdn_plugin.data.prepare.encoding import encode
from rfdn_plugin.data.verify import FINDINGS, Pair, verify
from rfdn_plugin.utils.errors import RFDNError

HR, LR = 'HR_sub.lmdb', 'LR_bicubic_X2_sub.lmdb'
KEY, OTHER = 'a_s002', 'c_s001'


@pytest.fixture(scope='module', params=['png', 'bmp'])
def sound(request, tmp_path_factory) -> Path:
    """A prepared pair of databases in which nothing is wrong."""
    folder = tmp_path_factory.mktemp('sound')
    for number, name in enumerate('abcd'):
        write(folder / 'images' / f'{name}.png', photograph(number, 150, 200))
    prepare(spec_for(folder / 'images', folder / 'out', scales=(2,), encoding=request.param), quiet)
    shutil.rmtree(folder / 'images')
    return folder / 'out'


class Databases:
    """A copy of the sound ones, to be spoiled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, key: str) -> bytes:
        with lmdb.open(str(self.folder / name), readonly=True, lock=False) as environment, environment.begin() as found:
            return found.get(key.encode())

    def rgb(self, name: str, key: str) -> np.ndarray:
        return decode_image(self.get(name, key)).rgb

    def put(self, name: str, key: str, value: bytes | np.ndarray | None) -> None:
        value = encode(value, 'png') if isinstance(value, np.ndarray) else value
        path = str(self.folder / name)
        with lmdb.open(path, map_size=1 << 28) as environment, environment.begin(write=True) as store:
            store.delete(key.encode()) if value is None else store.put(key.encode(), value)

    def edit_meta(self, name: str, change) -> None:
        path = self.folder / name / 'meta_info.txt'
        lines = path.read_text().splitlines()
        path.write_text('\n'.join(change(lines)) + '\n')


@pytest.fixture
def databases(sound, tmp_path) -> Databases:
    shutil.copytree(sound, tmp_path / 'out')
    return Databases(tmp_path / 'out')


def swap(databases: Databases) -> None:
    first, second = databases.get(LR, KEY), databases.get(LR, OTHER)
    databases.put(LR, KEY, second)
    databases.put(LR, OTHER, first)


def resized_by(method):
    def spoil(databases: Databases) -> None:
        databases.put(LR, KEY, method(databases.rgb(HR, KEY)))

    return spoil


def by_pillow(hr: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(hr).resize((hr.shape[1] // 2, hr.shape[0] // 2), Image.Resampling.BICUBIC))


def by_opencv(hr: np.ndarray) -> np.ndarray:
    return cv2.resize(hr, (hr.shape[1] // 2, hr.shape[0] // 2), interpolation=cv2.INTER_CUBIC)


def shifted(hr: np.ndarray) -> np.ndarray:
    return downscale(np.roll(hr, (1, 1), axis=(0, 1)), 2)


def through_jpeg(hr: np.ndarray) -> np.ndarray:
    compressed = cv2.imencode('.jpg', downscale(hr, 2), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return cv2.imdecode(compressed, cv2.IMREAD_COLOR)


def half(databases: Databases, name: str) -> bytes:
    value = databases.get(name, KEY)
    return value[: len(value) // 2]


def without_line(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(f'{KEY}.')]


# name -> (what is done, the kind found, the database it is found in, what is said beside the key)
CORRUPTIONS = {
    'missing key': (lambda d: d.put(LR, KEY, None), 'missing-key', LR, ''),
    'extra key': (lambda d: d.put(HR, 'x_s001', d.get(HR, KEY)), 'extra-key', HR, 'x_s001'),
    'meta line missing': (lambda d: d.edit_meta(HR, without_line), 'extra-key', HR, ''),
    'meta line twice': (lambda d: d.edit_meta(HR, lambda lines: [*lines, lines[1]]), 'duplicate-line', HR, ''),
    'meta line torn': (lambda d: d.edit_meta(HR, lambda lines: [*lines, 'e.png (96,']), 'bad-meta-line', HR, 'e.png'),
    'swapped pair': (swap, 'swapped-pair', LR, f'shows {OTHER}'),
    'LR of no HR': (lambda d: d.put(LR, KEY, photograph(99, 48, 48)), 'not-a-pair', LR, ''),
    'wrong scale': (resized_by(lambda hr: downscale(hr, 3)), 'wrong-scale', LR, 'the LR is of scale 3, not 2'),
    'truncated HR': (lambda d: d.put(HR, KEY, half(d, HR)), 'not-decodable', HR, 'damaged'),
    'truncated LR': (lambda d: d.put(LR, KEY, half(d, LR)), 'not-decodable', LR, 'damaged'),
    'not an image': (lambda d: d.put(HR, KEY, b'nothing at all'), 'not-decodable', HR, 'not an image'),
    'empty value': (lambda d: d.put(HR, KEY, b''), 'not-decodable', HR, 'empty'),
    'greyscale': (
        lambda d: d.put(HR, KEY, cv2.imencode('.png', d.rgb(HR, KEY)[..., 0])[1].tobytes()),
        'not-rgb',
        HR,
        'grey',
    ),
    'other shape': (lambda d: d.put(HR, KEY, d.rgb(HR, KEY)[:90]), 'wrong-shape', HR, '90x96x3, not 96x96x3'),
    'LR by Pillow': (resized_by(by_pillow), 'other-resize', LR, 'made by Pillow bicubic'),
    'LR by OpenCV': (resized_by(by_opencv), 'other-resize', LR, 'made by OpenCV INTER_CUBIC'),
    'LR by taking pixels': (resized_by(lambda hr: hr[::2, ::2]), 'other-resize', LR, 'taking every n-th pixel'),
    'LR shifted': (resized_by(shifted), 'other-resize', LR, 'shifted by one pixel'),
    'LR through JPEG': (resized_by(through_jpeg), 'other-resize', LR, 'levels from MATLAB bicubic'),
    'no meta_info.txt': (lambda d: (d.folder / LR / 'meta_info.txt').unlink(), 'no-meta', LR, None),
    'no data': (lambda d: (d.folder / LR / 'data.mdb').write_bytes(b'\0' * 8192), 'unreadable', LR, None),
}


def test_a_sound_pair_has_no_finding(sound):
    report = verify([sound], share=1)
    assert report.findings == []
    assert report.pairs == report.resizes == 48
    assert set(report.entries.values()) == {48}


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_corruption_is_found_and_named(databases, name):
    spoil, kind, where, detail = CORRUPTIONS[name]
    spoil(databases)
    report = verify([databases.folder], share=1)
    named = [finding for finding in report.findings if finding.kind == kind]
    assert named, report.lines()
    assert all(Path(finding.place).name == where for finding in named)
    assert any(str(finding) in line for finding in named for line in report.lines())
    if detail is not None:
        key = KEY if 'x_s001' not in detail and kind not in ('duplicate-line', 'bad-meta-line') else ''
        assert any(finding.key.startswith(key) and detail in str(finding) for finding in named), report.lines()
    assert report.problems
    # Nothing else is accused: what follows from the problem itself may be.
    follows = {'no-partner', 'wrong-scale', 'wrong-shape', 'not-a-pair', 'other-resize', 'duplicate', kind}
    assert {finding.kind for finding in report.findings} <= follows


def test_other_shape_of_both_is_a_lie_of_meta_info_only(databases):
    databases.edit_meta(HR, lambda lines: [line.replace('(96,96,3)', '(100,96,3)') for line in lines])
    assert {finding.kind for finding in verify([databases.folder]).findings} == {'wrong-shape'}


def test_keys_with_dots_are_named(databases):
    databases.put(HR, 'a.b', databases.get(HR, KEY))
    databases.edit_meta(HR, lambda lines: [*lines, 'a.b.png (96,96,3) 1'])
    assert 'dotted-key' in {finding.kind for finding in verify([databases.folder]).findings}


def test_interrupted_run_is_named(databases):
    (databases.folder / LR).rename(databases.folder / f'{LR}.partial')
    assert [finding.kind for finding in verify([databases.folder]).findings] == ['unfinished']


def test_older_border_is_no_problem(databases):
    (databases.folder / LR / 'meta_info.txt').write_text(f'{KEY}.png (48,48,3) 1\n')
    (databases.folder / HR / 'meta_info.txt').write_text(f'{KEY}.png (96,96,3) 1\n')
    databases.put(LR, KEY, downscale(databases.rgb(HR, KEY), 2, 'replicate'))
    report = verify([databases.folder], share=1)
    assert 'older-border' in {finding.kind for finding in report.findings}
    assert {finding.kind for finding in report.problems} == {'extra-key'}


@pytest.mark.parametrize('change', ['same', 'jpeg', 'brighter', 'mirrored'])
@pytest.mark.parametrize('crop_size', [96, 0])
def test_benchmark_images_are_found(tmp_path, change, crop_size):
    image = photograph(7, 150, 200)
    write(tmp_path / 'Set' / 'HR' / 'star.png', image)
    write(tmp_path / 'Set' / 'HR' / 'other.png', photograph(8, 150, 200))
    for number in range(3):
        write(tmp_path / 'train' / f'{number}.png', photograph(number, 150, 200))
    changed = {
        'same': image,
        'jpeg': cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR),
        'brighter': cv2.add(image, np.full_like(image, 2)),
        'mirrored': image[:, ::-1],
    }[change]
    write(tmp_path / 'train' / 'copy.png', changed)
    step = {'step': 48} if crop_size else {'step': None}
    prepare(spec_for(tmp_path / 'train', tmp_path / 'out', scales=(2,), crop_size=crop_size, **step), quiet)
    report = verify([tmp_path / 'out'], benchmarks=[tmp_path / 'Set' / 'HR'])
    found = [finding for finding in report.findings if finding.kind == 'benchmark-duplicate']
    assert found
    assert all(finding.key.startswith('copy') and 'Set/HR/star.png' in finding.detail for finding in found)


def test_real_training_sets_are_free_of_the_benchmarks_but_not_of_duplicates(data_root, tmp_path):
    prepare(spec_for(data_root / 'train' / 'T91', tmp_path, scales=(2,), crop_size=0, step=None), quiet)
    benchmarks = [data_root / 'benchmarks' / name / 'HR' for name in ('Set5', 'Set14', 'BSD100')]
    report = verify([tmp_path], benchmarks=benchmarks)
    assert not report.problems
    assert [(finding.kind, finding.key, finding.detail) for finding in report.findings] == [
        ('duplicate', 't65', 'as t36')
    ]


def test_published_lr_pass_with_the_border_of_their_matlab(data_root, tmp_path):
    for scale in (2, 3, 4):
        folder = data_root / 'benchmarks' / 'Set14'
        out = tmp_path / str(scale)
        lr = {scale: folder / 'LR_bicubic' / f'X{scale}'}
        prepare(spec_for(folder / 'HR', out, scales=(scale,), crop_size=0, step=None, lr=lr), quiet)
        report = verify([out], share=1)
        assert not report.problems
        assert {finding.kind for finding in report.findings} <= {'older-border'}


def test_pairs_of_other_names(databases, tmp_path):
    names = tmp_path / 'train.lmdb', tmp_path / 'small.lmdb'
    for name, old in zip(names, (HR, LR), strict=True):
        (databases.folder / old).rename(name)
    swap_in = Databases(tmp_path)
    swap_in.put('small.lmdb', KEY, by_pillow(swap_in.rgb('train.lmdb', KEY)))
    report = verify([], [Pair(*names, 2)], share=1)
    assert [finding.kind for finding in report.findings] == ['other-resize']
    assert not verify(names).findings  # no pair is known by these names


def test_the_command(databases, capsys):
    assert cli.main(['verify', str(databases.folder), '--all']) == 0
    assert 'no problem' in capsys.readouterr().out
    swap(databases)
    assert cli.main(['verify', str(databases.folder / HR), str(databases.folder / LR)]) == 1
    output = capsys.readouterr().out
    assert f'swapped-pair: {databases.folder / LR}: {KEY}: shows {OTHER}' in output
    assert '2 problems' in output
    assert cli.main(['verify', str(databases.folder / 'nothing.lmdb')]) == 1
    for wrong in ([], ['--pair', 'a', 'b', 'x'], ['a.lmdb', '--share', '2']):
        with pytest.raises(SystemExit) as caught:
            cli.main(['verify', *wrong])
        assert caught.value.code == 2


def test_what_is_no_database_is_an_error(tmp_path):
    with pytest.raises(RFDNError, match=r'does not exist'):
        verify([tmp_path / 'nothing'])


def test_every_kind_is_documented(repository):
    text = (repository / 'docs' / 'datasets.md').read_text(encoding='utf-8')
    for kind, (_, sentence) in FINDINGS.items():
        assert f'| `{kind}` |' in text, kind
        assert sentence in text, kind
