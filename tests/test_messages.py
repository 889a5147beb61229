"""The cures in messages are possible where they are given: all messages of the package, read from its source."""

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
from rfdn_plugin.options.datasets import TrainDataset
from rfdn_plugin.options.sections import LoggerSection, PathOptions, TrainSection, ValSection
from rfdn_plugin.utils.errors import RFDNError

FLAG = re.compile(r'(?<![\w-])--[a-z][a-z_-]+')
COMMAND = re.compile(r'(?<![\w/.`-])rfdn ([a-z]+)\b')
KEY = re.compile(r'(?<![\w.])(train|logger|path|val|datasets\.train)\.([a-z][a-z_]*)')
DOCUMENT = re.compile(r'\b(docs/[\w-]+\.md)')

COMMANDS_OF = {
    'options': ['train', 'test', 'leaderboard', 'options'],
    'training': ['train', 'test'],
    'models': ['train', 'test'],
    'data': ['prepare', 'merge', 'verify', 'transfer'],
    'weights': ['inspect', 'convert', 'transfer'],
    'deploy': ['upscale', 'export'],
    'leaderboard': ['leaderboard'],
    'cli': list(COMMANDS),
    'utils': list(COMMANDS),
}
"""The commands that run the code of a folder."""
# torchrun's; pip's, Docker's and npm's
OF_OTHERS = {'--nproc_per_node', '--local_rank', '--local-rank'} | {
    *('--no-build-isolation', '--force-reinstall', '--shm-size', '--no-deps', '--silent', '--help', '--version')
}


def flags_of(command: str) -> set[str]:
    parser = argparse.ArgumentParser()
    COMMANDS[command][1](parser)
    parsers = [parser]
    for one in parsers:  # those of subcommands are found on the way
        for action in one._actions:
            parsers += action.choices.values() if isinstance(action, argparse._SubParsersAction) else ()
    return {flag for one in parsers for action in one._actions for flag in action.option_strings} | {'--debug'}


def trees(folder: str) -> list[tuple[str, ast.Module]]:
    return [
        (str(path.relative_to(REPOSITORY)), ast.parse(path.read_text()))
        for path in sorted((REPOSITORY / 'rfdn_plugin' / folder).rglob('*.py'))
    ]


def messages(folder: str) -> list[tuple[str, str]]:
    """Every text of the folder's modules that is raised, returned or printed, with its place; docstrings are none."""
    found = []
    for path, tree in trees(folder):
        texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            place = f'{path}:{getattr(node, "lineno", 0)}'
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
                found.append((place, node.value))
            elif isinstance(node, ast.JoinedStr):
                constants = [part.value if isinstance(part, ast.Constant) else '{}' for part in node.values]
                found.append((place, ''.join(map(str, constants))))
    return found


def sections() -> dict[str, set[str]]:
    """The keys of the option files by section."""
    known = {'train': TrainSection, 'logger': LoggerSection, 'path': PathOptions, 'val': ValSection}
    return {name: set(section.model_fields) for name, section in known.items()} | {
        'datasets.train': set(TrainDataset.model_fields)
    }


@pytest.mark.parametrize('folder', COMMANDS_OF)
def test_flags_in_messages_exist(folder: str):
    """With the parsers of the commands: those that a message names, or those that run the code."""
    own = set().union(*(flags_of(command) for command in COMMANDS_OF[folder]))
    wrong = []
    for place, text in messages(folder):
        named = [flags_of(command) for command in COMMAND.findall(text) if command in COMMANDS]
        known = own.union(OF_OTHERS, *named)
        wrong += [(place, flag) for flag in FLAG.findall(text) if flag not in known and 'style=' not in text]
    assert not wrong


@pytest.mark.parametrize('folder', COMMANDS_OF)
def test_commands_keys_and_documents_in_messages_exist(folder: str):
    keys = sections()
    wrong = []
    for place, text in messages(folder):
        wrong += [(place, name) for name in COMMAND.findall(text) if name not in COMMANDS]
        wrong += [
            (place, f'{where}.{key}') for where, key in KEY.findall(text) if key not in {*keys[where], 'py', 'yml'}
        ]
        wrong += [(place, name) for name in DOCUMENT.findall(text) if not (REPOSITORY / name).is_file()]
    assert not wrong


@pytest.mark.parametrize('folder', COMMANDS_OF)
def test_an_error_is_one_line(folder: str):
    """What a log, a pipe or a `tail -1` shows is all of it, but for lists: a heading, and a line for each problem."""
    wrong = []
    for path, tree in trees(folder):
        for node in ast.walk(tree):
            call = node.exc if isinstance(node, ast.Raise) else None
            if not isinstance(call, ast.Call) or getattr(call.func, 'id', '') not in ('RFDNError', 'UsageError'):
                continue
            texts = [part.value for part in ast.walk(call) if isinstance(part, ast.Constant)]
            breaks = [text for text in texts if isinstance(text, str) and '\n' in text and text.strip()]
            wrong += [(f'{path}:{node.lineno}', text) for text in breaks]
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
