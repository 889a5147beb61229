"""An LMDB of sub-images in BasicSR's layout, written so that it is either whole or not there.

While it is made it is called `NAME.lmdb.partial`, which BasicSR refuses by its name; the last steps are meta_info.txt
and the rename. Beside BasicSR's files a finished folder holds `prepare.json`, the settings it was made with, and
`images.jsonl`, one line for each source image: what became of it.

Progress survives a kill at any moment: each commit stores, in the same transaction as the images, how many images
the database has. The environment is opened afresh for each commit, so the bytes of data.mdb are a function of the
commits alone: an interrupted run and an unbroken one give the same file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb

from rfdn_plugin.data.lmdb import DATA_FILE, reading, write_meta_info
from rfdn_plugin.data.prepare.tiles import entries_of
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_write, sync_folder

SETTINGS_FILE = 'prepare.json'
RECORDS_FILE = 'images.jsonl'
PARTIAL_SUFFIX = '.partial'

_PROGRESS_KEY = b'\0images done'  # no image's key begins with a zero byte; gone from a finished database
_COMMIT_BYTES = 64 * 2**20
_MAP_STEP = 64 * 2**20


class DatabaseWriter:
    """One database being made, gone on with, or found finished.

    Attributes:
        path: Where the finished database lies or will lie; ends in `.lmdb`.
        settings: What it is made with, `crop_size`, `step`, `scale` (1 for HR) and `compression` (the third column of
            meta_info.txt) among it; a database with other settings is refused.
        records: The line of `images.jsonl` for each image that it has.
        finished: Whether it is whole and in place; it is not touched then.
    """

    def __init__(self, path: Path, settings: dict) -> None:
        self.path, self.settings = path, settings
        self._partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._environment: lmdb.Environment | None = None
        self._transaction: lmdb.Transaction | None = None
        self._pending: list[dict] = []
        self._pending_bytes = 0
        self._room = 0
        self.finished = path.exists()
        folder = path if self.finished else self._partial
        if folder.exists():
            self._refuse_other_settings(folder)
        self.records = self._existing_records(folder)

    @property
    def taken(self) -> int:
        """How many images the database has, those not yet committed included."""
        return len(self.records) + len(self._pending)

    def record(self, number: int) -> dict:
        """Record of an image that was taken, committed or not: its entries, notices or the reason why it was skipped."""
        return self.records[number] if number < len(self.records) else self._pending[number - len(self.records)]

    @property
    def begun(self) -> float:
        """When the first image was taken at the earliest, in seconds since 1970; 0 where there is no database yet."""
        settings_file = (self.path if self.finished else self._partial) / SETTINGS_FILE
        return settings_file.stat().st_mtime if settings_file.exists() else 0

    def start(self) -> None:
        """Make the folder where there is none yet, and clear away what a kill left of a file being written."""
        self._partial.mkdir(parents=True, exist_ok=True)
        for leftover in filter(_is_leftover, self._partial.iterdir()):
            leftover.unlink()
        if not (self._partial / SETTINGS_FILE).exists():
            with atomic_write(self._partial / SETTINGS_FILE, 'w') as stream:
                json.dump(self.settings, stream, indent=1)
                stream.write('\n')

    def append(self, record: dict, values: Sequence[bytes | memoryview]) -> None:
        """Add an image: the encoded values in the order of its sub-images. It is committed with its neighbours.

        Raises:
            OSError: The disk is full. Nothing is lost that was committed.
        """
        with self._os_errors():
            needed = self._bytes_needed(values)
            if self._transaction is not None and needed > self._room:
                self._commit()
            if self._transaction is None:
                self._begin(needed)
            for (key, _, _), value in zip(self._entries(record), values, strict=True):
                if not self._writing.put(key.encode('ascii'), value, overwrite=False):
                    raise RFDNError(f'key {key} occurs twice in {self.path}: rename one of the images')
            self._room -= needed
            self._pending.append(record)
            self._pending_bytes += sum(map(len, values))
            if self._pending_bytes >= _COMMIT_BYTES:
                self._commit()

    def finish(self) -> None:
        """Commit the rest, write meta_info.txt and give the database its name."""
        with self._os_errors():
            if self._transaction is not None:
                self._commit()
            self._begin(0)
            self._writing.delete(_PROGRESS_KEY)
            self._end(commit=True)
        entries = (entry for record in self.records for entry in self._entries(record))
        write_meta_info(self._partial, entries, self.settings['compression'])
        os.rename(self._partial, self.path)
        sync_folder(self.path.parent)
        self.finished = True

    def abandon(self) -> None:
        """Let go of what is not committed; nothing happens to what is."""
        if self._environment is not None:
            self._end(commit=False)
        self._pending = []

    def _begin(self, first: int) -> None:
        """Open the environment and one transaction, with room for `first` bytes and for a whole commit."""
        self._environment = lmdb.open(os.fspath(self._partial), map_size=_MAP_STEP, lock=False, readahead=False)
        # The pages in use, not the file's length: that may hold what a killed run wrote without committing.
        used = (self._environment.info()['last_pgno'] + 1) * self._environment.stat()['psize']
        self._room = max(first, 2 * _COMMIT_BYTES)
        self._environment.set_mapsize(-(-(used + self._room + _MAP_STEP) // _MAP_STEP) * _MAP_STEP)
        self._transaction = self._environment.begin(write=True)

    @property
    def _writing(self) -> lmdb.Transaction:
        assert self._transaction is not None, 'nothing was begun'
        return self._transaction

    def _commit(self) -> None:
        # The records first: a commit that follows never has more images than the records tell of.
        with open(self._partial / RECORDS_FILE, 'a', encoding='ascii') as stream:
            stream.writelines(json.dumps(record) + '\n' for record in self._pending)
            stream.flush()
            os.fsync(stream.fileno())
        self._writing.put(_PROGRESS_KEY, str(len(self.records) + len(self._pending)).encode())
        self._end(commit=True)
        self.records += self._pending
        self._pending, self._pending_bytes = [], 0

    def _end(self, commit: bool) -> None:
        environment, transaction = self._environment, self._transaction
        self._environment = self._transaction = None
        assert environment is not None, 'nothing was begun'
        try:
            if transaction is not None:
                transaction.commit() if commit else transaction.abort()
        finally:
            environment.close()

    def _entries(self, record: dict) -> Iterator[tuple[str, int, int]]:
        return entries_of(record, self.settings['crop_size'], self.settings['step'], self.settings['scale'])

    @staticmethod
    def _bytes_needed(values: Sequence[bytes | memoryview], page: int = 4096) -> int:
        """What values take at most in the file: whole pages each, and the tree above them."""
        return sum((len(value) // page + 3) * page for value in values)

    @contextlib.contextmanager
    def _os_errors(self) -> Iterator[None]:
        """LMDB's word for a full disk as the system's."""
        try:
            yield
        except lmdb.Error as error:
            raise self._as_os_error(error) from error

    def _as_os_error(self, error: lmdb.Error) -> OSError | RFDNError:
        free = shutil.disk_usage(self._partial).free
        if isinstance(error, lmdb.DiskError) or os.strerror(errno.ENOSPC) in str(error) or free < _COMMIT_BYTES:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(self._partial))
        return RFDNError(f'cannot write {self._partial}: {error}')

    def _refuse_other_settings(self, folder: Path) -> None:
        settings_file = folder / SETTINGS_FILE
        if not settings_file.exists():
            if all(map(_is_leftover, folder.iterdir())):
                return
            raise RFDNError(
                f'{folder} exists and was not made by `rfdn prepare` (no {SETTINGS_FILE}): '
                'move it away or give another --out'
            )
        existing = _read_json(settings_file)
        names = [name for name in {**existing, **self.settings} if existing.get(name) != self.settings.get(name)]
        if names:
            differences = '; '.join(
                f'{name}: {existing.get(name)} there, {self.settings.get(name)} now' for name in names
            )
            raise RFDNError(
                f'{folder} was made with other settings ({differences}): '
                'give the same ones, another --out, or delete it'
            )

    def _existing_records(self, folder: Path) -> list[dict]:
        if not folder.exists():
            return []
        records = list(read_records(folder))
        if self.finished:
            return records
        done = self._images_done(len(records))
        if len(records) < done:
            raise RFDNError(f'{folder / RECORDS_FILE} is shorter than the database beside it: delete {folder}')
        # Lines beyond the last commit belong to images that will come again.
        records_file = folder / RECORDS_FILE
        if records_file.exists():
            written = records_file.read_bytes()
            kept = b''.join(written.splitlines(keepends=True)[:done])
            if kept != written:
                with atomic_write(records_file) as stream:
                    stream.write(kept)
        return records[:done]

    def _images_done(self, recorded: int) -> int:
        if not (self._partial / DATA_FILE).exists():
            return 0
        try:
            with reading(self._partial) as transaction:
                progress = transaction.get(_PROGRESS_KEY)
                entries = transaction.stat()['entries']
        except (RFDNError, lmdb.Error) as error:
            raise RFDNError(f'{self._partial} cannot be gone on with ({error}): delete it and run again') from error
        if progress is not None:
            return int(bytes(progress))
        # The last step before the rename takes the progress away.
        return recorded if entries else 0


def _is_leftover(path: Path) -> bool:
    """Whether a kill left it in the middle of `atomic_write`."""
    return path.name.startswith('.') and path.name.endswith('.partial')


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise RFDNError(f'{path} is damaged ({error}): delete the folder and prepare it again') from error


def read_settings(folder: Path) -> dict | None:
    """The settings that a database was made with; None for one that `rfdn prepare` did not make."""
    return _read_json(folder / SETTINGS_FILE) if (folder / SETTINGS_FILE).exists() else None


def read_records(folder: Path) -> Iterator[dict]:
    """The lines of images.jsonl; a torn last line, left by a kill, is left out."""
    path = folder / RECORDS_FILE
    if not path.exists():
        return
    with open(path, encoding='utf-8') as stream:
        for line in stream:
            if line.endswith('\n'):
                yield json.loads(line)
