"""Which files of folders become images of a database: special files, links, and files that change."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from helpers.images import photograph, quiet, spec_for, write

from rfdn_plugin.cli import main
from rfdn_plugin.data.bicubic import downscale
from rfdn_plugin.data.images import ImageError, find_images, read_image
from rfdn_plugin.data.prepare import prepare
from rfdn_plugin.utils.errors import RFDNError


@pytest.mark.parametrize('which', ['hr', 'lr'])
def test_other_content_of_the_same_size_is_not_taken_for_finished(tmp_path, which):
    """BMP files of one shape have one size, whatever they show."""
    for number, name in enumerate('ab'):
        hr = photograph(number, 96, 96)
        write(tmp_path / 'hr' / f'{name}.bmp', hr)
        write(tmp_path / 'lr' / f'{name}.bmp', downscale(hr, 2))
    spec = spec_for(tmp_path / 'hr', tmp_path / 'out', scales=(2,), lr={2: tmp_path / 'lr'})
    lines: list[str] = []
    prepare(spec, quiet)
    prepare(spec, lines.append)
    assert 'finished already' in lines[0]
    path = tmp_path / which / 'b.bmp'
    kept = path.read_bytes()
    changed = photograph(7, 96, 96)
    write(path, changed if which == 'hr' else downscale(changed, 2))
    stat = (tmp_path / 'out/HR_sub.lmdb/prepare.json').stat()
    os.utime(path, ns=(stat.st_mtime_ns - 10**15, stat.st_mtime_ns - 10**15))  # as `cp -p` of an old file
    assert path.stat().st_size == len(kept)
    with pytest.raises(RFDNError, match=r'b\.bmp .* other content of the same size now'):
        prepare(spec, quiet)
    path.write_bytes(kept)
    prepare(spec, lines.append)
    assert 'finished already' in lines[-1]
    # What was prepared before digests were kept is compared by its size alone.
    records = tmp_path / 'out/HR_sub.lmdb/images.jsonl'
    old = [json.loads(line) for line in records.read_text().splitlines()]
    for folder in (tmp_path / 'out').iterdir():
        lines_without = (json.dumps({k: v for k, v in line.items() if k != 'digest'}) for line in old)
        (folder / 'images.jsonl').write_text(''.join(f'{line}\n' for line in lines_without))
    prepare(spec, lines.append)
    assert 'finished already' in lines[-1]


# --- special files and links -------------------------------------------------------------------------------------------
def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(path))
    server.close()


def device(path: Path) -> None:
    path.symlink_to('/dev/zero')


SPECIAL = {'fifo': fifo, 'socket': unix_socket, 'device': device}


@pytest.mark.parametrize('kind', SPECIAL)
def test_a_special_file_is_skipped_and_named_by_every_command(tmp_path, kind, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'hr' / 'a.png', photograph(0, 96, 96))
    SPECIAL[kind](tmp_path / 'hr' / 'special.png')
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / 'hr' / 'special.png')
    assert caught.value.kind == 'special-file'
    common = ['prepare', '--hr', 'hr', '--scales', '2', '--workers', '1', '--out']
    assert main([*common, 'out']) == 0
    assert 'skipped: 1 x special-file' in capsys.readouterr().out
    assert main([*common, 'set', '--folders']) == 0
    assert 'skipped: 1 x special-file' in capsys.readouterr().out
    assert main([*common, 'strict', '--strict']) == 1
    assert 'special.png: not a file' in capsys.readouterr().err
    assert main(['verify', 'hr', '--workers', '1']) == 1
    assert 'special.png: not a file' in capsys.readouterr().out


def found(*roots: Path) -> tuple[list[str], list[tuple[str, str]]]:
    images, others = find_images(roots, recursive=True)
    return [name.as_posix() for _, name in images], [(path.name, error.kind) for path, error in others]


@pytest.fixture
def tree(tmp_path) -> Path:
    for name in ('a.png', 'one/b.png', 'one/two/c.png'):
        (tmp_path / 'root' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'root' / name).write_bytes(b'')
    return tmp_path / 'root'


ALL = ['a.png', 'one/b.png', 'one/two/c.png']


@pytest.mark.parametrize(
    ('link', 'target'),
    [
        ('one/loop', '.'),
        ('one/loop', '..'),
        ('one/two/loop', '../..'),
        ('again', 'one'),
        ('above', '../..'),
        ('one/two/again', '../../one/two'),
    ],
)
def test_a_link_into_the_tree_is_named_and_gives_nothing_twice(tree, link, target):
    (tree / link).symlink_to(target)
    assert found(tree) == (ALL, [(Path(link).name, 'folder')])


def test_a_link_out_of_the_tree_is_followed_once(tree, tmp_path):
    other = tmp_path / 'other'
    (other / 'inside').mkdir(parents=True)
    (other / 'd.png').write_bytes(b'')
    (other / 'inside/e.png').write_bytes(b'')
    (other / 'inside/back').symlink_to(tree)
    (other / 'inside/up').symlink_to('..')
    (tree / 'first').symlink_to(other)
    (tree / 'second').symlink_to(other)
    images, others = found(tree)
    assert images == ['a.png', 'first/d.png', 'first/inside/e.png', 'one/b.png', 'one/two/c.png']
    assert sorted(others) == [('back', 'folder'), ('second', 'folder'), ('up', 'folder')]


def test_a_link_to_itself_and_one_to_nothing_are_named(tree, tmp_path):
    (tree / 'itself.png').symlink_to('itself.png')
    (tree / 'nothing.png').symlink_to('nowhere.png')
    images, _ = found(tree)
    assert images == ['a.png', 'itself.png', 'nothing.png', 'one/b.png', 'one/two/c.png']
    for name in ('itself.png', 'nothing.png'):
        with pytest.raises(ImageError) as caught:
            read_image(tree / name)
        assert caught.value.kind == 'unreadable'


def test_a_folder_that_is_given_twice_or_lies_in_another_is_read_once(tree):
    assert found(tree, tree) == (ALL, [('root', 'folder')])
    assert found(tree, tree / 'one') == (ALL, [('one', 'folder')])
    images, _ = find_images([tree, tree / 'one'])  # not entered: two folders of their own
    assert [name.as_posix() for _, name in images] == ['a.png', 'b.png']


def test_a_loop_prepares_each_image_once(tmp_path):
    write(tmp_path / 'hr/one/a.png', photograph(0, 48, 48))
    (tmp_path / 'hr/one/loop').symlink_to('..')
    summary = prepare(spec_for(tmp_path / 'hr', tmp_path / 'out', scales=(2,), recursive=True), quiet)
    assert summary.used == 1 and [(kind, detail) for _, kind, detail in summary.skipped] == [
        ('folder', f'a link to {tmp_path / "hr"}, which is read already')
    ]


# --- options that change nothing ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ('options', 'unused'),
    [
        (['--folders', '--shard', '1/2'], ['--shard']),
        (
            ['--folders', '--crop-size', '48', '--step', '24', '--encoding', 'bmp'],
            ['--crop-size', '--step', '--encoding'],
        ),
        (['--folders', '--level', '3', '--border', 'replicate'], []),
        (['--crop-size', '0', '--step', '24'], ['--step']),
        (['--encoding', 'bmp', '--level', '9'], ['--level']),
        (['--lr', '2=lr', '--border', 'replicate'], ['--border']),
        (['--crop-size', '48', '--step', '24', '--level', '9', '--border', 'replicate', '--shard', '1/1'], []),
    ],
)
def test_options_that_change_nothing_are_named(tmp_path, monkeypatch, capsys, options, unused):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'hr/a.png', photograph(0, 96, 96))
    write(tmp_path / 'lr/a.png', downscale(photograph(0, 96, 96), 2))
    assert main(['prepare', '--hr', 'hr', '--out', 'out', '--scales', '2', *options]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if 'not used here' in line]
    assert len(lines) == bool(unused)
    assert all(option in lines[0] for option in unused)
