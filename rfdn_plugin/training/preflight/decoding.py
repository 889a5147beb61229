"""Every image of a set to validate or test on, decoded once before a run: a damaged one would end it after hours.

What was decoded is remembered by path, size and time in the user's cache folder, so that the next run begins at once.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rfdn_plugin.data.damage import png_fails_checksum
from rfdn_plugin.data.decoder_messages import decoder_messages
from rfdn_plugin.data.images import ImageError, decode_image
from rfdn_plugin.data.raw_formats import PNG_SIGNATURE
from rfdn_plugin.utils.files import atomic_write
from rfdn_plugin.utils.lmdb import DATA_FILE, reading
from rfdn_plugin.utils.text import counted, some_of

MOST_REMEMBERED = 200_000
"""Files in the cache; the oldest are forgotten."""


def check_decodes(where: str, dataset: dict[str, Any], names: dict[str, Iterable[str]]) -> Iterator[str]:
    """Problems of the images of a section, one line for each folder or database.

    Args:
        where: The section, `datasets.val`.
        dataset: It.
        names: File names or keys, by `dataroot_gt` and `dataroot_lq`.
    """
    known = _Known()
    for key, wanted in names.items():
        root = Path(dataset[key])
        is_lmdb = dataset['io_backend']['type'] == 'lmdb'
        bad = list(_bad_of_database(root, wanted, known) if is_lmdb else _bad_of_folder(root, wanted, known))
        if bad:
            named = some_of((f'{name} ({reason})' for name, reason in bad), 3)
            yield f'{where}.{key}: {counted(len(bad), "image")} of {root} cannot be decoded: {named}: replace or remove.'
    known.save()


def _bad_of_folder(root: Path, names: Iterable[str], known: _Known) -> Iterator[tuple[str, str]]:
    for name in names:
        path = root / name
        if known.has(path):
            continue
        try:
            _decode(path.read_bytes(), path.suffix)
        except OSError as error:
            yield name, error.strerror or str(error)
        except ImageError as error:
            yield name, str(error)
        else:
            known.add(path)


def _bad_of_database(root: Path, names: Iterable[str], known: _Known) -> Iterator[tuple[str, str]]:
    if known.has(root / DATA_FILE):
        return
    bad = 0
    with reading(root) as entries:
        for name in names:
            value = entries.get(name.encode())
            try:
                if value is None:
                    raise ImageError('empty', 'meta_info.txt names it, and it is not there')
                _decode(bytes(value), '')
            except ImageError as error:
                bad += 1
                yield name, str(error)
    if not bad:
        known.add(root / DATA_FILE)


def _decode(data: bytes, suffix: str) -> None:
    """Decode as BasicSR will, and by our reader where OpenCV says nothing about damage.

    Raises:
        ImageError: It cannot be decoded.
    """
    pixels = None
    with decoder_messages(), contextlib.suppress(cv2.error):  # an empty buffer; what is wrong is told below
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None or not data.startswith(PNG_SIGNATURE) or png_fails_checksum(data):
        decode_image(data, suffix)
    if pixels is None:
        raise ImageError('unsupported', 'BasicSR reads it by OpenCV, which knows no such format')


class _Known:
    """The files that were decoded without a problem, with their size and time of change."""

    def __init__(self) -> None:
        folder = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
        self._path = Path(folder, 'rfdn_plugin', 'decoded.json')
        self._files: dict[str, list[int]] = {}
        with contextlib.suppress(OSError, ValueError):  # none yet, or not whole: everything is decoded again
            content = json.loads(self._path.read_text(encoding='utf-8'))
            self._files = content if isinstance(content, dict) else {}
        self._changed = False

    def has(self, path: Path) -> bool:
        """Whether the file is as it was when it was decoded."""
        return self._files.get(str(path.absolute())) == _state(path)

    def add(self, path: Path) -> None:
        self._files[str(path.absolute())] = _state(path)
        self._changed = True

    def save(self) -> None:
        """Write what is known; without a place to write it is decoded again next time."""
        if not self._changed:
            return
        kept = dict(list(self._files.items())[-MOST_REMEMBERED:])
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._path, 'w', encoding='utf-8') as stream:
                json.dump(kept, stream)


def _state(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]
