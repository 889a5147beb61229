"""The `rfdn` command itself: help, exit codes, one-line errors. What the subcommands do is tested beside their modules."""

from __future__ import annotations

import argparse
import errno
import subprocess
import sys

import pytest

from rfdn_plugin import cli
from rfdn_plugin.utils.errors import RFDNError

COMMANDS = sorted(cli.COMMANDS)


@pytest.mark.parametrize('name', COMMANDS)
def test_help_of_every_command(name: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as leaving:
        cli.main([name, '--help'])
    out = capsys.readouterr().out
    assert leaving.value.code == 0 and f'usage: rfdn {name}' in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_overview_has_every_command_on_one_line(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('COLUMNS', '80')
    with pytest.raises(SystemExit):
        cli.main(['--help'])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name, (summary, _) in cli.COMMANDS.items():
        assert [line.split()[0] for line in lines if summary in line] == [name]


def test_help_and_usage_errors_import_nothing_heavy():
    """In an interpreter of its own: they answer at once because of what they leave out."""
    code = """
import sys
from rfdn_plugin.cli import main
for words in (['--help'], ['train', '--help'], ['train'], ['no-such-command'], ['--version']):
    try:
        main(words)
    except SystemExit as leaving:
        assert leaving.code == (0 if words[-1].startswith('--') else 2), words
heavy = {'torch', 'torchvision', 'basicsr', 'cv2', 'numpy', 'pydantic', 'mmengine', 'matplotlib', 'rich', 'jinja2'}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    def install(error: BaseException) -> None:
        def define(parser: argparse.ArgumentParser):
            def run(args: argparse.Namespace) -> None:
                raise error

            return run

        monkeypatch.setitem(cli.COMMANDS, 'fail', ('fails', define))

    return install


@pytest.mark.parametrize(
    'error', [RFDNError('what (where): cure'), OSError(errno.ENOSPC, 'No space left on device', 'file')], ids=type
)
def test_an_error_is_one_line_and_exit_1(failing, error: Exception, capsys: pytest.CaptureFixture):
    failing(error)
    assert cli.main(['fail']) == 1
    message = capsys.readouterr().err
    assert message.startswith('rfdn fail: ') and message.count('\n') == 1 and '[Errno' not in message
    said = ['what (where): cure'] if isinstance(error, RFDNError) else ['file', 'No space left', 'make room']
    assert all(word in message for word in said)


def test_debug_gives_the_traceback(failing):
    failing(RFDNError('what'))
    with pytest.raises(RFDNError):
        cli.main(['--debug', 'fail'])


def test_a_problem_of_ours_is_no_users_error(failing):
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(['fail'])


def test_ctrl_c_is_a_line(failing, capsys: pytest.CaptureFixture):
    failing(KeyboardInterrupt())
    assert cli.main(['fail']) == 130
    assert capsys.readouterr().err == 'rfdn fail: stopped.\n'


def test_a_reader_that_has_enough_is_no_error():
    """`rfdn options list | head -1`: the shell's 141, and nothing on stderr."""
    words = [sys.executable, '-m', 'rfdn_plugin', 'options', 'list']
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (141, b'')


TO_2 = ['transfer', '--weights', 'w.pth', '--to-scale', '2', '-o', 'o.pth']


@pytest.mark.parametrize(
    'arguments',
    [
        ['inspect', 'w.pth', '--type', 'NOPE'],
        ['inspect', 'w.pth', '--img-range', '0'],
        ['inspect', 'w.pth', '--img-range', 'nan'],
        ['inspect', 'w.pth', '--upscale', '0'],
        ['inspect', 'w.pth', '--argument', 'block_residual'],
        ['inspect', 'w.pth', '--argument', 'img_range=1'],
        ['convert', '--weights', 'w.pth', '-o', 'o.pth', '--type', 'e_rfdn'],
        ['convert', '--weights', 'w.pth', '-o', 'o.pth', '--fold-srb', '--unfold-srb'],
        [*TO_2, '--fit', 'images', '--images', '0'],
        [*TO_2, '--fit', 'images', '--images', '-1'],
        [*TO_2, '--fit', 'images', '--ridge', '-1'],
        [*TO_2, '--fit', 'images', '--ridge', 'nan'],
        [*TO_2, '--images', '3'],
        [*TO_2, '--ridge', '1'],
        [*TO_2, '--to-scale', '0'],
    ],
    ids=' '.join,
)
def test_wrong_values_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture):
    try:
        code = cli.main(arguments)
    except SystemExit as error:
        code = error.code
    assert code == 2 and 'Traceback' not in capsys.readouterr().err
