"""Opening LMDBs that are not whole, and the one reader of meta_info.txt."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import lmdb
import pytest
from helpers.images import photograph, quiet, spec_for, write
from helpers.small_sets import make_weights
from helpers.training import option_file, rfdn, small

from rfdn_plugin.data.lmdb import check_whole, open_lmdb, read_meta_info, reading, shapes_of, write_meta_info
from rfdn_plugin.data.prepare import prepare
from rfdn_plugin.utils.errors import RFDNError


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('whole')
    for number, name in enumerate('abcd'):
        write(folder / 'images' / f'{name}.png', photograph(number, 150, 200))
    prepare(spec_for(folder / 'images', folder / 'out', scales=(2,)), quiet)
    return folder / 'out'


def test_a_meta_info_that_is_written_is_read(tmp_path):
    entries = [('a', 4, 6), ('b (1)', 8, 2), ('c (4,4,3) 1.png', 1, 1), ('sub/d', 3, 3)]
    write_meta_info(tmp_path, entries, 1)
    assert shapes_of(tmp_path) == {key: (height, width, 3) for key, height, width in entries}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'names no entry'),
        ('\n', 'line 1 .* is blank'),
        ('a.png (4,4,3) 1\n\nb.png (4,4,3) 1\n', 'line 2 .* is blank'),
        ('a.png (4,4,3) 1\n  \n', 'line 2 .* is blank'),
        ('a.png\n', 'line 1 .*not of the form'),
        ('a.png (4,4) 1\n', 'line 1 .*not of the form'),
        ('a.png (4,4,3\n', 'line 1 .*not of the form'),
        ('a (4,4,3) 1\n', 'line 1 .*not of the form'),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, text, message):
    (tmp_path / 'meta_info.txt').write_text(text)
    with pytest.raises(RFDNError, match=message):
        shapes_of(tmp_path)


def test_lines_of_basicsr_are_read(tmp_path):
    (tmp_path / 'meta_info.txt').write_text(
        '0001_s001.png (480,480,3) 1\n0001_s001.png (480,480,3) 1\r\nb.jpg (5,6,1) 9'
    )
    found = read_meta_info(tmp_path)
    assert found.shapes == {'0001_s001': (480, 480, 3), 'b': (5, 6, 1)}
    assert found.repeated == [(2, '0001_s001')] and found.bad_lines == []


def test_what_is_not_an_lmdb_is_one_line(tmp_path):
    (tmp_path / 'empty.lmdb').mkdir()
    (tmp_path / 'file.lmdb').write_bytes(b'x')
    (tmp_path / 'text.lmdb').mkdir()
    (tmp_path / 'text.lmdb/data.mdb').write_text('version https://git-lfs.github.com/spec/v1\n' * 300)
    messages = {
        'no': 'does not exist',
        'empty': 'has no data.mdb',
        'file': 'is not a folder',
        'text': 'cannot be opened',
    }
    for name, message in messages.items():
        with pytest.raises(RFDNError, match=message) as caught:
            open_lmdb(tmp_path / f'{name}.lmdb')
        assert '\n' not in str(caught.value)


@pytest.mark.parametrize('share', [0.0, 0.001, 0.02, 0.3, 0.5, 0.9, 0.999])
def test_every_cut_is_found_before_the_file_is_mapped(whole, tmp_path, share):
    """Reading behind the end of a mapped file is a bus error: the process would be gone, and this test with it."""
    path = tmp_path / 'cut.lmdb'
    shutil.copytree(whole / 'HR_sub.lmdb', path)
    os.truncate(path / 'data.mdb', int(share * (path / 'data.mdb').stat().st_size))
    with pytest.raises(RFDNError) as caught:
        open_lmdb(path)
    if share > 0.02:
        assert 'bytes of' in str(caught.value) and 'copy or prepare it again' in str(caught.value)


def test_one_page_less_is_found(whole, tmp_path):
    path = tmp_path / 'cut.lmdb'
    shutil.copytree(whole / 'HR_sub.lmdb', path)
    data = path / 'data.mdb'
    lost = 0
    while True:  # pages that nothing refers to may be missing; the first one that matters is found
        os.truncate(data, data.stat().st_size - 4096)
        try:
            check_whole(path)
        except RFDNError:
            break
        lost += 1
        with reading(path) as transaction:
            assert all(bytes(value) for _, value in transaction.cursor())
    assert lost < 4


def test_many_ways_of_writing_are_whole(tmp_path):
    """Commits, overwritten and deleted values, large and small: LMDB may leave pages at the end that it never wrote."""
    import random

    random.seed(3)
    for trial in range(20):
        path = tmp_path / f'{trial}.lmdb'
        for _ in range(random.randint(1, 6)):
            with lmdb.open(str(path), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
                for _ in range(random.randint(0, 60)):
                    key = b'%d' % random.randint(0, 100)
                    if random.random() < 0.4:
                        transaction.delete(key)
                    else:
                        transaction.put(key, os.urandom(random.choice([10, 500, 5000, 50000])))
        check_whole(path)
        with reading(path) as transaction:
            assert sum(1 for _ in transaction.cursor()) == transaction.stat()['entries']


def test_reading_leaves_the_database_closed_unless_it_was_open(whole):
    path = whole / 'HR_sub.lmdb'
    with reading(path) as first, reading(f'{path}/') as second:
        assert first.stat() == second.stat()
    lmdb.open(str(path), readonly=True, lock=False).close()  # would be refused if it were open still


def test_a_cut_database_is_one_line_in_every_command(whole, tmp_path, photographs):
    data = tmp_path / 'data'
    shutil.copytree(whole, data)
    os.truncate(data / 'HR_sub.lmdb/data.mdb', 200_000)
    (tmp_path / 'board.yml').write_text(
        'name: cut\nsets: {Cut: {hr: data/HR_sub.lmdb, lr: "data/LR_bicubic_X{scale}_sub.lmdb"}}\n'
        'entries: [{type: bicubic, scale: 2}]\n'
    )
    weights, known = make_weights(tmp_path / 'net.pth'), ('--type', 'RFDN', '--img-range', '1')
    commands = [
        ('verify', 'data'),
        ('train', '-opt', option_file(), '--force_yml', *small(data, photographs)),
        ('transfer', '--weights', weights, *known, '--to-scale', '3', '--fit', 'data/HR_sub.lmdb', '-o', 'x3.pth'),
        ('leaderboard', '-opt', 'board.yml', '--out', 'board', '--workers', '1'),
        ('merge', 'data', '--out', 'merged'),
    ]
    for command in commands:
        outcome = rfdn(*command, cwd=tmp_path)
        assert outcome.returncode == 1, (command[0], outcome.stderr[-1000:])
        assert 'HR_sub.lmdb/data.mdb has 200000 bytes of' in outcome.stdout + outcome.stderr, command[0]
        assert 'Traceback' not in outcome.stderr, command[0]


def test_a_path_that_is_not_there_is_told_with_what_is_beside_it(tmp_path: Path):
    with pytest.raises(RFDNError, match=r'^there is no \S+/HR.lmdb: check the path'):
        read_meta_info(tmp_path / 'HR.lmdb')
    (tmp_path / 'HR_sub.lmdb').mkdir()
    with pytest.raises(RFDNError, match=r'no \S+/HR.lmdb, but beside it HR_sub.lmdb: check the path'):
        read_meta_info(tmp_path / 'HR.lmdb')
