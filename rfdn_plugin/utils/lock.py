"""One process at a time: a lock that is a file, which says who holds it and works on network disks too."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from rfdn_plugin.utils.errors import RFDNError


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock, as the lock's file describes it."""

    host: str
    pid: int
    started: str
    """Local time at which the lock was taken."""
    machine: str
    """Boot and process name space in which `pid` means this process; empty where the system does not tell."""
    born: str
    """Start of the process in ticks since the boot: another process of the same number has another one."""
    token: str
    """Unlike that of any other lock that was ever taken."""


class Lock:
    """A lock that is held by creating `path`, and released by removing it; use it in a `with` statement.

    A lock whose process is gone is taken over: at once where that process ran on this machine, else when its file has
    shown no sign of life for `STALE_SECONDS` (a thread touches it every `HEARTBEAT_SECONDS`). Times are compared as the
    disk gives them, so the clocks of two machines may differ. Nothing depends on flock, which many network disks lack.

    Args:
        path: The file; its folder is created where missing. It must not lie in a folder that is renamed meanwhile.
        what: What is locked, as the message names it.
        cure: What a user who is refused can do, beside waiting.
    """

    HEARTBEAT_SECONDS = 20.0
    STALE_SECONDS = 180.0
    """More than a heartbeat and the minute for which network disks remember the age of a file."""

    def __init__(self, path: str | os.PathLike, what: str, cure: str) -> None:
        self.path = Path(path)
        self.what, self.cure = what, cure
        self._owner: Owner | None = None
        self._made: list[Path] = []
        self._released = threading.Event()

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock, or raise an error that names the process that holds it.

        Raises:
            RFDNError: Another process holds it; the message names its host and number.
            OSError: The file cannot be written.
        """
        self._made = [folder for folder in self.path.parents if not folder.exists()]
        owner = Owner(
            socket.gethostname(),
            os.getpid(),
            time.strftime('%Y-%m-%d %H:%M:%S'),
            _machine(),
            _born(os.getpid()),
            secrets.token_hex(8),
        )
        while not self._create(owner):
            found = self._read()
            if found is None:  # released in this moment
                continue
            other, touched = found
            age = self._disk_time() - touched
            if not _is_gone(other, age):
                raise RFDNError(self._refusal(other, age))
            if not self._remove_stale(other):
                time.sleep(0.05)  # somebody else is about to
        self._owner = owner
        self._released.clear()
        threading.Thread(target=self._beat, daemon=True, name='lock heartbeat').start()

    def release(self) -> None:
        """Give the lock back, and remove the folders that were made for it where nothing else is in them.

        In a process that was forked from the holder, or without the lock, nothing happens.
        """
        owner, self._owner = self._owner, None
        self._released.set()
        if owner is not None and owner.pid == os.getpid() and self._is_held_by(owner):
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            with contextlib.suppress(OSError):  # not empty: something was made
                for folder in self._made:
                    folder.rmdir()

    def check(self) -> None:
        """See that the lock is still held, which it is not where this process stood still for minutes.

        Raises:
            RFDNError: Another process has taken it over, or somebody removed its file.
        """
        if self._owner is None or self._is_held_by(self._owner):
            return
        found = self._read()
        if found is None or found[0] is None:
            reason = f'its lock file {self.path} was removed'
        else:
            reason = f'process {found[0].pid} on {found[0].host} has taken it over ({self.path})'
        raise RFDNError(f'{self.what}: {reason}, so another run may write there too: this one stops.')

    # --- the file ----------------------------------------------------------------------------------------------------
    def _create(self, owner: Owner) -> bool:
        """Whether the file was made by us: whole, or not at all, and only where there was none."""
        content = json.dumps(asdict(owner)).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)  # another process may have removed it, as empty
        descriptor, candidate = tempfile.mkstemp(dir=self.path.parent, prefix=f'{self.path.name}.')
        try:
            with os.fdopen(descriptor, 'wb') as stream:
                stream.write(content)
            os.chmod(candidate, 0o644)  # whoever is refused may read by whom
            try:
                os.link(candidate, self.path)
            except FileExistsError:
                return self._is_held_by(owner)  # a network disk may say so after it has done what was asked
            except OSError:  # a file system without links
                return self._create_directly(content)
            return True
        finally:
            os.unlink(candidate)

    def _create_directly(self, content: bytes) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, 'wb') as stream:
            stream.write(content)
        return True

    def _read(self) -> tuple[Owner | None, float] | None:
        """The owner (None where the file does not tell) and when it last showed a sign of life; None without a file.

        Nothing is written for it: a full disk keeps nobody from giving a lock back.
        """
        try:
            with open(self.path, 'rb') as stream:  # opened: a network disk then asks its server
                content, touched = stream.read(), os.fstat(stream.fileno()).st_mtime
        except FileNotFoundError:
            return None
        try:
            owner = Owner(**json.loads(content))
        except (ValueError, TypeError):
            owner = None
        return owner, touched

    def _disk_time(self) -> float:
        """The time now by the clock of the disk."""
        with tempfile.TemporaryFile(dir=self.path.parent) as stream:
            stream.write(b'.')
            stream.flush()
            return os.fstat(stream.fileno()).st_mtime

    def _is_held_by(self, owner: Owner) -> bool:
        found = self._read()
        return found is not None and found[0] == owner

    def _remove_stale(self, owner: Owner | None) -> bool:
        """Remove the file of an owner that is gone, which one process alone may: else it would remove its successor's."""
        permit = self.path.with_name(f'{self.path.name}.{owner.token if owner else "unreadable"}.gone')
        try:
            os.close(os.open(permit, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):  # its maker may have been killed as well
                if self._disk_time() - permit.stat().st_mtime > self.STALE_SECONDS:
                    permit.unlink()
            return False
        try:
            found = self._read()
            if found is not None and found[0] == owner:
                self.path.unlink()
        finally:
            permit.unlink()
        return True

    def _beat(self) -> None:
        owner = self._owner
        while owner is not None and not self._released.wait(self.HEARTBEAT_SECONDS):
            try:
                if self._is_held_by(owner):
                    os.utime(self.path)
            except OSError:  # a disk that is away for a moment; `check` says what matters
                continue

    def _refusal(self, owner: Owner | None, age: float) -> str:
        if owner is None:
            return f'{self.what} is in use ({self.path} does not say by whom): wait, or {self.cure}.'
        sign = '' if owner.machine == _machine() else f', last sign of life {max(age, 0):.0f} s ago'
        return (
            f'{self.what} is in use by process {owner.pid} on {owner.host} since {owner.started} ({self.path}{sign}): '
            f'wait for its end, or {self.cure}.'
        )


def _is_gone(owner: Owner | None, age: float) -> bool:
    """Whether the process that holds a lock has ended.

    Args:
        owner: As its file says; None where it says nothing.
        age: Seconds since its file was touched.
    """
    if owner is not None and owner.machine and owner.machine == _machine():
        return _born(owner.pid) != owner.born
    return age > Lock.STALE_SECONDS


def _machine() -> str:
    """What makes a process number one process: the boot, and the name space of containers. Empty without Linux's /proc."""
    try:
        return f'{Path("/proc/sys/kernel/random/boot_id").read_text().strip()} {os.readlink("/proc/self/ns/pid")}'
    except OSError:
        return ''


def _born(pid: int) -> str:
    """When a process of this machine started, in ticks since the boot; empty where there is none, or it has ended."""
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return ''
    return '' if fields[0] in 'ZX' else fields[19]
