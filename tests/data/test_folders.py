"""`rfdn prepare --folders`: test sets as BasicSR's test options read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.images import files_of, photograph, write

from rfdn_plugin import cli


def run(hr: Path, out: Path, *more: str) -> int:
    return cli.main(['prepare', '--folders', '--hr', str(hr), '--out', str(out), '--scales', '2', '3', *more])


@pytest.mark.parametrize(('name', 'border'), [('Set5', 'symmetric'), ('Set14', 'replicate')])
def test_a_benchmark_set_becomes_what_was_published(data_root, tmp_path, name, border):
    published = data_root / 'benchmarks' / name
    shutil.copytree(published / 'HR', tmp_path / name / 'HR')
    before = files_of(tmp_path / name / 'HR')
    assert run(tmp_path / name / 'HR', tmp_path / name, '--border', border) == 0
    assert files_of(tmp_path / name / 'HR') == before
    for scale in (2, 3):
        theirs = sorted((published / 'LR_bicubic' / f'X{scale}').iterdir())
        ours = sorted((tmp_path / name / 'LR_bicubic' / f'X{scale}').iterdir())
        assert [path.name for path in ours] == [path.name for path in theirs]
        for first, second in zip(ours, theirs, strict=True):
            assert np.array_equal(cv2.imread(str(first)), cv2.imread(str(second)))


def test_basicsr_reads_them(tmp_path):
    import rfdn_plugin  # noqa: F401  (lets basicsr be imported)

    paired_image_dataset = pytest.importorskip('basicsr.data.paired_image_dataset')
    for name in ('a.b.jpg', 'c.bmp', 'é.png'):
        write(tmp_path / 'downloads' / name, photograph(1, 61, 50))
    (tmp_path / 'downloads' / 'Thumbs.db').write_bytes(b'x')
    assert run(tmp_path / 'downloads', tmp_path / 'Set') == 0
    dataset = paired_image_dataset.PairedImageDataset(
        {
            'dataroot_gt': str(tmp_path / 'Set' / 'HR'),
            'dataroot_lq': str(tmp_path / 'Set' / 'LR_bicubic' / 'X3'),
            'filename_tmpl': '{}x3',
            'io_backend': {'type': 'disk'},
            'scale': 3,
            'phase': 'val',
        }
    )
    assert len(dataset) == 3
    for sample in dataset:
        assert sample['lq'].shape == (3, 20, 16)
        assert sample['gt'].shape == (3, 60, 48)


def test_a_second_call_changes_nothing_and_other_pixels_are_refused(tmp_path, capsys):
    write(tmp_path / 'downloads' / 'a.png', photograph(1, 60, 60))
    assert run(tmp_path / 'downloads', tmp_path / 'Set') == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'Set').rglob('*.png')}
    assert len(before) == 3
    assert run(tmp_path / 'downloads', tmp_path / 'Set') == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert run(tmp_path / 'downloads', tmp_path / 'Set', '--border', 'replicate') == 1
    assert 'exists with other pixels' in capsys.readouterr().err


def test_odd_files_are_skipped_named_or_strict(tmp_path, capsys):
    write(tmp_path / 'downloads' / 'a.png', photograph(1, 60, 60))
    (tmp_path / 'downloads' / 'b.png').write_bytes(b'')
    assert run(tmp_path / 'downloads', tmp_path / 'Set') == 0
    assert 'skipped: 1 x empty' in capsys.readouterr().out
    assert run(tmp_path / 'downloads', tmp_path / 'Strict', '--strict') == 1
    assert 'b.png: empty file (--strict)' in capsys.readouterr().err


def test_what_cannot_work_is_refused(tmp_path, capsys):
    write(tmp_path / 'downloads' / 'a.png', photograph(1, 60, 60))
    write(tmp_path / 'downloads' / 'a.bmp', photograph(1, 60, 60))
    assert run(tmp_path / 'downloads', tmp_path / 'Set') == 1
    assert 'would both become a.png' in capsys.readouterr().err
    write(tmp_path / 'Other' / 'HR' / 'a.bmp', photograph(1, 60, 60))
    assert run(tmp_path / 'Other' / 'HR', tmp_path / 'Other') == 1
    assert 'is not named .png' in capsys.readouterr().err
    assert run(tmp_path / 'downloads', tmp_path / 'Set', '--lr', f'2={tmp_path}') == 1
