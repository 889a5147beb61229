"""BasicSR's LMDBs of images: a folder with data.mdb and meta_info.txt, which has a line for each entry.

A line is `KEY.png (H,W,C) LEVEL`. A key may hold spaces and brackets; BasicSR reads it up to its first dot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_write
from rfdn_plugin.utils.lmdb import DATA_FILE, check_whole, open_lmdb, reading

__all__ = [
    'DATA_FILE',
    'META_FILE',
    'MetaInfo',
    'Shape',
    'check_whole',
    'is_lmdb',
    'open_lmdb',
    'read_meta_info',
    'reading',
    'shapes_of',
    'write_meta_info',
]

META_FILE = 'meta_info.txt'
Shape = tuple[int, int, int]
"""Height, width, channels."""

_LINE = re.compile(r'(?P<key>.+)\.[A-Za-z0-9]+ \((?P<height>\d+),(?P<width>\d+),(?P<channels>\d+)\) -?\d+')


@dataclass
class MetaInfo:
    """The content of a meta_info.txt.

    Attributes:
        shapes: Shapes by key, in the order of the lines; of a key that is named twice the last one.
        bad_lines: (number, text) of lines that do not have the format, blank ones among them.
        repeated: (number, key) of lines that name a key again.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    bad_lines: list[tuple[int, str]] = field(default_factory=list)
    repeated: list[tuple[int, str]] = field(default_factory=list)


def is_lmdb(path: Path) -> bool:
    """Whether a folder is an LMDB, by its name or its content."""
    return path.name.endswith('.lmdb') or (path / DATA_FILE).is_file()


def read_meta_info(database: Path) -> MetaInfo:
    """Read the meta_info.txt of an LMDB.

    Raises:
        RFDNError: There is none, or it cannot be read.
    """
    path = database / META_FILE
    if not database.exists():
        beside = ', '.join(sorted(other.name for other in database.parent.glob('*.lmdb'))[:3])
        raise RFDNError(f'there is no {database}{f", but beside it {beside}" if beside else ""}: check the path.')
    if not path.is_file():
        raise RFDNError(f'{database} has no {META_FILE}, so it is not a finished LMDB: make it with rfdn prepare.')
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except OSError as error:
        raise RFDNError(f'{path} cannot be read ({error.strerror}): see its permissions.') from error
    found = MetaInfo()
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            found.bad_lines.append((number, line))
            continue
        key = match['key']
        if key in found.shapes:
            found.repeated.append((number, key))
        found.shapes[key] = int(match['height']), int(match['width']), int(match['channels'])
    return found


def shapes_of(database: Path) -> dict[str, Shape]:
    """The shape of each entry by its key, as the meta_info.txt of an LMDB says; at least one.

    Raises:
        RFDNError: There is no meta_info.txt, a line of it does not have the format, or it names no entry.
    """
    found = read_meta_info(database)
    path = database / META_FILE
    if found.bad_lines:
        number, text = found.bad_lines[0]
        problem = f'is not of the form "KEY.png (HEIGHT,WIDTH,CHANNELS) LEVEL" ({text[:60]!r})'
        problem = problem if text.strip() else 'is blank'
        raise RFDNError(f'line {number} of {path} {problem}: remove or correct it, or run rfdn prepare again.')
    if not found.shapes:
        raise RFDNError(f'{path} names no entry: the LMDB is empty, make it with rfdn prepare.')
    return found.shapes


def write_meta_info(database: Path, entries: Iterable[tuple[str, int, int]], level: int) -> None:
    """Write the meta_info.txt of an LMDB of colour images, whole or not at all.

    Args:
        database: The folder.
        entries: Key, height and width of each, in the order of the lines.
        level: The PNG compression level, which BasicSR writes in the last column.
    """
    with atomic_write(database / META_FILE, 'w', encoding='ascii') as stream:
        for key, height, width in entries:
            stream.write(f'{key}.png ({height},{width},3) {level}\n')
