"""`rfdn quickstart`: its own steps, and that its commands are commands; the whole of it takes ten minutes."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path

import pytest

from rfdn_plugin import cli
from rfdn_plugin.cli import quickstart
from rfdn_plugin.options.shipped import find_option_file
from rfdn_plugin.utils.errors import RFDNError

COMMANDS = [words for _, commands in quickstart.STEPS for words in commands]


def test_the_photographs(tmp_path: Path):
    quickstart.photographs(tmp_path)
    train, held_out = ({path.name for path in (tmp_path / part).iterdir()} for part in ('train', 'heldout'))
    assert len(train) >= 5 and len(held_out) >= 3 and not train & held_out


@pytest.mark.parametrize(('gain', 'code'), [(0.31, 0), (0.29, 1)])
def test_the_verdict(tmp_path: Path, gain: float, code: int, capsys: pytest.CaptureFixture):
    entries = [
        {
            'type': kind,
            'scale': scale,
            'sets': {'heldout': {'psnr_y': 30 + (gain if kind == 'RFDN' and scale == 3 else better)}},
        }
        for scale in (2, 3, 4)
        for kind, better in (('bicubic', 0), ('RFDN', 1))
    ]
    path = tmp_path / 'leaderboard.json'
    path.write_text(json.dumps({'environment': {}, 'entries': entries}))
    assert quickstart.verdict(path) == code and f'{gain:+.2f} dB' in capsys.readouterr().out


def test_the_commands_are_said_in_order_and_a_failure_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    ran = []

    def run(words: str, folder: Path) -> None:
        ran.append(words)
        if words.startswith('leaderboard'):
            raise RFDNError('no table')

    monkeypatch.setattr(quickstart, '_rfdn', run)
    assert cli.main(['quickstart', str(tmp_path)]) == 1 and ran == COMMANDS
    said = capsys.readouterr()
    assert [line[7:] for line in said.out.splitlines() if line.startswith('$ rfdn ')] == COMMANDS
    assert said.err == 'rfdn quickstart: no table\n'


@pytest.mark.parametrize('words', COMMANDS)
def test_its_commands_parse_and_its_option_files_are_shipped(words: str):
    args = cli.build_parser().parse_args(shlex.split(words))
    if args.command != 'prepare':
        assert find_option_file(args.opt, args.command).is_file()


def test_a_command_that_fails_is_one_line(tmp_path: Path):
    with pytest.raises(RFDNError, match='rfdn no-such-command failed'):
        quickstart._rfdn('no-such-command', tmp_path)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_running_command_save(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
):
    """A stand-in for a training: it signals its parent as `kill` does, or both as Ctrl+C does, and saves slowly."""
    command = tmp_path / 'python'
    command.write_text(
        f'#!{sys.executable}\n'
        'import os, pathlib, signal, sys, time\n'
        'def save(*_):\n'
        '    time.sleep(0.5)\n'
        '    pathlib.Path("saved").touch()\n'
        '    sys.exit(75)\n'
        f'signal.signal({number:d}, save)\n'
        'time.sleep(0.3)\n'
        f'os.kill(os.getppid(), {number:d})\n'
        f'{number:d} == signal.SIGINT and os.kill(os.getpid(), {number:d})\n'
        'time.sleep(20)\n'
    )
    command.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(command))
    inherited = signal.signal(number, signal.SIG_DFL)  # a shell that starts the tests in the background ignores SIGINT
    try:
        with pytest.raises(RFDNError, match=f'rfdn train was stopped by {number.name}: run this again to go on'):
            quickstart._rfdn('train', tmp_path)
        assert (tmp_path / 'saved').is_file() and signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, inherited)
