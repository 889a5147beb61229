"""The cures in messages are possible where they are given."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest
import torch
from helpers import REPOSITORY
from helpers.small_sets import make_set

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.cli import main
from rfdn_plugin.cli.registry import COMMANDS
from rfdn_plugin.leaderboard.board import run
from rfdn_plugin.leaderboard.options import parse_options
from rfdn_plugin.utils.errors import RFDNError

FLAG = re.compile(r'(?<![\w-])--[a-z][a-z-]+')
COMMANDS_OF = {'leaderboard': ['leaderboard'], 'weights': ['inspect', 'convert', 'transfer']}
"""The commands that run the code of a folder."""


def flags_of(command: str) -> set[str]:
    parser = argparse.ArgumentParser()
    COMMANDS[command][1](parser)
    return {flag for action in parser._actions for flag in action.option_strings}


def messages(folder: str) -> list[tuple[str, str]]:
    """Every text of the folder's modules that is raised or returned, with its place; docstrings are none."""
    found = []
    for path in sorted((REPOSITORY / 'rfdn_plugin' / folder).rglob('*.py')):
        tree = ast.parse(path.read_text())
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in texts:
                found.append((f'{path.name}:{node.lineno}', node.value))
    return found


@pytest.mark.parametrize('folder', COMMANDS_OF)
def test_flags_in_messages_exist(folder: str):
    known = set().union(*(flags_of(command) for command in COMMANDS_OF[folder]))
    wrong = [
        (place, flag)
        for place, text in messages(folder)
        for flag in FLAG.findall(text)
        if flag not in known and not text.startswith('style=')
    ]
    assert not wrong


def test_the_leaderboard_asks_for_keys_of_the_entry_and_they_answer(tmp_path: Path):
    network = NETWORKS['RFDN'](upscale=2, num_feat=8, num_block=1, interpolation_start=True)
    torch.save(network.state_dict(), tmp_path / 'w.pth')
    entry = {'name': 'net', 'scale': 2, 'weights': str(tmp_path / 'w.pth')}
    content = {
        'name': 'test',
        'sets': {'Small': make_set(tmp_path / 'set', names=('coffee',))},
        'complexity': {'mmengine': False},
        'report': {'images': 0},
    }
    with pytest.raises(RFDNError) as error:
        run(parse_options({**content, 'entries': [entry]}), tmp_path / 'out', 1)
    asked = str(error.value)
    assert 'type: RFDN' in asked and 'img_range: 1' in asked and '--' not in asked
    answered = {**entry, 'type': 'RFDN', 'img_range': 1}
    assert run(parse_options({**content, 'entries': [answered]}), tmp_path / 'out', 1)['entries'][0]['sets']


def test_the_commands_ask_for_their_flags_and_they_answer(tmp_path: Path, capsys):
    torch.save(NETWORKS['IDN'](upscale=3, num_feat=16, num_block=1).state_dict(), tmp_path / 'w.pth')
    command = ['convert', '--weights', str(tmp_path / 'w.pth'), '-o', str(tmp_path / 'o.pth')]
    assert main(command) == 1 and '--upscale' in capsys.readouterr().err
    assert main([*command, '--upscale', '3']) == 0
