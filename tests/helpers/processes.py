"""Code in a process of its own, for tests where it matters what is imported first or what a crash leaves behind.

A new interpreter would spend seconds on importing torch each time; these processes are forked from a server that has
imported the libraries below us, and neither `basicsr` nor `rfdn_plugin`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import textwrap
import traceback
from dataclasses import dataclass
from pathlib import Path

_LIBRARIES = [
    'torch',
    'torchvision.transforms.functional',
    'scipy.ndimage',
    'scipy.special',
    'cv2',
    'skimage.metrics',
    'lmdb',
]
_context = multiprocessing.get_context('forkserver')
_context.set_forkserver_preload(_LIBRARIES)


@dataclass
class Outcome:
    returncode: int
    stdout: str
    stderr: str


def run_code(code: str, *, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 300) -> Outcome:
    """Run `code` as `__main__` would be run; its output comes back as text."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, 'out'), Path(folder, 'err')
        process = _context.Process(target=_execute, args=(textwrap.dedent(code), cwd, env or {}, str(out), str(err)))
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


def _execute(code: str, cwd: Path | None, env: dict[str, str], out: str, err: str) -> None:
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
    os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    status = 0
    try:
        exec(compile(code, '<test>', 'exec'), {'__name__': '__main__'})
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
