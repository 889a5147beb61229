"""Whether an LR is MATLAB's bicubic of an HR: one verdict for `verify` and the leaderboard, wherever it was cut."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.images import photograph, quiet, spec_for, write

from rfdn_plugin.cli import main
from rfdn_plugin.data.bicubic import BORDERS, downscale, mod_crop
from rfdn_plugin.data.lr_check import WHOLE, CutEdges, Edges, judge_resize
from rfdn_plugin.data.pairing import explain_sizes
from rfdn_plugin.data.prepare import prepare
from rfdn_plugin.data.verify import Pair, verify
from rfdn_plugin.leaderboard.measure.sets import check_pair, open_set
from rfdn_plugin.leaderboard.options import SetOptions

ALL = Edges(True, True, True, True)


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('border', BORDERS)
@pytest.mark.parametrize('side', [5, 6, 7, 12, 13, 24])
def test_a_cut_anywhere_is_recognised_and_one_wrong_pixel_too(scale, border, side):
    hr = photograph(1, 40 * scale, 40 * scale)
    lr = downscale(hr, scale, border)
    for top, left in ((0, 0), (0, 9), (8, 40 - side), (40 - side, 3), (7, 11)):
        edges = Edges(top > 0, left > 0, top + side < 40, left + side < 40)
        low = lr[top : top + side, left : left + side]
        high = hr[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
        found = judge_resize(high, low, scale, edges)
        assert found.source in (border, 'symmetric'), (top, left)
        if not all(edges) and side >= 12:  # a few pixels can be equal by both rules
            assert found.source == border
        wrong = low.copy()
        wrong[side // 2, side // 2, 1] ^= 1
        assert judge_resize(high, wrong, scale, edges).source == 'other'


def test_edges_that_were_cut_tell_nothing_about_the_border():
    """What lies outside of this sub-image repeats its edge: the other rule gives it as a whole image too."""
    hr = np.repeat(photograph(1, 1, 64), 64, axis=0)
    hr[:, :17], hr[:, 47:] = hr[:, 16:17], hr[:, 47:48]
    high, low = hr[16:48, 16:48], downscale(hr, 2)[8:24, 8:24]
    assert np.array_equal(downscale(high, 2, 'replicate'), low) and not np.array_equal(downscale(high, 2), low)
    assert judge_resize(high, low, 2, ALL) == ('symmetric', 0.0)
    assert judge_resize(high, low, 2, WHOLE) == ('replicate', 0.0)


def test_an_lr_that_is_all_edge_is_not_judged():
    hr = photograph(1, 64, 64)
    lr = downscale(hr, 4)[4:8, 4:8]
    assert judge_resize(hr[16:32, 16:32], lr, 4, ALL).source == 'unknown'
    assert judge_resize(hr[16:32, 16:32], downscale(hr[16:32, 16:32], 4), 4).source == 'symmetric'


@pytest.mark.parametrize('shape', [(61, 75), (60, 75), (63, 77)])
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_lr_of_an_hr_that_is_no_multiple_of_the_scale(shape, scale):
    hr = photograph(2, *shape)
    for lr in (
        downscale(mod_crop(hr, scale), scale),
        downscale(mod_crop(hr, 12), scale),
        downscale(hr, scale)[: shape[0] // scale, : shape[1] // scale],
    ):
        assert explain_sizes(hr.shape, lr.shape, scale, exact=False) == ('', '')
        assert judge_resize(hr, lr, scale, WHOLE) == ('symmetric', 0.0)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_the_edges_of_prepared_sub_images_are_known(tmp_path, scale):
    write(tmp_path / 'images' / 'a.png', photograph(0, 96, 144))
    prepare(spec_for(tmp_path / 'images', tmp_path / 'out', scales=(scale,), crop_size=48, step=48), quiet)
    cut = CutEdges(tmp_path / 'out/HR_sub.lmdb', tmp_path / f'out/LR_bicubic_X{scale}_sub.lmdb')
    assert cut.of('a_s001') == Edges(False, False, True, True)
    assert cut.of('a_s002') == Edges(False, True, True, True)
    assert cut.of('a_s006') == Edges(True, True, False, False)
    assert cut.of('a_s999') == cut.of('stranger_s001') == ALL


@pytest.mark.parametrize('crop_size', [24, 36, 48, 96, 0])
@pytest.mark.parametrize('given_lr', [False, True])
def test_verify_and_the_leaderboard_agree_on_what_prepare_made(tmp_path, crop_size, given_lr):
    """HR of 118 x 130 are no multiple of 12: given LR go on where the sub-images end."""
    for number in range(3):
        hr = photograph(number, 118, 130)
        write(tmp_path / 'images' / f'{number}.png', hr)
        for scale in (2, 3, 4):
            write(tmp_path / f'X{scale}' / f'{number}x{scale}.png', downscale(mod_crop(hr, scale), scale))
    lr = {scale: tmp_path / f'X{scale}' for scale in (2, 3, 4)} if given_lr else {}
    step = crop_size // 2 // 12 * 12 or 12 if crop_size else None
    spec = spec_for(tmp_path / 'images', tmp_path / 'out', crop_size=crop_size, step=step, lr=lr, scales=(2, 3, 4))
    prepare(spec, quiet)
    report = verify([tmp_path / 'out'], share=1)
    assert report.findings == []
    assert report.resizes + report.too_small == report.pairs > 0
    suffix = '_sub' if crop_size else ''
    for scale in (2, 3, 4):
        section = {'hr': f'{tmp_path}/out/HR{suffix}.lmdb', 'lr': f'{tmp_path}/out/LR_bicubic_X{{scale}}{suffix}.lmdb'}
        test_set = open_set('Small', SetOptions(**section), scale)
        found = {check_pair(test_set, index)['lr'] for index in range(0, len(test_set), 7)}
        assert (found <= {'symmetric', 'unknown'} and 'symmetric' in found) or crop_size // scale < 5


def test_sub_images_without_a_record_of_their_making(tmp_path):
    write(tmp_path / 'images' / 'a.png', photograph(0, 96, 144))
    prepare(spec_for(tmp_path / 'images', tmp_path / 'out', scales=(4,), crop_size=48, step=24), quiet)
    for path in (tmp_path / 'out').rglob('*.json*'):
        path.unlink()
    report = verify([tmp_path / 'out'], share=1)
    assert report.findings == [] and report.resizes == report.pairs == 15


def test_verify_and_the_leaderboard_agree_on_another_resize(tmp_path):
    for number in range(2):
        hr = photograph(number, 96, 96)
        write(tmp_path / 'HR' / f'{number}.png', hr)
        small = cv2.resize(hr, (48, 48), interpolation=cv2.INTER_AREA)
        write(tmp_path / 'X2' / f'{number}x2.png', small if number else downscale(hr, 2, 'replicate'))
    section = {'hr': f'{tmp_path}/HR', 'lr': f'{tmp_path}/X2'}
    test_set = open_set('Small', SetOptions(**section), 2)
    assert [check_pair(test_set, index)['lr'] for index in range(2)] == ['replicate', 'other']
    report = verify([], [Pair(tmp_path / 'HR', tmp_path / 'X2', 2)], share=1)
    assert [(finding.kind, finding.key) for finding in report.findings] == [
        ('older-border', '0.png'),
        ('other-resize', '1.png'),
    ]


@pytest.mark.parametrize(
    ('hr', 'lr', 'exact', 'kind', 'words'),
    [
        ((96, 48), (48, 24), True, '', ''),
        ((97, 48), (48, 24), True, 'wrong-scale', 'not x2'),
        ((97, 49), (48, 24), False, '', ''),
        ((95, 59), (42, 24), False, '', ''),
        ((48, 24), (96, 48), True, 'exchanged-pair', 'HR and LR are exchanged'),
        ((48, 24), (97, 49), False, 'exchanged-pair', 'HR and LR are exchanged'),
        ((96, 48), (24, 12), True, 'wrong-scale', 'the LR is of scale 4, not 2'),
        ((96, 48), (32, 16), False, 'wrong-scale', 'the LR is of scale 3, not 2'),
        ((96, 48), (24, 48), True, 'wrong-scale', 'one of them lies on its side'),
        ((96, 48), (96, 48), True, 'wrong-scale', 'the LR was not made smaller'),
        ((96, 48), (20, 30), False, 'wrong-scale', 'not x2'),
    ],
)
def test_sizes_that_do_not_fit_are_told_for_what_they_are(hr, lr, exact, kind, words):
    found, sentence = explain_sizes(hr, lr, 2, exact=exact)
    assert found == kind and sentence.endswith(words)
    assert (sentence == '') == (kind == '')


def test_hr_and_lr_exchanged_is_told_so(tmp_path, capsys):
    write(tmp_path / 'images' / 'a.png', photograph(0, 96, 96))
    prepare(spec_for(tmp_path / 'images', tmp_path / 'out', scales=(2,)), quiet)
    hr, lr = (str(tmp_path / 'out' / name) for name in ('HR_sub.lmdb', 'LR_bicubic_X2_sub.lmdb'))
    assert main(['verify', '--pair', lr, hr, '2', '--workers', '1']) == 1
    assert 'HR and LR are exchanged' in capsys.readouterr().out


def folder_set(root: Path, names=('a', 'b (1)', 'c'), suffix: str = '.png') -> Path:
    for number, name in enumerate(names):
        hr = photograph(number, 61, 75)
        write(root / 'HR' / f'{name}{suffix}', hr)
        write(root / 'LR_bicubic/X2' / f'{name}x2{suffix}', downscale(mod_crop(hr, 2), 2))
    return root


def test_a_test_set_of_folders_is_verified_like_databases(tmp_path, capsys):
    root = folder_set(tmp_path / 'Set')
    assert main(['verify', str(root), '--all', '--workers', '1']) == 0
    output = capsys.readouterr().out
    assert '3 pairs checked for size and content, 3 against MATLAB bicubic' in output and 'no problem' in output
    assert main(['verify', f'{root}/HR/', '--workers', '1']) == 0
    assert '3 entries decoded' in capsys.readouterr().out
    pair = ['--pair', f'{root}/HR', f'{root}/LR_bicubic/X2', '2']
    assert main(['verify', *pair, '--all', '--workers', '1']) == 0
    assert '3 pairs' in capsys.readouterr().out


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


FOLDER_PROBLEMS = {
    'cut short': (lambda root: cut_short(root / 'HR/a.png'), 'not-decodable', 'a.png'),
    'LR cut short': (lambda root: cut_short(root / 'LR_bicubic/X2/ax2.png'), 'not-decodable', 'ax2.png'),
    'no LR': (lambda root: (root / 'LR_bicubic/X2/ax2.png').unlink(), 'no-partner', 'a.png'),
    'no HR': (lambda root: (root / 'HR/a.png').unlink(), 'no-partner', 'ax2.png'),
    'text': (lambda root: (root / 'HR/readme.txt').write_text('x'), 'other-file', 'readme.txt'),
    'other size': (
        lambda root: write(root / 'LR_bicubic/X2/ax2.png', photograph(0, 20, 25)),
        'wrong-scale',
        'a.png',
    ),
    'other image': (lambda root: write(root / 'LR_bicubic/X2/ax2.png', photograph(9, 30, 37)), 'not-a-pair', 'a.png'),
    'other resize': (
        lambda root: write(root / 'LR_bicubic/X2/ax2.png', cv2.resize(photograph(0, 61, 75), (37, 30))),
        'other-resize',
        'a.png',
    ),
    'other type': (
        lambda root: (root / 'LR_bicubic/X2/ax2.png').rename(root / 'LR_bicubic/X2/ax2.bmp'),
        'other-suffix',
        'ax2.bmp',
    ),
    'same pixels': (lambda root: shutil.copy(root / 'HR/a.png', root / 'HR/z.png'), 'duplicate', 'z.png'),
    'grey': (lambda root: write(root / 'HR/a.png', photograph(0, 61, 75)[..., :1]), 'converted', 'a.png'),
}


@pytest.mark.parametrize('name', FOLDER_PROBLEMS)
def test_what_is_wrong_in_a_folder_is_found_and_named(tmp_path, name):
    spoil, kind, key = FOLDER_PROBLEMS[name]
    root = folder_set(tmp_path / 'Set')
    spoil(root)
    assert (kind, key) in {(finding.kind, finding.key) for finding in verify([root], share=1).findings}


def test_the_public_sets_pass_as_folders(data_root):
    report = verify([data_root / 'benchmarks/Set5'], share=1)
    assert report.findings == [] and report.pairs == report.resizes == 15
    report = verify([data_root / 'benchmarks/Set14'], share=1)
    assert {finding.kind for finding in report.findings} == {'older-border', 'converted'} and not report.problems


def interrupted(root: Path) -> None:
    (root / 'HR_sub.lmdb.partial').mkdir()
    (root / 'HR_sub.lmdb.partial/data.mdb').write_bytes(b'')


def empty_database(root: Path) -> None:
    import lmdb

    lmdb.open(str(root / 'HR.lmdb'), map_size=1 << 20).close()
    (root / 'HR.lmdb/meta_info.txt').write_text('')


@pytest.mark.parametrize(
    'fill', [lambda root: None, interrupted, empty_database, lambda root: (root / 'readme.txt').write_text('')]
)
def test_nothing_checked_is_never_fine(tmp_path, capsys, fill):
    fill(tmp_path)
    assert main(['verify', str(tmp_path), '--workers', '1']) == 1
    assert 'nothing was checked' in capsys.readouterr().out


def test_the_partial_of_a_named_database_is_told(tmp_path, capsys):
    interrupted(tmp_path)
    assert main(['verify', f'{tmp_path}/HR_sub.lmdb/', '--workers', '1']) == 1
    assert 'unfinished' in capsys.readouterr().out


def test_two_kinds_of_places_are_no_pair(tmp_path, capsys):
    root = folder_set(tmp_path / 'Set')
    prepare(spec_for(root / 'HR', tmp_path / 'out', scales=(2,), crop_size=0, step=None), quiet)
    pair = ['--pair', str(tmp_path / 'out/HR.lmdb'), str(root / 'LR_bicubic/X2'), '2']
    assert main(['verify', *pair, '--workers', '1']) == 1
    assert 'both must be LMDBs, or both folders' in capsys.readouterr().err
