"""The scripts that are not commands of the package."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from helpers import REPOSITORY
from helpers.pages import PAGES


def run(*words: object, **settings) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, **settings)


@pytest.mark.parametrize(
    'path', [*sorted(REPOSITORY.glob('scripts/**/*.sh')), REPOSITORY / '.ci/run'], ids=lambda path: path.name
)
def test_shell_scripts_parse_and_can_be_run(path: Path):
    assert run('bash', '-n', path).returncode == 0
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_pages_link_to_what_is_there(page: Path):
    links = re.findall(r'\]\(([^)#\s]+)', page.read_text(encoding='utf-8'))
    missing = [link for link in links if '://' not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_pages_name_files_that_are_there(page: Path):
    text = page.read_text(encoding='utf-8')
    named = set(re.findall(r'(?:-opt |`)((?:options|scripts|docs|tests|rfdn_plugin)/[\w./-]+\.\w+)', text))
    assert [path for path in sorted(named) if not (REPOSITORY / path).exists() and 'NAME' not in path] == []


def test_ci_is_the_test_command():
    assert 'scripts/test.sh' in (REPOSITORY / '.ci/run').read_text()


def test_install_says_which_python_it_wants(tmp_path: Path):
    """With nothing but the shell's own tools on PATH."""
    tools = tmp_path / 'bin'
    tools.mkdir()
    for tool in ('bash', 'dirname', 'cat', 'cksum', 'env'):
        found = run('which', tool).stdout.strip()
        (tools / tool).symlink_to(found)
    result = run(REPOSITORY / 'scripts/install.sh', tmp_path / 'venv', env={'PATH': str(tools)})
    assert result.returncode != 0 and 'Python 3.10 to 3.14' in result.stderr and not (tmp_path / 'venv').exists()
