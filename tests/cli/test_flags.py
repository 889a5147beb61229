"""One name for one thing over all commands: the parser against the table in CONTRIBUTING.md."""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfdn_plugin.cli import build_parser

ROW = re.compile(r'^\| ((?:`-[^`]+`(?:, )?)+) \|([^|]*)\|', re.MULTILINE)


def actions(parser: argparse.ArgumentParser, command: str = '') -> Iterator[tuple[str, argparse.Action]]:
    """Every argument of every command, with the command's name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, subparser in action.choices.items():
                yield from actions(subparser, f'{command} {name}'.strip())
        elif command and not isinstance(action, argparse._HelpAction):
            yield command, action


FLAGS: dict[str, list[argparse.Action]] = defaultdict(list)
for _, action in actions(build_parser()):
    for flag in action.option_strings:
        FLAGS[flag].append(action)
SHARED = {flag: found for flag, found in FLAGS.items() if len(found) > 1}


@pytest.fixture(scope='module')
def table(repository: Path) -> dict[str, set[str]]:
    """Flag to the values that it may have."""
    section = (repository / 'CONTRIBUTING.md').read_text(encoding='utf-8').partition('## Flags')[2]
    rows = [
        (re.findall('`([^`]+)`', flags), set(re.findall('`([^`]+)`', values))) for flags, values in ROW.findall(section)
    ]
    return {flag: values for flags, values in rows for flag in flags}


def test_the_table_has_the_shared_flags_and_no_others(table: dict[str, set[str]]):
    assert set(table) == set(SHARED)


@pytest.mark.parametrize('flag', sorted(SHARED))
def test_a_flag_is_the_same_wherever_it_is(flag: str, table: dict[str, set[str]]):
    found = SHARED[flag]
    assert {action.metavar for action in found} == (table[flag] or {None})
    assert len({(type(action), action.type, action.nargs) for action in found}) == 1
    if flag not in ('-o', '--output', '--out'):  # which keep the names that they had first
        assert len({action.dest for action in found}) == 1


@pytest.mark.parametrize('flag', sorted(FLAGS))
def test_flags_are_words_with_dashes(flag: str, table: dict[str, set[str]]):
    if flag not in ('-o', '-opt', '--force_yml', '--auto_resume', '--local_rank'):  # BasicSR's, and the one letter
        assert re.fullmatch(r'--[a-z]+(-[a-z]+)*', flag)


def test_every_command_that_takes_weights_takes_what_they_do_not_say():
    said = {'--type', '--img-range', '--upscale', '--argument', '--param-key'}
    takes = defaultdict(set)
    for command, action in actions(build_parser()):
        takes[command] |= {*action.option_strings, action.metavar if action.metavar == 'W' else None}
    with_weights = {command for command, flags in takes.items() if 'W' in flags}
    assert {'inspect', 'upscale', 'export', 'convert', 'transfer'} <= with_weights
    assert all(said <= takes[command] for command in with_weights)
