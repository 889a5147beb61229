"""`rfdn completion`: what the shell gets, asked as argcomplete's shell code asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rfdn_plugin import cli

pytest.importorskip('argcomplete')


@pytest.mark.parametrize(
    ('line', 'offered', 'not_offered'),
    [
        ('rfdn up', ['upscale'], ['train']),
        ('rfdn options copy --o', ['--output', '--overwrite'], []),
        ('rfdn train -opt ', ['RFDN/train_RFDN_x2_scratch.yml', 'mine.yml'], ['RFDN/test_RFDN_x2.yml']),
        ('rfdn doctor -opt ', ['train/zoo/train_RFDN_x2.yml', 'leaderboard/zoo.yml', 'mine.yml'], []),
        ('rfdn upscale --weights zoo:', ['zoo:RFDN_x2'], ['mine.yml']),
        ('rfdn inspect ', ['zoo:RFDN_x2', 'mine.yml'], []),
    ],
)
def test_what_is_offered(line: str, offered: list[str], not_offered: list[str], tmp_path: Path):
    (tmp_path / 'mine.yml').touch()
    asked = {'_ARGCOMPLETE': '1', '_ARGCOMPLETE_SHELL': 'bash', '_ARGCOMPLETE_IFS': '\n', 'COMP_LINE': line}
    answer = tmp_path / 'answer'
    environment = {**os.environ, **asked, 'COMP_POINT': str(len(line)), '_ARGCOMPLETE_STDOUT_FILENAME': str(answer)}
    subprocess.run([sys.executable, '-m', 'rfdn_plugin'], cwd=tmp_path, env=environment, check=True)
    found = {word.strip() for word in answer.read_text().split('\n')}
    assert set(offered) <= found and not set(not_offered) & found, found


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_the_code_for_a_shell(shell: str, capsys: pytest.CaptureFixture):
    assert cli.main(['completion', shell]) == 0
    code = capsys.readouterr().out
    assert 'rfdn' in code and '_ARGCOMPLETE' in code
    if shell == 'bash':
        complete = subprocess.run(['bash', '-c', f'{code}\ncomplete -p rfdn'], capture_output=True, text=True)
        assert complete.returncode == 0 and complete.stdout.strip().endswith('rfdn'), complete.stderr


def test_without_argcomplete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setitem(sys.modules, 'argcomplete.shell_integration', None)
    assert cli.main(['completion', 'bash']) == 1
    assert 'pip install argcomplete' in capsys.readouterr().err
