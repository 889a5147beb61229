"""What all tests share: where the public test data lies, and one thread per process so that runs repeat."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def find_data_root() -> Path | None:
    """The folder with benchmarks/, train/, weights/ and oddities/, or None."""
    named = os.environ.get('RFDN_DATA')
    candidate = Path(named) if named else REPOSITORY.parent / 'shared' / 'data'
    return candidate if (candidate / 'benchmarks').is_dir() else None


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
