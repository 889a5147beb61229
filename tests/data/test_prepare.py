"""`rfdn prepare` and `rfdn merge`: what is in the databases, who can read it, and what no interruption can change."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from helpers.images import ODDITIES, files_of, photograph, quiet, spec_for, write
from helpers.processes import run_code

from rfdn_plugin import cli
from rfdn_plugin.data.bicubic import downscale, mod_crop
from rfdn_plugin.data.images import POLICY, read_image
from rfdn_plugin.data.prepare import database, prepare
from rfdn_plugin.data.prepare.database import read_records
from rfdn_plugin.data.prepare.merge import merge
from rfdn_plugin.data.prepare.sources import key_of
from rfdn_plugin.data.prepare.tiles import tiles_of
from rfdn_plugin.data.verify import verify
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.lock import Lock

RUN = 'import sys; from rfdn_plugin.cli import main; sys.exit(main(sys.argv[1:]))'
NAMES = ('HR_sub', 'LR_bicubic_X2_sub', 'LR_bicubic_X3_sub', 'LR_bicubic_X4_sub')


@pytest.fixture(scope='session')
def photographs(tmp_path_factory) -> Path:
    """Twelve images of several sizes and formats."""
    folder = tmp_path_factory.mktemp('photographs')
    sizes = [(250, 301), (130, 200), (96, 300), (60, 100), (200, 96), (97, 97)] * 2
    for number, (height, width) in enumerate(sizes, start=1):
        write(folder / f'{number:04d}.{("png", "bmp", "tif")[number % 3]}', photograph(number, height, width))
    return folder


def entries_of(path: Path) -> dict[str, np.ndarray]:
    """Key to RGB, as stock readers decode it."""
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {
            key.decode(): cv2.imdecode(np.frombuffer(value, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            for key, value in transaction.cursor()
        }


# --- what is in the databases --------------------------------------------------------------------------------------
@pytest.mark.parametrize('encoding', ['png', 'bmp'])
def test_sub_images_are_those_of_the_definition(photographs, tmp_path, encoding):
    summary = prepare(spec_for(photographs, tmp_path, encoding=encoding), quiet)
    databases = {name: entries_of(tmp_path / f'{name}.lmdb') for name in NAMES}
    expected: dict[str, dict[str, np.ndarray]] = {name: {} for name in NAMES}
    for path in sorted(photographs.iterdir()):
        hr = mod_crop(read_image(path).rgb, 12)
        for number, tile in enumerate(tiles_of(*hr.shape[:2], 96, 48), start=1):
            for name, scale in zip(NAMES, (1, 2, 3, 4), strict=True):
                image = hr if scale == 1 else downscale(hr, scale)
                top, left, height, width = (length // scale for length in tile)
                expected[name][f'{path.stem}_s{number:03d}'] = image[top : top + height, left : left + width]
    for name in NAMES:
        assert databases[name].keys() == expected[name].keys()
        for key, image in expected[name].items():
            assert np.array_equal(databases[name][key], image), (name, key)
        lines = (tmp_path / f'{name}.lmdb' / 'meta_info.txt').read_text().splitlines()
        level = 1 if encoding == 'png' else 0
        assert lines == [
            '{}.png ({},{},{}) {}'.format(key, *image.shape, level) for key, image in expected[name].items()
        ]
    assert summary.used == 12
    assert summary.entries == len(databases['HR_sub'])
    assert summary.notices == {'small': 2}  # 60 x 100
    assert summary.smallest == 60


def test_numbering_is_that_of_basicsr():
    # 1356 x 2040 in windows of 480 every 240: extract_subimages makes 5 rows of 8, the last at the edge.
    tiles = tiles_of(1356, 2040, 480, 240)
    assert len(tiles) == 40
    assert tiles[1] == (0, 240, 480, 480)
    assert tiles[7] == (0, 1560, 480, 480)
    assert tiles[-1] == (876, 1560, 480, 480)
    assert tiles_of(480, 480, 480, 240) == [(0, 0, 480, 480)]
    assert tiles_of(300, 960, 480, 240) == [(0, 0, 300, 480), (0, 240, 300, 480), (0, 480, 300, 480)]
    assert tiles_of(300, 200, 0, 0) == [(0, 0, 300, 200)]


def test_whole_images(photographs, tmp_path):
    prepare(spec_for(photographs, tmp_path, crop_size=0, step=None, scales=(2, 4)), quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['HR.lmdb', 'LR_bicubic_X2.lmdb', 'LR_bicubic_X4.lmdb']
    hr, lr = entries_of(tmp_path / 'HR.lmdb'), entries_of(tmp_path / 'LR_bicubic_X4.lmdb')
    assert list(hr) == [f'{number:04d}' for number in range(1, 13)]
    assert hr['0001'].shape == (248, 300, 3)
    assert all(np.array_equal(lr[key], downscale(hr[key], 4)) for key in hr)


@pytest.mark.parametrize('encoding', ['png', 'bmp'])
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_basicsr_reads_them_unchanged(photographs, tmp_path, encoding, scale):
    import rfdn_plugin  # noqa: F401  (lets basicsr be imported)

    paired_image_dataset = pytest.importorskip('basicsr.data.paired_image_dataset')
    prepare(spec_for(photographs, tmp_path, encoding=encoding, scales=(scale,), min_size=96), quiet)
    dataset = paired_image_dataset.PairedImageDataset(
        {
            'dataroot_gt': str(tmp_path / 'HR_sub.lmdb'),
            'dataroot_lq': str(tmp_path / f'LR_bicubic_X{scale}_sub.lmdb'),
            'io_backend': {'type': 'lmdb'},
            'gt_size': 48,
            'use_hflip': True,
            'use_rot': True,
            'scale': scale,
            'phase': 'train',
        }
    )
    keys = [line.split('.')[0] for line in (tmp_path / 'HR_sub.lmdb' / 'meta_info.txt').read_text().splitlines()]
    assert [paths['gt_path'] for paths in dataset.paths] == sorted(keys)
    for index in range(0, len(dataset), 7):
        assert dataset[index]['lq'].shape == (3, 48 // scale, 48 // scale)


@pytest.mark.parametrize('workers', [1, 3])
def test_workers_do_not_change_a_byte(photographs, tmp_path, workers):
    prepare(spec_for(photographs, tmp_path / 'two'), quiet)
    prepare(spec_for(photographs, tmp_path / 'other', workers=workers), quiet)
    assert files_of(tmp_path / 'two') == files_of(tmp_path / 'other')


@pytest.mark.parametrize('level', [0, 1, 3, 6])
def test_png_levels(photographs, tmp_path, level):
    prepare(spec_for(photographs, tmp_path / 'level', level=level, scales=(2,)), quiet)
    prepare(spec_for(photographs, tmp_path / 'bmp', encoding='bmp', scales=(2,)), quiet)
    compressed, plain = (entries_of(tmp_path / name / 'HR_sub.lmdb') for name in ('level', 'bmp'))
    assert all(np.array_equal(compressed[key], plain[key]) for key in plain)


def test_without_isal_opencv_encodes(photographs, tmp_path, monkeypatch):
    prepare(spec_for(photographs, tmp_path / 'first', scales=(2,)), quiet)
    monkeypatch.setattr('rfdn_plugin.data.prepare.encoding.isal_zlib', None)
    prepare(spec_for(photographs, tmp_path / 'second', scales=(2,)), quiet)
    first, second = (entries_of(tmp_path / name / 'HR_sub.lmdb') for name in ('first', 'second'))
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_processes_that_are_not_forked(photographs, tmp_path, monkeypatch):
    """As on Windows and macOS."""
    prepare(spec_for(photographs, tmp_path / 'forked'), quiet)
    monkeypatch.setattr('rfdn_plugin.data.workers.are_forked', lambda: False)
    prepare(spec_for(photographs, tmp_path / 'spawned'), quiet)
    assert files_of(tmp_path / 'forked') == files_of(tmp_path / 'spawned')
    assert not verify([tmp_path / 'spawned'], workers=2).problems


def test_an_image_larger_than_a_commit(tmp_path):
    write(tmp_path / 'hr' / 'large.png', photograph(1, 600, 900))
    write(tmp_path / 'hr' / 'tiny.png', photograph(2, 48, 48))
    out = tmp_path / 'out'
    code = f'import rfdn_plugin.data.prepare.database as d; d._COMMIT_BYTES = 10_000; d._MAP_STEP = 1 << 17; {RUN}'
    subprocess.run([sys.executable, '-c', code, *arguments(tmp_path / 'hr', out)], check=True, capture_output=True)
    assert 'tiny_s001' in entries_of(out / 'HR_sub.lmdb')


# --- LR that is given ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize('ending', ['x2', ''])
def test_given_lr_is_used(photographs, tmp_path, ending):
    for path in photographs.iterdir():
        hr = read_image(path).rgb
        given = np.full((hr.shape[0] // 2, hr.shape[1] // 2, 3), int(path.stem), np.uint8)
        write(tmp_path / 'lr' / f'{path.stem}{ending}.png', given)
    prepare(spec_for(photographs, tmp_path / 'out', scales=(2, 3), lr={2: tmp_path / 'lr'}), quiet)
    for key, image in entries_of(tmp_path / 'out' / 'LR_bicubic_X2_sub.lmdb').items():
        assert set(image.ravel()) == {int(key[:4])}


def test_the_suffix_is_taken_off_at_the_end_only(tmp_path):
    for name in ('pic_x2x4', 'x3', 'v1.5x2'):
        write(tmp_path / 'hr' / f'{name}.png', photograph(1, 48, 48))
        write(tmp_path / 'lr' / f'{name}x2.png', photograph(1, 24, 24))
    prepare(spec_for(tmp_path / 'hr', tmp_path / 'out', scales=(2,), lr={2: tmp_path / 'lr'}), quiet)
    assert list(entries_of(tmp_path / 'out' / 'HR_sub.lmdb')) == ['pic_x2x4_s001', 'v1_5x2_s001', 'x3_s001']


def test_missing_lr_stops_before_the_work(photographs, tmp_path):
    write(tmp_path / 'lr' / '0001x2.png', photograph(1, 125, 150))
    with pytest.raises(RFDNError, match=r'lacks the LR x2 of 11 of 12 HR images \(0002x2'):
        prepare(spec_for(photographs, tmp_path / 'out', scales=(2,), lr={2: tmp_path / 'lr'}), quiet)
    assert not (tmp_path / 'out').exists()


def test_lr_without_hr_is_named(tmp_path):
    write(tmp_path / 'hr' / 'a.png', photograph(1, 48, 48))
    for name in ('a', 'b'):
        write(tmp_path / 'lr' / f'{name}x2.png', photograph(1, 24, 24))
    spec = spec_for(tmp_path / 'hr', tmp_path / 'out', scales=(2,), lr={2: tmp_path / 'lr'})
    assert prepare(spec, quiet).skipped == [(str(tmp_path / 'lr' / 'bx2.png'), 'lr-without-hr', '')]
    with pytest.raises(RFDNError, match=r'bx2\.png'):
        prepare(replace(spec, strict=True), quiet)


def test_lr_of_another_size_is_skipped_and_named(tmp_path):
    for name, size in (('a', 24), ('b', 25)):
        write(tmp_path / 'hr' / f'{name}.png', photograph(1, 48, 48))
        write(tmp_path / 'lr' / f'{name}.png', photograph(1, size, size))
    summary = prepare(spec_for(tmp_path / 'hr', tmp_path / 'out', scales=(2,), lr={2: tmp_path / 'lr'}), quiet)
    assert summary.skipped == [('b.png', 'lr-mismatch', 'HR 48x48, LR 25x25: not x2')]


# --- odd images --------------------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def prepared_oddities(data_root, tmp_path_factory):
    out = tmp_path_factory.mktemp('oddities')
    summary = prepare(spec_for(data_root / 'oddities', out, scales=(2,), crop_size=96, step=48), quiet)
    return summary, out, {record['source']: record for record in read_records(out / 'HR_sub.lmdb')}


@pytest.mark.parametrize('name', ODDITIES)
def test_every_oddity_is_in_the_database_or_in_the_summary(prepared_oddities, name):
    summary, out, records = prepared_oddities
    expected = ODDITIES[name]
    if name in ('palette_1x1.png', 'gray_1x1.png'):
        expected = 'too-small'
    skipped = {Path(path).name: kind for path, kind, _ in summary.skipped}
    if isinstance(expected, str):
        assert skipped[name] == expected
        assert any(name in line and POLICY[expected][1] in line for line in summary.lines())
        return
    assert name not in skipped
    assert set(expected) <= set(records[name]['notices'])
    assert f'{records[name]["key"]}_s001' in entries_of(out / 'HR_sub.lmdb')


def test_the_key_of_an_odd_name(prepared_oddities):
    _, _, records = prepared_oddities
    assert records['name with space (1).png']['key'] == 'name with space (1)'
    assert records['снимок_写真_é.png']['key'].startswith('%D1%81')
    assert 'renamed' in records['снимок_写真_é.png']['notices']


def test_the_summary_counts_every_file(prepared_oddities, data_root):
    summary, _, _ = prepared_oddities
    assert summary.used + len(summary.skipped) == len(list((data_root / 'oddities').iterdir()))


@pytest.mark.parametrize('name', [name for name, expected in ODDITIES.items() if isinstance(expected, str)])
def test_strict_fails_at_every_skip(data_root, tmp_path, name):
    write(tmp_path / 'hr' / 'a.png', photograph(1, 48, 48))
    source = data_root / 'oddities' / name
    copy = shutil.copytree if source.is_dir() else shutil.copy
    copy(source, tmp_path / 'hr' / name)
    prepare(spec_for(tmp_path / 'hr', tmp_path / 'loose', scales=(2,)), quiet)
    for _ in range(2):  # and again, over what the first left
        with pytest.raises(RFDNError, match='--strict') as caught:
            prepare(spec_for(tmp_path / 'hr', tmp_path / 'strict', scales=(2,), strict=True), quiet)
        assert name in str(caught.value)
    with pytest.raises(RFDNError, match='--strict'):
        prepare(spec_for(tmp_path / 'hr', tmp_path / 'loose', scales=(2,), strict=True), quiet)


def test_keys_are_what_basicsr_can_read():
    assert key_of(Path('0001.png')) == '0001'
    assert key_of(Path('a.b.png')) == 'a_b'
    assert key_of(Path('name with space (1).png')) == 'name with space (1)'
    assert key_of(Path('é.png')) == key_of(Path('é.png')) == '%C3%A9'
    assert key_of(Path('a/0001.png')) == 'a/0001'
    with pytest.raises(RFDNError, match='too long'):
        key_of(Path('写' * 80 + '.png'))


def test_two_images_of_one_key_are_refused(tmp_path):
    for name in ('a.b.png', 'a_b.png'):
        write(tmp_path / 'hr' / name, photograph(1, 48, 48))
    with pytest.raises(RFDNError, match='would have the same key'):
        prepare(spec_for(tmp_path / 'hr', tmp_path / 'out'), quiet)


def test_names_that_differ_in_the_suffix_get_keys_of_their_own(tmp_path):
    for name in ('a.png', 'a.bmp', 'b.png'):
        write(tmp_path / 'hr' / name, photograph(1, 48, 48))
    summary = prepare(spec_for(tmp_path / 'hr', tmp_path / 'out'), quiet)
    assert list(entries_of(tmp_path / 'out' / 'HR_sub.lmdb')) == ['a_bmp_s001', 'a_png_s001', 'b_s001']
    assert summary.notices['renamed'] == 2


def test_several_folders_make_one_database(photographs, tmp_path):
    write(tmp_path / 'more' / '0005b.png', photograph(9, 60, 60))
    spec = spec_for(photographs, tmp_path / 'out', scales=(2,))
    assert prepare(replace(spec, hr=(photographs, tmp_path / 'more')), quiet).used == 13
    write(tmp_path / 'more' / '0003.png', photograph(9, 60, 60))
    with pytest.raises(RFDNError, match='would have the same key 0003'):
        prepare(replace(spec, hr=(photographs, tmp_path / 'more'), out=tmp_path / 'other'), quiet)


def test_smallest_size(photographs, tmp_path):
    summary = prepare(spec_for(photographs, tmp_path, min_size=96), quiet)
    assert summary.used == 10
    assert {kind for _, kind, _ in summary.skipped} == {'too-small'}
    assert summary.smallest == 96


def test_nothing_usable_is_an_error(tmp_path):
    (tmp_path / 'hr').mkdir()
    with pytest.raises(RFDNError, match='no image was found'):
        prepare(spec_for(tmp_path / 'hr', tmp_path / 'out'), quiet)
    (tmp_path / 'hr' / 'a.png').write_bytes(b'')
    with pytest.raises(RFDNError, match=r'none of 1 image could be used \(a.png: empty file\)'):
        prepare(spec_for(tmp_path / 'hr', tmp_path / 'out'), quiet)
    with pytest.raises(RFDNError, match='does not exist'):
        prepare(spec_for(tmp_path / 'nowhere', tmp_path / 'out'), quiet)


# --- existing databases --------------------------------------------------------------------------------------------
def test_a_finished_database_is_not_touched(photographs, tmp_path):
    lines: list[str] = []
    prepare(spec_for(photographs, tmp_path), quiet)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    summary = prepare(spec_for(photographs, tmp_path, workers=1), lines.append)
    assert lines == [f'{tmp_path} is finished already: nothing was done']
    assert summary.used == 12
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'crop_size': 48, 'step': 24}, 'crop_size: 96 there, 48 now; step: 48 there, 24 now'),
        ({'encoding': 'bmp'}, 'encoding: png level 1'),
        ({'level': 6}, 'compression: 1 there, 6 now'),
        ({'border': 'replicate'}, 'LR: bicubic, symmetric border there, bicubic, replicate border now'),
        ({'scales': (2,)}, 'sizes are multiples of: 12 there, 2 now'),
        ({'min_size': 96}, 'min_size: 0 there, 96 now'),
    ],
)
@pytest.mark.parametrize('finished', [True, False])
def test_other_settings_are_refused_with_what_differs(photographs, tmp_path, change, named, finished):
    prepare(spec_for(photographs, tmp_path), quiet)
    if not finished:
        for name in NAMES:
            (tmp_path / f'{name}.lmdb').rename(tmp_path / f'{name}.lmdb.partial')
    before = files_of(tmp_path)
    with pytest.raises(RFDNError, match='other settings') as caught:
        prepare(spec_for(photographs, tmp_path, **change), quiet)
    assert named in str(caught.value)
    assert files_of(tmp_path) == before


def test_changed_images_are_refused(photographs, tmp_path):
    hr = tmp_path / 'hr'
    shutil.copytree(photographs, hr)
    prepare(spec_for(hr, tmp_path / 'out'), quiet)
    write(hr / '0013.png', photograph(1, 48, 48))
    with pytest.raises(RFDNError, match=r'finished with 12 images, there are 13 now \(0013.png is new\)'):
        prepare(spec_for(hr, tmp_path / 'out'), quiet)
    (hr / '0013.png').unlink()
    (hr / '0001.bmp').unlink()
    with pytest.raises(RFDNError, match=r'0001.bmp \(\d+ bytes\) there, 0002'):
        prepare(spec_for(hr, tmp_path / 'out'), quiet)


def test_a_scale_can_be_added_and_a_lost_database_made_again(photographs, tmp_path):
    prepare(spec_for(photographs, tmp_path / 'all', scales=(2, 3, 4, 6)), quiet)
    prepare(spec_for(photographs, tmp_path / 'some'), quiet)
    prepare(spec_for(photographs, tmp_path / 'some', scales=(2, 3, 4, 6)), quiet)
    assert files_of(tmp_path / 'all') == files_of(tmp_path / 'some')
    shutil.rmtree(tmp_path / 'some' / 'HR_sub.lmdb')
    prepare(spec_for(photographs, tmp_path / 'some', scales=(2, 3, 4, 6)), quiet)
    assert files_of(tmp_path / 'all') == files_of(tmp_path / 'some')


def test_a_foreign_database_is_not_overwritten(photographs, tmp_path):
    (tmp_path / 'HR_sub.lmdb').mkdir()
    (tmp_path / 'HR_sub.lmdb' / 'data.mdb').write_bytes(b'theirs')
    with pytest.raises(RFDNError, match='was not made by `rfdn prepare`'):
        prepare(spec_for(photographs, tmp_path), quiet)
    assert (tmp_path / 'HR_sub.lmdb' / 'data.mdb').read_bytes() == b'theirs'


# --- interruption --------------------------------------------------------------------------------------------------
def arguments(hr: Path, out: Path) -> list[str]:
    sizes = ['--crop-size', '96', '--step', '48', '--workers', '2']
    return ['prepare', '--hr', str(hr), '--out', str(out), *sizes]


def start(hr: Path, out: Path) -> subprocess.Popen:
    """`rfdn prepare` in a process of its own, with so small commits that there are many to be killed between."""
    code = f'import rfdn_plugin.data.prepare.database as d; d._COMMIT_BYTES = 100_000; d._MAP_STEP = 1 << 20; {RUN}'
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    command = [sys.executable, '-c', code, *arguments(hr, out)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope='module')
def unbroken(photographs, tmp_path_factory) -> tuple[dict[str, bytes], float]:
    """The files of an unbroken run, and the seconds that it took."""
    out = tmp_path_factory.mktemp('unbroken')
    begun = time.monotonic()
    process = start(photographs, out)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return files_of(out), time.monotonic() - begun


def kill_and_go_on(photographs: Path, out: Path, unbroken: tuple[dict[str, bytes], float], seed: int) -> None:
    expected, seconds = unbroken
    generator = random.Random(seed)
    for _ in range(generator.choice((1, 1, 2, 3))):
        process = start(photographs, out)
        time.sleep(generator.uniform(0.1, 1) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        # Whatever has the name of a finished database is one.
        for finished in out.glob('*.lmdb'):
            assert files_of(finished) == {
                name.partition('/')[2]: data for name, data in expected.items() if name.startswith(f'{finished.name}/')
            }
    process = start(photographs, out)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert files_of(out) == expected


@pytest.mark.parametrize('seed', range(3))
def test_killed_at_any_moment_it_ends_with_the_same_bytes(photographs, tmp_path, unbroken, seed):
    kill_and_go_on(photographs, tmp_path / 'out', unbroken, seed)


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(100, 120))
def test_killed_at_twenty_random_moments(photographs, tmp_path, unbroken, seed):
    kill_and_go_on(photographs, tmp_path / 'out', unbroken, seed)


@pytest.mark.parametrize('every', [5, pytest.param(1, marks=pytest.mark.slow)])
def test_points_between_commits_can_be_gone_on_from(photographs, tmp_path, monkeypatch, every):
    """Stop before each step of the disk in turn (a commit, a record, a rename), as a kill there would."""
    for path in sorted(photographs.iterdir())[:3]:
        write(tmp_path / 'hr' / f'{path.stem}.png', read_image(path).rgb)
    photographs = tmp_path / 'hr'
    monkeypatch.setattr(database, '_COMMIT_BYTES', 100_000)
    prepare(spec_for(photographs, tmp_path / 'whole', scales=(2,)), quiet)
    expected = files_of(tmp_path / 'whole')
    steps = {'count': 0, 'stop': -1}

    class Killed(BaseException):
        """Passes through every handler, as a kill does."""

    def counted(function):
        def call(*args, **kwargs):
            if steps['count'] == steps['stop']:
                raise Killed
            steps['count'] += 1
            return function(*args, **kwargs)

        return call

    for name in ('fsync', 'rename', 'replace'):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(database.DatabaseWriter, '_end', counted(database.DatabaseWriter._end))
    prepare(spec_for(photographs, tmp_path / 'count', scales=(2,)), quiet)
    total = steps['count']
    assert total > 20
    for stop in range(0, total, every):
        out = tmp_path / f'stopped_{stop}'
        steps.update(count=0, stop=stop)
        with pytest.raises(Killed):
            prepare(spec_for(photographs, out, scales=(2,)), quiet)
        gc.collect()  # a killed process holds no LMDB open; here Python 3.10 keeps what the exception passed through
        steps.update(stop=-1)
        prepare(spec_for(photographs, out, scales=(2,)), quiet)
        assert files_of(out) == expected, stop
        shutil.rmtree(out)


def test_workers_of_a_killed_run_end(photographs, tmp_path):
    out = tmp_path / 'a name that no other process has'
    process = start(photographs, out)
    time.sleep(1)
    process.kill()
    process.communicate()
    if not Path('/proc').is_dir():
        pytest.skip('the processes are looked up in /proc')
    deadline = time.monotonic() + 10
    while True:
        alive = [path for path in Path('/proc').glob('[0-9]*/cmdline') if out.name.encode() in content_of(path)]
        if not alive or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert not alive


def content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile
        return b''


def test_a_worker_that_dies_is_reported(photographs, tmp_path, monkeypatch):
    # Inherited by the forked workers, which call it; what is handed to the pool stays what it can send.
    monkeypatch.setattr('rfdn_plugin.data.prepare.work._images_of', lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RFDNError, match='a worker process died'):
        prepare(spec_for(photographs, tmp_path), quiet)


def test_a_signal_in_the_midst_of_a_fork_is_not_lost():
    code = """
        import os, signal
        from rfdn_plugin.data.workers import worker_pool
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
        try:
            with worker_pool(2) as pool:
                print(list(pool.map(int, [1])))
        except KeyboardInterrupt:
            print('stopped')
    """
    result = run_code(code, loaded=True)
    assert result.stdout.strip() == 'stopped', result.stdout + result.stderr


def test_two_at_once_are_refused(photographs, tmp_path):
    with Lock(tmp_path / 'out/.lock', 'out', 'wait'):
        with pytest.raises(RFDNError, match=r'in use by process \d+ .* or name another --out'):
            prepare(spec_for(photographs, tmp_path / 'out'), quiet)
        assert [path.name for path in (tmp_path / 'out').iterdir()] == ['.lock']


def test_stopped_by_the_keyboard_it_says_how_to_go_on(photographs, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(database.DatabaseWriter, 'finish', stop)
        with pytest.raises(KeyboardInterrupt, match='stopped: run the same command again to go on'):
            prepare(spec_for(photographs, tmp_path), quiet)
    assert prepare(spec_for(photographs, tmp_path), quiet).used == 12


@pytest.mark.parametrize('size', [300, 1500, 2500])
def test_a_full_disk_is_one_line_and_room_lets_it_go_on(photographs, tmp_path, unbroken, size):
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}k', 'tmpfs', str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f'a small disk cannot be mounted here: {mounted.stderr.decode().strip()}')
    try:
        process = start(photographs, disk / 'out')
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 1
        assert 'rfdn prepare: no space left for' in output.splitlines()[-1]
        assert 'run the same command again' in output.splitlines()[-1]
        assert 'Traceback' not in output
        subprocess.run(['mount', '-o', 'remount,size=64m', str(disk)], check=True)
        process = start(photographs, disk / 'out')
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert files_of(disk / 'out') == unbroken[0]
    finally:
        subprocess.run(['umount', str(disk)], check=True)


# --- shards and merging --------------------------------------------------------------------------------------------
@pytest.mark.parametrize('count', [1, 4])
def test_merged_shards_equal_the_whole(photographs, tmp_path, count):
    prepare(spec_for(photographs, tmp_path / 'whole'), quiet)
    for index in range(1, count + 1):
        prepare(spec_for(photographs, tmp_path / 'parts', shard=(index, count)), quiet)
    shards = sorted((tmp_path / 'parts').iterdir(), reverse=True)
    assert len(shards) == count
    summary = merge(shards, tmp_path / 'merged', quiet)
    assert files_of(tmp_path / 'merged') == files_of(tmp_path / 'whole')
    assert summary.used == 12
    merge(shards, tmp_path / 'merged', quiet)


def test_independent_sets_are_merged(photographs, tmp_path):
    write(tmp_path / 'more' / 'z.png', photograph(9, 120, 120))
    prepare(spec_for(photographs, tmp_path / 'a', scales=(2,)), quiet)
    prepare(spec_for(tmp_path / 'more', tmp_path / 'b', scales=(2,)), quiet)
    merge([tmp_path / 'a', tmp_path / 'b'], tmp_path / 'both', quiet)
    prepare(
        replace(spec_for(photographs, tmp_path / 'at once', scales=(2,)), hr=(photographs, tmp_path / 'more')), quiet
    )
    assert files_of(tmp_path / 'both') == files_of(tmp_path / 'at once')


def test_what_cannot_be_merged_is_refused(photographs, tmp_path):
    for index in (1, 2, 3):
        prepare(spec_for(photographs, tmp_path / 'parts', shard=(index, 3), scales=(2,)), quiet)
    shards = sorted((tmp_path / 'parts').iterdir())
    prepare(spec_for(photographs, tmp_path / 'whole', scales=(2,)), quiet)
    prepare(spec_for(photographs, tmp_path / 'bmp', scales=(2,), encoding='bmp'), quiet)
    prepare(spec_for(photographs, tmp_path / 'x3', scales=(3,)), quiet)
    shutil.copytree(tmp_path / 'whole', tmp_path / 'copy')
    out = tmp_path / 'out'
    for folders, message in (
        (shards[:2], 'every shard of the set is needed'),
        ([shards[0], *shards], 'every shard of the set is needed'),
        ([tmp_path / 'whole', *shards], 'is not a shard'),
        ([tmp_path / 'whole', tmp_path / 'bmp/../whole'], 'whole is given twice'),
        ([tmp_path / 'whole', tmp_path / 'copy'], 'key 0001 is in'),
        ([tmp_path / 'whole', tmp_path / 'bmp'], 'other settings .* encoding|encoding'),
        ([tmp_path / 'whole', tmp_path / 'x3'], 'has scales'),
        ([tmp_path], 'holds no HR database'),
    ):
        with pytest.raises(RFDNError, match=message):
            merge(folders, out, quiet)
    (shards[1] / 'HR_sub.lmdb').rename(shards[1] / 'HR_sub.lmdb.partial')
    with pytest.raises(RFDNError, match='is not finished'):
        merge(shards, out, quiet)
    assert not out.exists()


# --- the command ---------------------------------------------------------------------------------------------------
def test_the_command(photographs, tmp_path, capsys):
    given = [*arguments(photographs, tmp_path), '--encoding', 'bmp', '--scales', '2']
    assert cli.main(given) == 0
    output = capsys.readouterr().out
    assert '12 images' in output
    assert 'converted: 2 x small' in output
    assert cli.main([*given, '--min-size', '60']) == 1
    assert capsys.readouterr().err.startswith('rfdn prepare: ')


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (['--scales', '7'], 'crop size 96 is not a multiple of 7, which scales 7 need: take 98'),
        (['--scales', '2', '2'], 'scales are different whole numbers'),
        (['--scales', '1'], 'at least 2'),
        (['--step', '200'], 'step 200 is not a multiple'),
        (['--step', '192'], 'pixels would be lost'),
        (['--level', '11'], '0 to 9'),
        (['--shard', '5/4'], 'shard 5/4 does not exist'),
        (['--lr', '8=x'], 'LR is given for scale 8'),
    ],
)
def test_what_cannot_work_is_refused_at_once(photographs, tmp_path, capsys, wrong, message):
    assert cli.main([*arguments(photographs, tmp_path / 'out'), *wrong]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('wrong', [['--lr', 'X2'], ['--shard', '1'], ['--workers', '0'], ['--encoding', 'jpg']])
def test_usage_errors(photographs, tmp_path, capsys, wrong):
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments(photographs, tmp_path / 'out'), *wrong])
    assert caught.value.code == 2
