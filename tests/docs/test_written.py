"""What scripts/write_docs.py keeps up to date in the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import REPOSITORY
from helpers.scripts import load_script


@pytest.fixture(scope='module')
def pages() -> dict[Path, str]:
    return load_script('write_docs').pages()


@pytest.mark.parametrize('path', ['docs/options.md', 'README.md', 'docs/weights.md'])
def test_pages_are_up_to_date(path: str, pages: dict[Path, str]):
    assert (REPOSITORY / path).read_text(encoding='utf-8') == pages[Path(path)], 'run scripts/write_docs.py'


def test_the_reference_has_every_key_and_what_it_means(pages: dict[Path, str]):
    rows = [line for line in pages[Path('docs/options.md')].splitlines() if line.startswith('| `')]
    described = [row for row in rows if row.count(' | ') == 3]  # the others are registered networks, losses and metrics
    assert len(described) > 120
    assert [row for row in described if row.endswith('|  |')] == []
    for key in ('accum_iter', 'sample_seed', 'save_best', 'ntire_baseline', 'filename_tmpl', 'pretrain_network_g'):
        assert any(row.startswith(f'| `{key}`') for row in described), key


def test_readme_names_every_command():
    from rfdn_plugin.cli import COMMANDS

    words = re.findall(r'`(?:rfdn )?([a-z]+)', (REPOSITORY / 'README.md').read_text(encoding='utf-8'))
    words += re.findall(r'^rfdn ([a-z]+)', (REPOSITORY / 'README.md').read_text(encoding='utf-8'), re.MULTILINE)
    assert set(COMMANDS) <= set(words), set(COMMANDS) - set(words)
