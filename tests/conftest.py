"""What all tests share: where the public test data lies, and one thread per process so that runs repeat."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import REPOSITORY, data_only
from helpers.scripts import load_script

# Under nohup SIGHUP is ignored, also by every process that a test starts: tests of signals begin from the default.
if hasattr(signal, 'SIGHUP') and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def find_data_root() -> Path | None:
    """The folder with benchmarks/, train/, weights/ and oddities/, or None."""
    named = os.environ.get('RFDN_DATA')
    candidate = Path(named) if named else REPOSITORY.parent / 'shared' / 'data'
    return candidate if (candidate / 'benchmarks').is_dir() else None


def pytest_addoption(parser: pytest.Parser) -> None:
    hint = 'of the tests below PATH run only those that ask for the public test data; may be repeated'
    parser.addoption('--data-only', action='append', default=[], metavar='PATH', help=hint)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:], left_out = data_only.split(items, [REPOSITORY / path for path in config.getoption('data_only')])
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(autouse=True, scope='session')
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered between runs does not come from, nor go to, the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(autouse=True)
def _no_handler_stays_for_dead_children() -> Iterator[None]:
    """Undo what a DataLoader with workers leaves behind: a handler of SIGCHLD for the rest of the process.

    With the native libraries of the other runtimes in the same process the kernel could not call it (SIGSEGV with
    si_code SI_KERNEL when a child ended, many tests later).
    """
    yield
    if signal.getsignal(signal.SIGCHLD) not in (signal.SIG_DFL, signal.SIG_IGN):
        from torch.utils.data._utils import signal_handling

        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal_handling._SIGCHLD_handler_set = False


@pytest.fixture(autouse=True)
def _no_log_stays_open() -> Iterator[None]:
    """BasicSR's logger writes to the stderr of the test that asked for it first, which is closed after that test."""
    yield
    log = logging.getLogger('basicsr')
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.setLevel(logging.NOTSET)
    if (module := sys.modules.get('basicsr.utils.logger')) is not None:
        module.initialized_logger.clear()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same random numbers, whichever tests ran before it."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope='session')
def data_root() -> Path:
    """The public test data; a test that asks for it is skipped where it is not."""
    root = find_data_root()
    if root is None:
        pytest.skip('the public test data is neither at $RFDN_DATA nor at ../shared/data')
    return root


@pytest.fixture(scope='session')
def official(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a public weights file by its place below `weights`; IDN's Caffe files are converted first."""
    converted = tmp_path_factory.mktemp('idn')

    def path_of(name: str) -> Path:
        path = data_root / 'weights' / name
        if path.suffix != '.caffemodel':
            return path
        pytest.importorskip('google.protobuf')
        output = converted / f'{path.stem}.safetensors'
        if not output.exists():
            load_script('convert_idn_caffe').convert(path, output)
        return output

    return path_of


@pytest.fixture(scope='session')
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of nine colour photographs of 96 x 96 pixels, cut from one that scikit-image ships."""
    import cv2
    from skimage import data

    folder = tmp_path_factory.mktemp('photographs')
    image = data.astronaut()
    for number in range(9):
        row, column = divmod(number, 3)
        part = image[row * 96 : row * 96 + 96, column * 96 : column * 96 + 96]
        cv2.imwrite(str(folder / f'photo{number}.png'), part[..., ::-1])
    return folder


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Path:
    """The photographs as LMDBs by `rfdn prepare`: HR_sub.lmdb and LR_bicubic_X{2,3,4}_sub.lmdb."""
    from rfdn_plugin.cli import main

    folder = tmp_path_factory.mktemp('tiny_data')
    arguments = ['--hr', str(photographs), '--out', str(folder), '--scales', '2', '3', '4', '--workers', '1']
    assert main(['prepare', *arguments, '--crop-size', '96', '--step', '96']) == 0
    return folder
