"""What stands beside the package says the same as the package: versions, workflow, templates."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helpers import REPOSITORY

from rfdn_plugin.utils.installation import TRIED_PYTHON
from rfdn_plugin.utils.version import __version__

OLDEST, NEWEST = ('.'.join(map(str, version)) for version in TRIED_PYTHON)


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding='utf-8')


def test_one_version_everywhere():
    newest_entry = next(line for line in read('CHANGELOG.md').splitlines() if line.startswith('## '))
    assert newest_entry.split()[1] == __version__ == yaml.safe_load(read('CITATION.cff'))['version']


def test_no_module_is_longer_than_a_reader_can_hold():
    lengths = {path: len(path.read_text().splitlines()) for path in (REPOSITORY / 'rfdn_plugin').rglob('*.py')}
    assert {str(path): length for path, length in lengths.items() if length > 350} == {}, 'see CONTRIBUTING.md'


def test_the_workflow_runs_the_test_command_on_the_oldest_and_the_newest_python():
    job = yaml.safe_load(read('.github/workflows/test.yml'))['jobs']['test']
    assert job['strategy']['matrix']['python'] == [OLDEST, NEWEST]
    assert [step['run'] for step in job['steps'] if 'run' in step] == ['scripts/test.sh']
    cache = next(step['with'] for step in job['steps'] if step.get('uses', '').startswith('actions/cache'))
    assert 'steps.setup.outputs.python-version' in cache['key']  # a cached environment links to that very Python
    assert f'requires-python = ">={OLDEST}"' in read('pyproject.toml') and f'Python :: {NEWEST}"' in read(
        'pyproject.toml'
    )


@pytest.mark.parametrize(
    'path', sorted((REPOSITORY / '.github/ISSUE_TEMPLATE').glob('[!c]*.yml')), ids=lambda path: path.stem
)
def test_issue_forms(path: Path):
    """What the form service refuses: a field without a label, an id twice, an unknown type."""
    form = yaml.safe_load(path.read_text(encoding='utf-8'))
    assert {'name', 'description', 'body'} <= set(form)
    ids = [field['id'] for field in form['body']]
    assert len(set(ids)) == len(ids)
    for field in form['body']:
        assert field['type'] in ('textarea', 'input', 'checkboxes') and field['attributes']['label']
    assert path.stem != 'bug' or 'rfdn doctor --json' in str(form)
