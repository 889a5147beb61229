"""Code in a process of its own, for tests where it matters what is imported first or what a crash leaves behind.

A new interpreter would spend seconds on importing torch each time. These processes are forked from one of two servers:
a bare one that has imported the libraries below us, neither `basicsr` nor `rfdn_plugin`, and a loaded one that has
imported these as well, as `rfdn train` and `rfdn test` do before anything else.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import textwrap
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import forkserver, popen_forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import ClassVar
from unittest import mock

_LIBRARIES = [
    'torch',
    'torchvision.transforms.functional',
    'scipy.ndimage',
    'scipy.special',
    'cv2',
    'skimage.metrics',
    'lmdb',
]
_OURS = [
    'rfdn_plugin',
    'basicsr',
    'rfdn_plugin.cli',
    'rfdn_plugin.options.load',
    'rfdn_plugin.training.preflight',
    'rfdn_plugin.training.hooks',
    'rfdn_plugin.training.launch',
    'rfdn_plugin.training.monitor',
]
_choosing = threading.Lock()


def _server(modules: list[str]) -> forkserver.ForkServer:
    server = forkserver.ForkServer()
    server.set_forkserver_preload(modules)
    return server


class _BareProcess(ForkServerProcess):
    """A process forked from a server of its class; multiprocessing itself has one server, with one list of modules."""

    server = _server(_LIBRARIES)

    @staticmethod
    def _Popen(process: _BareProcess) -> popen_forkserver.Popen:  # noqa: N802 (multiprocessing's own name)
        with (
            _choosing,
            mock.patch.object(forkserver, 'connect_to_new_process', process.server.connect_to_new_process),
        ):
            return popen_forkserver.Popen(process)


class _LoadedProcess(_BareProcess):
    server = _server([*_LIBRARIES, *_OURS])


@dataclass
class Outcome:
    returncode: int
    stdout: str
    stderr: str


class Running:
    """A process that may be killed, with `subprocess.Popen`'s names; it leads a group of its own."""

    alive: ClassVar[list[Running]] = []

    def __init__(self, code: str, cwd: Path, log: Path) -> None:
        self.alive.append(self)
        log.touch()
        self._process = _LoadedProcess(target=_execute, args=(code, cwd, dict(os.environ), log, log, True))
        self._process.start()
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f'process {self.pid} is still running after {timeout} s')
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    @classmethod
    def end_all(cls) -> None:
        """Kill what a test that failed has left running."""
        while cls.alive:
            cls.alive.pop().kill()


def run_code(
    code: str, *, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 300, loaded: bool = False
) -> Outcome:
    """Run `code` as `__main__` would be run; its output comes back as text.

    Args:
        code: May be indented.
        cwd, env: The folder to run in, and environment variables beside those of the test.
        timeout: In seconds; afterwards it is killed and the test fails.
        loaded: `basicsr` and `rfdn_plugin` have been imported already.
    """
    kind = _LoadedProcess if loaded else _BareProcess
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, 'out'), Path(folder, 'err')
        process = kind(target=_execute, args=(code, cwd, {**os.environ, **(env or {})}, out, err))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f'still running after {timeout} s:\n{err.read_text()[-2000:]}')
        return Outcome(process.exitcode, out.read_text(), err.read_text())


def assert_runs(code: str, **settings) -> str:
    """`run_code`, failing the test with what the code printed where it does not end well; returns its stdout."""
    outcome = run_code(code, **settings)
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    return outcome.stdout


def _execute(code: str, cwd: Path | None, env: dict[str, str], out: Path, err: Path, own_group: bool = False) -> None:
    import torch

    if own_group:
        os.setsid()
    # Nothing that a test starts outlives a suite that is killed: the server ends with it, and this with the server.
    with contextlib.suppress(OSError, AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    torch.set_num_threads(1)
    # A process that a server forks would itself ask for servers: workers of a DataLoader would import torch anew.
    multiprocessing.set_start_method(None, force=True)
    sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
    os.environ.clear()
    os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    status = 0
    try:
        exec(compile(textwrap.dedent(code), '<test>', 'exec'), {'__name__': '__main__'})
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
