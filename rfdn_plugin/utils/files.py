"""Files that are either whole or absent: written under a temporary name, fsynced, renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rfdn_plugin.utils.errors import RFDNError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = 'wb', encoding: str | None = None) -> Iterator[IO]:
    """Open a temporary file beside `path`; on leaving without an error it replaces `path`, on an error it is removed.

    Args:
        path: The file to write. Its folder is created where missing; a symbolic link stays one.
        mode: 'wb' or 'w'.
        encoding: For text; UTF-8 where not given.

    Raises:
        RFDNError: `path` is a folder or a device.
        OSError: As the operating system says (disk full, no permission), of `path`, which is then as it was before.
    """
    check_output(path)
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if 'b' not in mode and encoding is None:
        encoding = 'utf-8'
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.partial')
    try:
        with os.fdopen(descriptor, mode, encoding=encoding) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes the file private; the finished one gets what the user's umask would have given.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (
            None,
            temporary,
        ):  # the stream's own: it knows no better name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    sync_folder(path.parent)


def check_output(path: str | os.PathLike) -> None:
    """See, before work is spent on it, that a file can be written.

    Raises:
        RFDNError: `path` is a folder or a device.
        OSError: Its folder cannot be made or written to.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise RFDNError(f'{path} is {"a folder" if path.is_dir() else "no plain file"}: name a file to write.')
    folder = next(parent for parent in Path(os.path.realpath(path)).parents if parent.exists())
    if not folder.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def atomic_torch_save(content: Any, path: str | os.PathLike) -> None:
    """`torch.save`, whole or not at all; through memory, for torch hides why a write failed.

    Raises:
        RFDNError, OSError: As `atomic_write`.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_write(path) as stream:
        stream.write(buffer.getbuffer())


def append_json_line(path: str | os.PathLike, value: Any) -> None:
    """Add a value to a file of JSON lines, behind a line that a kill cut short too; it is on the disk afterwards."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a+b') as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b'\n':
                stream.write(b'\n')
        stream.write(json.dumps(value, ensure_ascii=False).encode() + b'\n')
        stream.flush()
        os.fsync(stream.fileno())


def read_json_lines(path: str | os.PathLike) -> Iterator[Any]:
    """The values of a file of JSON lines; lines that a kill cut short are left out. Without a file there are none."""
    if Path(path).is_file():
        for line in Path(path).read_text(encoding='utf-8', errors='replace').split('\n'):
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def sync_folder(folder: str | os.PathLike) -> None:
    """Make renames inside `folder` survive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse fsync on a folder; the rename stands
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, 'rb') as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def model_digest(path: str | os.PathLike) -> str:
    """SHA-256 over all files of a model: of weights and .onnx the file's own, of .xml and .param with the .bin beside it.

    Raises:
        OSError: A file cannot be read.
    """
    values = Path(path).with_suffix('.bin')
    if Path(path).suffix.lower() not in ('.xml', '.param') or not values.is_file():
        return sha256(path)
    return hashlib.sha256(f'{sha256(path)} {sha256(values)}'.encode()).hexdigest()
