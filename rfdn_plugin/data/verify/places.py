"""Where images lie: an LMDB or a folder, both listed and read in one way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import lmdb

from rfdn_plugin.data.images import DecodedImage, decode_image, find_images, read_image
from rfdn_plugin.data.lmdb import META_FILE, Shape, is_lmdb, read_meta_info, reading
from rfdn_plugin.data.verify.findings import Finding
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.text import counted

Contents = tuple[dict[str, Shape | None] | None, list[Finding]]
"""For each entry its shape where the place tells it, None where it cannot be read at all; and what is wrong with the list."""


@dataclass(frozen=True)
class Database:
    """An LMDB; its entries are keys."""

    path: Path

    def contents(self) -> Contents:
        """Compare meta_info.txt with the keys; the entries are those that both have."""
        findings: list[Finding] = []

        def add(kind: str, key: str = '', detail: str = '') -> None:
            findings.append(Finding(kind, str(self.path), key, detail))

        try:
            with reading(self.path) as transaction:
                present = {bytes(key).decode('utf-8', 'replace') for key in transaction.cursor().iternext(values=False)}
        except (RFDNError, lmdb.Error) as error:
            add('unreadable', detail=str(error))
            return None, findings
        if not (self.path / META_FILE).is_file():
            add('no-meta', detail=counted(len(present), 'entry', 'entries'))
            return None, findings
        meta = read_meta_info(self.path)
        for number, line in meta.bad_lines:
            add('bad-meta-line', detail=f'line {number}: {line[:80]!r}')
        for number, key in meta.repeated:
            add('duplicate-line', key, f'line {number}')
        for key in meta.shapes:
            if '.' in key:
                add('dotted-key', key)
        for key in sorted(meta.shapes.keys() - present):
            add('missing-key', key)
        for key in sorted(present - meta.shapes.keys()):
            add('extra-key', key)
        if not present and not meta.shapes:
            add('empty')
        return {key: shape for key, shape in meta.shapes.items() if key in present}, findings

    @contextlib.contextmanager
    def reader(self) -> Iterator[Callable[[str], DecodedImage]]:
        """A function that decodes an entry, and raises ImageError for one that cannot be decoded."""
        with reading(self.path) as transaction:
            yield lambda key: decode_image(bytes(transaction.get(key.encode()) or b''))


@dataclass(frozen=True)
class Folder:
    """A folder of image files, without its subfolders; its entries are the names of the files."""

    path: Path

    def contents(self) -> Contents:
        """The files that are named as images; every other file that is not hidden is a finding."""
        images, others = find_images([self.path])
        findings = [
            Finding('other-file', str(self.path), path.name, str(error))
            for path, error in others
            if not path.name.startswith('.') and error.kind != 'folder'
        ]
        if not images:
            findings.append(Finding('empty', str(self.path)))
        return {name.as_posix(): None for _, name in images}, findings

    @contextlib.contextmanager
    def reader(self) -> Iterator[Callable[[str], DecodedImage]]:
        """A function that decodes a file, and raises ImageError for one that cannot be decoded."""
        yield lambda key: read_image(self.path / key)


Place = Database | Folder


def place_of(path: Path) -> Place:
    """The LMDB or the folder of images at a path.

    Raises:
        RFDNError: There is neither.
    """
    if is_lmdb(path):
        if not path.is_dir():
            raise RFDNError(f'{path} does not exist: give an .lmdb folder, or a folder that holds some')
        return Database(path)
    if not path.is_dir():
        problem = 'is a file' if path.exists() else 'does not exist'
        raise RFDNError(f'{path} {problem}: give an .lmdb folder, a folder that holds some, or a folder of images')
    return Folder(path)
