"""`--data-only`: the tests without data are not run a second time, and those with data are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from helpers import data_only


def test_only_tests_of_the_named_folders_that_do_not_ask_for_data_are_left_out():
    def item(path: str, *fixtures: str) -> SimpleNamespace:
        return SimpleNamespace(path=Path('/tests', path), fixturenames=['tmp_path', *fixtures])

    done, with_data, other = item('archs/test_a.py'), item('archs/test_a.py', 'data_root'), item('cli/test_b.py')
    assert data_only.split([done, with_data, other], [Path('/tests/archs')]) == ([with_data, other], [done])
    assert data_only.split([done, with_data, other], []) == ([done, with_data, other], [])


def test_a_test_asks_for_data_also_through_another_fixture(official, request):
    assert data_only.DATA_FIXTURE in request.node.fixturenames
