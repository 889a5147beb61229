"""Pickled files of PyTorch, read without executing what is inside and without giving up on what is not a tensor.

`torch.load(weights_only=True)` refuses a whole file for one foreign object: mmengine's checkpoints hold their logs,
others the options of the training. Nothing of them is wanted here, so every foreign name in the file is given to torch as
a class that does nothing and keeps nothing. Names of Python's own library that no checkpoint needs are refused.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
import sys
import tarfile
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # those that Python's own pickle uses
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import torch

from rfdn_plugin.utils.errors import RFDNError

HARMLESS_MODULES = frozenset(
    {'_codecs', 'argparse', 'collections', 'copyreg', 'datetime', 'decimal', 'enum', 'fractions', 'numbers', 'pathlib'}
    | {'typing', 'uuid'}
)
HARMLESS_NAMES = frozenset(
    f'builtins.{name}'
    for name in (
        'getattr',
        'object',
        'set',
        'frozenset',
        'slice',
        'range',
        'complex',
        'bytearray',
        'list',
        'dict',
        'tuple',
    )
) | {'functools.partial', 'types.SimpleNamespace', 'builtins.int', 'builtins.float', 'builtins.str', 'builtins.bool'}
"""With `HARMLESS_MODULES`, what trainers pickle from Python's own library. Even of these nothing is called."""


class Inert(list):
    """In place of a foreign object: takes whatever it is made or filled with, and keeps none of it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Forget the state."""


class _InertMapping:
    """In place of a foreign class that is filled as a dictionary: PyTorch fills no other type than its own three."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


def read_pickle(path: Path) -> Any:
    """Read what `torch.save` wrote, a checkpoint or a training state, with the tensors on the CPU; nothing inside is executed.

    Objects that are neither tensors nor plain values come back as `Inert`.

    Raises:
        RFDNError: The file is torn or no such file at all, or names something of Python that could run code.
    """
    if not _readings:
        return _read(path)
    readings, status = _readings[-1], os.stat(path)
    key = (os.path.realpath(path), status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in readings:
        readings[key] = _read(path)
    return readings[key]


_readings: list[dict[tuple, Any]] = []


@contextlib.contextmanager
def read_once() -> Iterator[None]:
    """Inside the block `read_pickle` reads a file once, until it changes, and gives every caller the same content."""
    _readings.append({})
    try:
        yield
    finally:
        _readings.pop()


def _read(path: Path) -> Any:
    # PyTorch before 2.6 reads the tar format of 2016 with the full unpickler, also where weights_only is asked for.
    if tarfile.is_tarfile(path):
        raise RFDNError(
            f'{path} is refused: a tar archive can run code when it is read; ask for a .pth or .safetensors.'
        )
    check_beginning(path)
    try:
        return _unpickle(path)
    except RFDNError:
        raise
    except pickle.UnpicklingError as error:
        raise _refusal(path, '') from error
    except Exception as error:  # a stranger's bytes: zipfile, pickletools and PyTorch's unpickler raise whatever comes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].partition('. ')[0]
        raise RFDNError(f'{path} is torn or no checkpoint ({reason}): fetch or write it again.') from error


def _unpickle(path: Path) -> Any:
    names = sorted(set(_global_names(path)))
    if refused := [name for name in names if not _is_harmless(name)]:
        raise _refusal(path, f' ({refused[0]})')
    try:
        return _load(path, names, Inert)
    except pickle.UnpicklingError:
        return _load(path, names, _InertMapping)


def _refusal(path: Path, what: str) -> RFDNError:
    # PyTorch's own text advises to switch the protection off, which must not be passed on.
    doubt = '' if what else 'is torn, or '
    return RFDNError(
        f'{path} is refused: it {doubt}holds more than tensors{what}, which could run code. Ask its maker for a file of '
        'tensors alone.'
    )


def _load(path: Path, names: Iterable[str], stand_in: type) -> Any:
    with warnings.catch_warnings(), _allowed(names, stand_in):
        warnings.simplefilter('ignore', UserWarning)  # of a protocol that torch does not write: it reads it, or fails
        with open(path, 'rb') as stream:  # by its name PyTorch would take a .safetensors for what it is not
            return torch.load(stream, map_location='cpu', weights_only=True)


def _allowed(names: Iterable[str], stand_in: type) -> contextlib.AbstractContextManager:
    """A context in which PyTorch takes these names for stand-ins; those that it knows itself stay its own."""
    if not hasattr(torch.serialization, 'safe_globals'):  # before PyTorch 2.5: files of tensors alone
        return contextlib.nullcontext()
    stand_ins: list[Any] = []
    for name in names:
        module, _, attribute = name.rpartition('.')
        stand_ins.append(type(attribute, (stand_in,), {'__module__': module, '__qualname__': attribute}))
    return torch.serialization.safe_globals(stand_ins)


def _is_harmless(name: str) -> bool:
    root = name.partition('.')[0]
    return root not in sys.stdlib_module_names or root in HARMLESS_MODULES or name in HARMLESS_NAMES


def _global_names(path: Path) -> Iterator[str]:
    """`module.name` of everything that the pickles of a file refer to."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = archive.namelist()
            pickles = [entry for entry in entries if entry.endswith('data.pkl')]
            if not pickles:
                inside = ', '.join(sorted(entries)[:3]) or 'nothing'
                raise RFDNError(
                    f'{path} is a zip archive without weights of PyTorch (it has {inside}): name a .pth, .pkl or .safetensors '
                    'file, which may be inside.'
                )
            for entry in pickles:
                with archive.open(entry) as stream:
                    yield from _names_in(stream)
        return
    with open(path, 'rb') as stream:  # the format before PyTorch 1.6: several pickles, then the values
        while stream.peek(1)[:1] == b'\x80':
            before = stream.tell()
            yield from _names_in(stream)
            if stream.tell() == before:
                return


