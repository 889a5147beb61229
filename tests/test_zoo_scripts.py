"""scripts/zoo: how the shipped weights are made."""

from __future__ import annotations

import csv
import hashlib
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import REPOSITORY
from PIL import Image

ZOO = REPOSITORY / 'scripts/zoo'
FREE = ('CC0-', 'CC-BY-', 'GPL-', 'LGPL-', 'public-domain')


def run(script: str, *words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ZOO / script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def table() -> list[dict[str, str]]:
    with open(ZOO / 'images.tsv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file, delimiter='\t'))


def test_the_table_of_images_is_whole():
    rows = table()
    assert len({row['name'] for row in rows}) == len({row['sha256'] for row in rows}) == len(rows)
    for row in rows:
        assert len(bytes.fromhex(row['sha256'])) == 32
        assert float(row['factor']) >= 1
        assert all(row.values()), row
        assert row['licence'].startswith(FREE) and not {'NC', 'ND'} & set(row['licence'].split('-')), row


def _package(folder: Path, files: dict[str, bytes]) -> None:
    """A .deb with these files."""
    for path, content in files.items():
        (folder / 'tree' / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / 'tree' / path).write_bytes(content)
    (folder / 'tree/DEBIAN').mkdir()
    (folder / 'tree/DEBIAN/control').write_text(
        'Package: some-photos\nVersion: 1.0-1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: photos\n'
    )
    command = ['dpkg-deb', '-b', str(folder / 'tree'), str(folder / 'some-photos_1.0-1_all.deb')]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _resource_file(content: bytes) -> bytes:
    """A Qt resource file, as `rcc --binary --format-version 1` lays it out: é/b.png as it is and é/c.png by zlib."""
    packed = len(content).to_bytes(4, 'big') + zlib.compress(content)
    data = b''.join(len(part).to_bytes(4, 'big') + part for part in (content, packed))
    names, starts = b'', []
    for name in ('é', 'b.png', 'c.png'):
        starts.append(len(names))
        names += struct.pack('>HI', len(name), 0) + name.encode('utf-16-be')
    tree = struct.pack('>ihii', 0, 2, 1, 1) + struct.pack('>ihii', starts[0], 2, 2, 2)  # folders: children, the first
    tree += struct.pack('>ihhhi', starts[1], 0, 0, 0, 0)  # files: no compression, language, country, offset
    tree += struct.pack('>ihhhi', starts[2], 1, 0, 0, 4 + len(content))
    header = 20
    offsets = (header, header + len(tree), header + len(tree) + len(data))
    return struct.pack('>4s4i', b'qres', 1, *offsets) + tree + data + names


@pytest.mark.skipif(not Path('/usr/bin/dpkg-deb').exists(), reason='needs dpkg-deb')
def test_images_come_from_packages_and_their_archives(tmp_path: Path, monkeypatch):
    pixels = np.random.randint(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    content = (tmp_path / 'a.png').read_bytes()
    with zipfile.ZipFile(tmp_path / 'textures.zip', 'w') as archive:
        archive.writestr('inner/b.png', content)
    archives = {'usr/share/t.zip': (tmp_path / 'textures.zip').read_bytes(), 'usr/share/t.rcc': _resource_file(content)}
    _package(tmp_path, {'usr/share/a.png': content, **archives})

    monkeypatch.syspath_prepend(ZOO)
    import images

    def write(sha256: str) -> None:
        paths = {
            'whole': ('usr/share/a.png', '1'), 'smaller': ('usr/share/t.zip!inner/b.png', '2'),
            'resource': ('usr/share/t.rcc!é/b.png', '1'), 'packed': ('usr/share/t.rcc!é/c.png', '4'),
        }  # fmt: skip
        lines = ['name\tpackage\tversion\tpath\tsha256\tauthor\tlicence\tfactor']
        lines += [
            f'{name}\tsome-photos\t1.0-1\t{path}\t{sha256}\tA\tCC0\t{factor}' for name, (path, factor) in paths.items()
        ]
        (tmp_path / 'images.tsv').write_text('\n'.join(lines) + '\n')

    monkeypatch.setattr(images, 'TABLE', tmp_path / 'images.tsv')
    monkeypatch.setattr(sys, 'argv', ['images.py', str(tmp_path / 'out'), '--packages', str(tmp_path)])
    write(hashlib.sha256(content).hexdigest())
    images.main()
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'out/whole.png')), pixels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'out/resource.png')), pixels)
    assert Image.open(tmp_path / 'out/smaller.png').size == (40, 30)
    assert Image.open(tmp_path / 'out/packed.png').size == (20, 15)
    write('0' * 64)
    with pytest.raises(SystemExit, match='another file'):
        images.main()


def test_every_hard_part_is_kept_and_a_share_of_the_easy_ones(tmp_path: Path):
    (tmp_path / 'images').mkdir()
    noise = np.random.randint(0, 256, (120, 240, 3), dtype=np.uint8)
    flat = np.full((120, 480, 3), 90, np.uint8)
    Image.fromarray(noise).save(tmp_path / 'images/hard.png')
    Image.fromarray(flat).save(tmp_path / 'images/easy.png')
    result = run(
        'subimages.py', tmp_path / 'images', tmp_path / 'out', '--size', 120, '--hard', 0.34, '--easy-share', 0.5
    )
    assert result.returncode == 0, result.stderr
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names[-2:] == ['hard_0_0.png', 'hard_0_120.png']
    assert len(names) == 4 and all(name.startswith('easy') for name in names[:2])


