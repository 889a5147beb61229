"""The one way in which this package opens an LMDB for reading: the file is whole, and a process opens it once."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb

from rfdn_plugin.utils.errors import RFDNError, explain

DATA_FILE = 'data.mdb'

_OPEN: dict[str, tuple[int, lmdb.Environment]] = {}  # real path -> (process, environment)


def open_lmdb(path: str | os.PathLike, **settings: Any) -> lmdb.Environment:
    """An LMDB opened for reading, the same object for every caller in this process.

    lmdb 2 and later refuse to open an environment twice in a process, also in a worker that inherited it by a fork.

    Args:
        path: The `.lmdb` folder; a slash at the end does not matter.
        settings: For `lmdb.open`, beside read-only and unlocked.

    Raises:
        RFDNError: The folder is missing, is not an LMDB, or its data file was cut short.
    """
    real_path = os.path.realpath(path)
    process, environment = _OPEN.get(real_path, (None, None))
    if process == os.getpid() and environment is not None:
        return environment
    if environment is not None:
        environment.close()  # our copy of the parent's, which a fork must not go on using
        del _OPEN[real_path]
    check_whole(path)
    try:
        environment = lmdb.open(real_path, **{'readonly': True, 'lock': False, 'readahead': False, **settings})
    except lmdb.Error as error:
        raise RFDNError(f'{Path(path)} cannot be opened ({error}): is it an LMDB? Copy or prepare it again.') from error
    _OPEN[real_path] = (os.getpid(), environment)
    return environment


@contextlib.contextmanager
def reading(path: str | os.PathLike, buffers: bool = False) -> Iterator[lmdb.Transaction]:
    """A transaction on an LMDB, which is closed afterwards unless it was open before.

    Args:
        path: The `.lmdb` folder.
        buffers: Give values as views of the file, valid inside the block, instead of copies.

    Raises:
        RFDNError: As `open_lmdb`.
    """
    real_path = os.path.realpath(path)
    was_open = _OPEN.get(real_path, (None, None))[0] == os.getpid()
    environment = open_lmdb(path)
    try:
        transaction: lmdb.Transaction = environment.begin(buffers=True) if buffers else environment.begin()
        with transaction:
            yield transaction
    finally:
        if not was_open:
            del _OPEN[real_path]
            environment.close()


# --- whether the file is whole ---------------------------------------------------------------------------------------
# LMDB maps its file without comparing the length with what the header says: reading behind the end of a copy that
# broke off is a bus error, which kills the process. The layout is that of mdb.c, data version 1, on 64-bit machines.
_PAGE_HEADER = 16
_META = struct.Struct('<II8xQ')  # magic, version, (address), size of the map
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_PAGE_SIZE_AT, _FREE_ROOT_AT, _MAIN_ROOT_AT, _LAST_PAGE_AT = 40, 80, 128, 136
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_BIG_VALUE = 1  # flag of an entry whose value lies on pages of its own
_NO_PAGE = 2**64 - 1


def check_whole(path: str | os.PathLike) -> None:
    """Compare the length of an LMDB's data file with what its header says.

    Raises:
        RFDNError: The folder or the file is missing, or the file is shorter than what is in use.
    """
    path = Path(path)
    if not path.is_dir():
        raise RFDNError(
            f'{path} {"is not a folder" if path.exists() else "does not exist"}: make an LMDB with rfdn prepare.'
        )
    try:
        with open(path / DATA_FILE, 'rb') as stream:
            length = os.fstat(stream.fileno()).st_size
            needed = _bytes_in_use(stream.fileno(), length)
    except FileNotFoundError as error:
        raise RFDNError(f'{path} has no {DATA_FILE}, so it is not an LMDB: make it with rfdn prepare.') from error
    except OSError as error:
        raise RFDNError(explain(error)) from error
    if length < max(needed, 1):
        raise RFDNError(
            f'{path / DATA_FILE} has {length} bytes of {needed or "many"}: a copy broke off; copy or prepare it again.'
        )


def _bytes_in_use(file: int, length: int) -> int:
    """Bytes that the file must have; 0 where the header cannot be read, which LMDB itself then says."""
    first = os.pread(file, 4096, 0)
    if not _is_meta(first):
        return 0
    (page_size,) = struct.unpack_from('<I', first, _PAGE_SIZE_AT)
    metas = [meta for meta in (first, os.pread(file, 4096, page_size)) if _is_meta(meta)]
    newest = max(metas, key=lambda meta: struct.unpack_from('<Q', meta, _LAST_PAGE_AT + 8))  # the transaction's number
    (last,) = struct.unpack_from('<Q', newest, _LAST_PAGE_AT)
    if length >= (last + 1) * page_size:
        return length
    # LMDB does not write pages that a transaction took and gave back: what counts are those that something refers to.
    roots = [struct.unpack_from('<Q', newest, at)[0] for at in (_FREE_ROOT_AT, _MAIN_ROOT_AT)]
    return (_last_page_below(file, [root for root in roots if root != _NO_PAGE], page_size, length) + 1) * page_size


def _is_meta(page: bytes) -> bool:
    return len(page) >= _LAST_PAGE_AT + 16 and _META.unpack_from(page, _PAGE_HEADER)[:2] == (_MAGIC, _VERSION)


def _last_page_below(file: int, pages: list[int], page_size: int, length: int) -> int:
    """The highest page number in trees, as far as their inner pages lie within the file."""
    last = 1  # the two pages of the header
    while pages:
        number = pages.pop()
        last = max(last, number)
        if (number + 1) * page_size > length:
            return last
        page = os.pread(file, page_size, number * page_size)
        flags, lower = struct.unpack_from('<HH', page, 10)
        for index in range((lower - _PAGE_HEADER) // 2):
            (at,) = struct.unpack_from('<H', page, _PAGE_HEADER + 2 * index)
            low, high, node_flags, key_length = struct.unpack_from('<HHHH', page, at)
            if flags & _BRANCH:
                pages.append(low | high << 16 | node_flags << 32)
            elif flags & _LEAF and node_flags & _BIG_VALUE:
                (first,) = struct.unpack_from('<Q', page, at + 8 + key_length)
                size = low | high << 16
                last = max(last, first + (_PAGE_HEADER + size + page_size - 1) // page_size - 1)
    return last