def _names_in(stream: IO[bytes]) -> Iterator[str]:
    strings: list[str] = []
    with contextlib.suppress(ValueError):  # torn: torch says so when it reads the file
        for operation, argument, _ in pickletools.genops(stream):
            if operation.name == 'GLOBAL':
                yield _name_today(*str(argument).split(' ', 1))
            elif operation.name == 'STACK_GLOBAL' and len(strings) > 1:
                yield _name_today(*strings[-2:])
            elif isinstance(argument, str):
                strings = [*strings[-1:], argument]


def _name_today(module: str, name: str) -> str:
    """`module.name`, where the pickle uses the name that Python 2 had (protocol 2 writes those)."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f'{module}.{name}'


def is_safetensors(path: Path) -> bool:
    """Whether a file has the beginning of the safetensors format, or its name and no other beginning."""
    with open(path, 'rb') as stream:
        beginning = stream.read(9)
    # 8 bytes of the length of the header, lowest first, and the brace that opens it.
    if beginning[5:] == b'\0\0\0{':
        return True
    return path.suffix == '.safetensors' and not beginning.startswith(_PICKLED)


_PICKLED = (b'PK', b'\x80')
"""A zip archive, and a pickle of protocol 2 or later."""


def check_beginning(path: Path) -> None:
    """Raise RFDNError for a file that is no checkpoint at all: empty, a pointer of Git LFS, a page of the web."""
    with open(path, 'rb') as stream:
        beginning = stream.read(64)
    if not beginning:
        raise RFDNError(f'{path} is empty: fetch or write it again.')
    if beginning.startswith(b'version https://git-lfs'):
        raise RFDNError(f'{path} is a pointer of Git LFS, not the file: fetch it with git lfs pull.')
    if beginning.lstrip().lower().startswith((b'<!doctype', b'<html')):
        raise RFDNError(
            f'{path} is a page of the web, not the file: download what its "raw" or "download" link leads to.'
        )
    if not beginning.startswith(_PICKLED) and not is_safetensors(path):
        raise RFDNError(
            f'{path} is no checkpoint, neither an archive nor a pickle of PyTorch: name a .pth, .pkl or .safetensors file.'
        )