def test_a_share_of_the_parts_is_softened(tmp_path: Path):
    """Of many parts about that share is less sharp than it was cut; the others are as they were, borders too."""
    (tmp_path / 'images').mkdir()
    noise = np.random.randint(0, 256, (120, 480, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / 'images/a.png')
    arguments = ['subimages.py', tmp_path / 'images', tmp_path / 'out', '--size', 24, '--hard', 1, '--soften', 0.5]
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    soft = 0
    for path in (tmp_path / 'out').iterdir():
        row, column = (int(word) for word in path.stem.split('_')[1:])
        part, before = np.asarray(Image.open(path)), noise[row : row + 24, column : column + 24]
        if not np.array_equal(part, before):
            soft += 1
            assert part.shape == before.shape and part.std() < before.std()
            assert np.corrcoef(part.ravel(), before.ravel())[0, 1] > 0.6, 'the part of another place'
    assert 30 <= soft <= 70  # of 100


def test_the_supervisor_starts_a_training_again_until_it_ends(tmp_path: Path):
    """A stand-in for python that fails twice and then succeeds."""
    (tmp_path / 'bin').mkdir()
    python = tmp_path / 'bin/python'
    python.write_text('#!/bin/bash\necho run >> runs\n[ $(wc -l < runs) -ge 2 ]\n')
    python.chmod(0o755)
    environment = {'PATH': f'{tmp_path / "bin"}:/usr/bin:/bin', 'RFDN_RESTART_SECONDS': '0'}
    script = [str(ZOO / 'supervise.sh'), 'some.yml', 'log']
    result = subprocess.run(script, cwd=tmp_path, env=environment, timeout=60)
    assert result.returncode == 0
    lines = [line.split(' ', 1)[1] for line in (tmp_path / 'log.supervisor').read_text().splitlines()]
    assert lines == ['start', 'exit 1', 'start', 'exit 0']


def test_curves_of_a_resumed_run(tmp_path: Path):
    """Lines that a resumed run repeats count once, with their later values; hours add up over the logs, and so do the
    iterations of a training that began from the weights of the one before."""
    pytest.importorskip('matplotlib')

    def line(iteration: int, loss: str) -> str:
        return (
            f'2026-01-01 00:00:00,000 INFO: [train..][epoch:  0, iter:{iteration:8,}, lr:(1.000e-03,)] '
            f'[eta: 1:00:00, 4 it/s, time (data): 0.250 (0.003), 1.7 GB] l_pix: {loss}\n'
        )

    (tmp_path / 'a.log').write_text(
        line(900, '3e-2') + line(1000, '2e-2') + '\t # psnr: 36.5\tBest: 36.5 @ 1000 iter\n'
    )
    (tmp_path / 'b.log').write_text(
        line(1000, '1e-2') + '\t # psnr: 36.6\tBest: 36.6 @ 1000 iter\n' + line(1100, '1e-2')
    )
    (tmp_path / 'c.log').write_text(
        line(100, '9e-3')
        + 'INFO: Validation Set5\n\t # psnr: 36.7\tBest: 36.7 @ 100 iter\n'
        + 'INFO: Validation Set14\n\t # psnr: 33.1\tBest: 33.1 @ 100 iter\n'
    )
    logs = (tmp_path / 'a.log', tmp_path / 'b.log', f'{tmp_path / "c.log"}@1100')
    result = run('curve.py', *logs, '--out', tmp_path / 'curve')
    assert result.returncode == 0, result.stderr
    with open(tmp_path / 'curve.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['iteration'], row['loss'], row['psnr']) for row in rows] == [
        ('900', '0.03', ''), ('1000', '0.01', '36.6'), ('1100', '0.01', ''), ('1200', '0.009', '36.7'),
    ]  # fmt: skip
    assert float(rows[-1]['hours']) == pytest.approx(1200 / 4 / 3600, abs=1e-4)
    assert Image.open(tmp_path / 'curve.png').size[0] > 500

    # Elsewhere the logs are gone and the CSV is there; the loss of a last part by another one is on another scale.
    (tmp_path / 'd.log').write_text(
        'INFO: Loss [MSELoss] is created.\n' + line(100, '5e-4') + '\t # psnr: 36.8\tBest: 36.8 @ 100 iter\n'
    )
    result = run('curve.py', tmp_path / 'curve.csv', f'{tmp_path / "d.log"}@1200', '--out', tmp_path / 'longer')
    assert result.returncode == 0, result.stderr
    with open(tmp_path / 'longer.csv', newline='') as file:
        longer = list(csv.DictReader(file))
    assert [row.items() for row in longer[:-1]] == [row.items() for row in rows]
    assert (longer[-1]['iteration'], longer[-1]['loss'], longer[-1]['psnr']) == ('1300', '', '36.8')
    assert float(longer[-1]['hours']) == pytest.approx(1300 / 4 / 3600, abs=2e-4)
