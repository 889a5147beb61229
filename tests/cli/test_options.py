"""`rfdn options`, and shipped option files in the commands that read one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rfdn_plugin import cli
from rfdn_plugin.options.shipped import KINDS, shipped_files


def test_list(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('COLUMNS', '200')
    assert cli.main(['options', 'list']) == 0
    text = capsys.readouterr().out
    assert all(f'rfdn {kind} -opt' in text for kind in KINDS)
    assert cli.main(['options', 'list', '--json']) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one['name'] for one in listed] == [file.name for file in shipped_files()]
    for one in listed:
        title = re.sub(r' \([^)]*\)', '', one['title'])
        assert Path(one['file']).is_file() and one['name'].removeprefix(one['kind'] + '/') in text and title in text


@pytest.mark.parametrize('width', [20, 80, 120])
def test_lines_fit_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setenv('COLUMNS', str(width))
    cli.main(['options', 'list'])
    longest_name = max(len(file.name) for file in shipped_files())
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= max(width, longest_name + 24)
    words = ' '.join(text.split())
    assert all(file.title.split()[-1] in words for file in shipped_files())  # nothing is cut off


def test_titles_are_sentences():
    assert all(len(file.title) > 20 and not file.title.endswith((',', ':', '.')) for file in shipped_files())


def test_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(tmp_path)
    assert cli.main(['options', 'copy', 'RFDN/train_RFDN_x2_scratch.yml']) == 0
    path = Path('options/train/RFDN/train_RFDN_x2_scratch.yml')
    assert capsys.readouterr().out == f'{path}\n' and Path('options/schemas/train.json').is_file()
    path.write_text('mine')
    assert cli.main(['options', 'copy', 'RFDN', '-o', 'options']) == 1 and path.read_text() == 'mine'
    assert cli.main(['options', 'copy', 'RFDN', '--overwrite']) == 0 and path.read_text() != 'mine'


@pytest.mark.parametrize('kind', KINDS)
def test_commands_read_shipped_files_and_say_so(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """From an empty folder: the file is found, and its data, which are relative to that folder, are not."""
    monkeypatch.chdir(tmp_path)
    name = 'benchmarks_x2.yml' if kind == 'leaderboard' else f'RFDN/{kind}_RFDN_x2{"_scratch" * (kind == "train")}.yml'
    assert cli.main([kind, '-opt', name]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f'-opt {name}: the shipped file ') and 'datasets' in err
