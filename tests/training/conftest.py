from collections.abc import Iterator

import pytest
from helpers.fixtures import options
from helpers.processes import Running

__all__ = ['options']


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    yield
    Running.end_all()
