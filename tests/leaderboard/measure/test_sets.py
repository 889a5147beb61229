"""Test sets: how pairs are found, read and checked."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.small_sets import make_set, photograph, write

from rfdn_plugin.data.bicubic import mod_crop
from rfdn_plugin.leaderboard.measure.sets import LR_SOURCES, check_pair, open_set
from rfdn_plugin.leaderboard.options import SetOptions
from rfdn_plugin.utils.errors import RFDNError


def opened(section: dict, scale: int = 2):
    return open_set('Small', SetOptions(**section), scale)


def test_images_are_read_as_basicsr_reads_them(tmp_path):
    image = opened(make_set(tmp_path)).read(0)
    assert image.name == 'astronaut' and image.lr.shape == (3, 30, 37)
    np.testing.assert_array_equal(image.hr, mod_crop(photograph('astronaut'), 2))


@pytest.mark.parametrize('div2k_names', [True, False])
def test_both_ways_of_naming_lr_are_found(tmp_path, div2k_names):
    test_set = opened(make_set(tmp_path, div2k_names=div2k_names))
    assert test_set.names == ('astronaut', 'chelsea', 'coffee', 'rocket')
    assert test_set.template == ('{}x2' if div2k_names else '{}')


def test_another_template_is_taken_from_the_options(tmp_path):
    section = make_set(tmp_path, div2k_names=False)
    for file in (tmp_path / 'X2').iterdir():
        file.rename(file.with_stem(f'{file.stem}_small2'))
    assert len(opened({**section, 'filename_tmpl': '{}_small{scale}'})) == 4


def test_an_lmdb_gives_the_same_images_as_folders(tmp_path):
    import rfdn_plugin  # noqa: F401

    from basicsr.utils.lmdb_util import make_lmdb_from_imgs  # isort: skip

    section = make_set(tmp_path, div2k_names=False)
    files = sorted(file.name for file in (tmp_path / 'HR').iterdir())
    for folder in ('HR', 'X2'):
        make_lmdb_from_imgs(
            str(tmp_path / folder), str(tmp_path / f'{folder}.lmdb'), files, [Path(f).stem for f in files]
        )
    from_lmdb = opened({'hr': f'{tmp_path}/HR.lmdb', 'lr': f'{tmp_path}/X{{scale}}.lmdb'})
    from_folder = opened(section)
    assert from_lmdb.names == from_folder.names
    for index in range(4):
        assert (from_lmdb.read(index).hr == from_folder.read(index).hr).all()
        assert (from_lmdb.read(index).lr == from_folder.read(index).lr).all()
        assert check_pair(from_lmdb, index)['lr'] == 'symmetric'


def test_the_digest_changes_with_a_image_and_with_nothing_else(tmp_path):
    section = make_set(tmp_path)
    before = opened(section).digest
    assert opened(section).digest == before
    write(tmp_path / 'HR' / 'coffee.png', photograph('coffee')[::-1])
    assert opened(section).digest != before


def remove(name):
    return lambda root: (root / name).unlink()


@pytest.mark.parametrize(
    ('harm', 'said'),
    [
        (remove('X2/coffeex2.png'), 'no LR in .* for coffee: complete the set'),
        (remove('HR/coffee.png'), r'no HR in .* for coffeex2'),
        (lambda root: (root / 'HR/Thumbs.db').write_bytes(b'x'), 'Thumbs.db, which is no image'),
        (lambda root: shutil.copy(root / 'HR/coffee.png', root / 'HR/coffee.bmp'), 'differ in their suffix only'),
        (lambda root: (root / 'X2/coffeex2.png').rename(root / 'X2/coffeex2.bmp'), 'of another file type'),
        (lambda root: shutil.rmtree(root / 'X2'), 'no folder .*X2'),
        (lambda root: [file.unlink() for file in (root / 'HR').iterdir()], 'holds no images'),
    ],
)
def test_a_set_that_does_not_pair_is_refused_by_name(tmp_path, harm, said):
    section = make_set(tmp_path)
    harm(tmp_path)
    with pytest.raises(RFDNError, match=said):
        opened(section)


def test_hidden_files_are_passed_over(tmp_path):
    section = make_set(tmp_path)
    (tmp_path / 'HR' / '.DS_Store').write_bytes(b'x')
    assert len(opened(section)) == 4


def test_a_folder_beside_an_lmdb_is_refused(tmp_path):
    (tmp_path / 'a.lmdb').mkdir()
    with pytest.raises(RFDNError, match='both must be LMDBs'):
        opened({'hr': str(tmp_path / 'a.lmdb'), 'lr': str(tmp_path)})


# --- checks of pairs -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('border', ['symmetric', 'replicate'])
def test_matlab_s_lr_is_recognised_with_its_border(tmp_path, scale, border):
    test_set = opened(make_set(tmp_path, scale, border=border), scale)
    assert {check_pair(test_set, index)['lr'] for index in range(4)} == {border}


def test_other_lr_is_told_apart_with_its_difference(tmp_path):
    section = make_set(tmp_path, 2)
    hr = mod_crop(photograph('coffee'), 2)
    write(tmp_path / 'X2' / 'coffeex2.png', cv2.resize(hr, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    found = check_pair(opened(section), opened(section).names.index('coffee'))
    assert found['lr'] == 'other' and found['difference'] > 0.5
    assert 'not' in LR_SOURCES['other']


def test_a_grey_image_is_read_as_three_channels_and_named(tmp_path):
    section = make_set(tmp_path)
    for file in (tmp_path / 'HR' / 'coffee.png', tmp_path / 'X2' / 'coffeex2.png'):
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    test_set = opened(section)
    index = test_set.names.index('coffee')
    assert check_pair(test_set, index)['grey'] and not check_pair(test_set, 0)['grey']
    assert test_set.read(index).hr.shape == (60, 74, 3)


def test_sizes_that_do_not_fit_are_refused_with_the_scale_that_would(tmp_path):
    section = make_set(tmp_path, 2)
    make_set(tmp_path, 4)
    shutil.copy(tmp_path / 'X4' / 'coffeex4.png', tmp_path / 'X2' / 'coffeex2.png')
    test_set = opened(section)
    with pytest.raises(RFDNError, match='coffee: HR 61x75, LR 15x18: the LR is of scale 4, not 2'):
        check_pair(test_set, test_set.names.index('coffee'))
    write(tmp_path / 'X2' / 'coffeex2.png', photograph('coffee', (20, 37)))
    with pytest.raises(RFDNError, match='coffee: HR 61x75, LR 20x37: not x2'):
        check_pair(test_set, test_set.names.index('coffee'))


@pytest.mark.parametrize('content', [b'', b'no image'], ids=['empty', 'text'])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    section = make_set(tmp_path)
    (tmp_path / 'X2' / 'coffeex2.png').write_bytes(content)
    test_set = opened(section)
    with pytest.raises(RFDNError, match='coffee'):
        check_pair(test_set, test_set.names.index('coffee'))


@pytest.mark.parametrize(
    ('name', 'border'),
    [('Set5', 'symmetric'), ('Set14', 'replicate'), ('BSD100', 'replicate'), ('Urban100_part', 'replicate')],
)
def test_the_public_sets_are_matlab_s(data_root, name, border):
    folder = data_root / 'benchmarks' / name
    test_set = open_set(name, SetOptions(hr=str(folder / 'HR'), lr=str(folder / 'LR_bicubic' / 'X{scale}')), 4)
    assert {check_pair(test_set, index)['lr'] for index in range(0, len(test_set), 1 + len(test_set) // 6)} == {border}
