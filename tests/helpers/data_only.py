"""Which tests of a folder are worth a second run, with the public test data, after a first one without."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

DATA_FIXTURE = 'data_root'
Item = TypeVar('Item', bound=pytest.Item)


def split(items: Iterable[Item], folders: Sequence[Path]) -> tuple[list[Item], list[Item]]:
    """The tests to run, and those to leave out: of `folders` all that do not ask for the data, directly or not."""
    wanted, left_out = [], []
    for item in items:
        is_done = DATA_FIXTURE not in item.fixturenames and any(item.path.is_relative_to(path) for path in folders)  # type: ignore[attr-defined]
        (left_out if is_done else wanted).append(item)
    return wanted, left_out
