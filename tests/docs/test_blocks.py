"""README and docs: every command, piece of code and option section in them is run, or says why it is not.

An HTML comment in the line above a block marks it: `<!-- not run: the reason -->`, `<!-- needs: MODULE -->` where an
extra must be installed, or `<!-- file: NAME -->` where the reader saves it under that name. The blocks of a page are run
from top to bottom in one folder (`helpers.pages.make_workplace`). A block without a language below `<!-- output -->` is
what the block before it prints: its lines must come in that order, any digits for any digits, and `...` stands for lines
that are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import REPOSITORY
from helpers.pages import PAGES, TESTED, Block, blocks_of, inline_commands, make_workplace, rfdn_words

from rfdn_plugin import cli

BLOCKS = [block for page in PAGES for block in blocks_of(page)]

SMALL = 'network_g:num_feat=8 network_g:num_block=1'
SHORTER = {
    'name=tutorial_x2': f'name=tutorial_x2 {SMALL} train:total_iter=2 val:val_freq=2',
    '-opt tutorial_test.yml': f'-opt tutorial_test.yml --force_yml {SMALL}',
}
"""The tutorial trains for minutes; here it takes two steps of a smaller network."""


def run_here(block: Block) -> bool:
    return not block.reason and all(importlib.util.find_spec(name) for name in block.needs)


def bash(block: Block, capfd: pytest.CaptureFixture) -> str:
    """Run the lines of a bash block: `rfdn` in this process, everything else by bash; gives what they print."""
    printed = ''
    for line in block.commands():
        for shown, shorter in SHORTER.items():
            line = line.replace(shown, shorter)
        words = rfdn_words(line)
        if words is not None:
            code = cli.main(words)
        else:
            environment = {**os.environ, 'PATH': f'{Path("bin").resolve()}:{os.environ["PATH"]}'}
            code = subprocess.run(['bash', '-c', line], env=environment, timeout=120).returncode
        out, err = capfd.readouterr()
        printed += out + err
        assert code == 0, f'{block}: {line}: exit code {code}\n{(out + err)[-3000:]}'
    return printed


def check_output(block: Block, printed: str) -> None:
    def plain(text: str) -> str:
        return ' '.join(re.sub(r'\d+', '0', text).split())

    rest = [plain(line) for line in re.split(r'[\r\n]+', printed)]
    for line in block.text.splitlines():
        wanted = plain(line)
        if wanted in ('', '...'):
            continue
        assert wanted in rest, f'{block}: {line!r} is not printed, or not in this place, by the block above:\n{printed}'
        rest = rest[rest.index(wanted) + 1 :]


def merged(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}


def check_options(block: Block, folder: Path) -> None:
    """A leaderboard's file as it is; sections of a training put into a shipped option file."""
    from rfdn_plugin.leaderboard.options import parse_options
    from rfdn_plugin.options.load import load_training_options

    content = yaml.safe_load(block.text)
    if 'entries' in content:
        parse_options(content, str(block))
        return
    file = REPOSITORY / 'options/train/RFDN/train_RFDN_x2_scratch.yml'
    path = folder / 'block.yml'
    path.write_text(yaml.safe_dump(merged(yaml.safe_load(file.read_text()), content)))
    load_training_options(path)


@pytest.mark.parametrize('block', BLOCKS, ids=str)
def test_a_block_is_tested_or_says_why_not(block: Block):
    if block.language in TESTED:
        assert not block.mark or block.reason or block.needs or block.file, (
            f'{block}: no reason, or an unknown mark: {block.mark!r}'
        )
    else:
        assert not re.search(r'^\s*(rfdn [a-z]|scripts/\w+\.|pip |python )', block.text, re.MULTILINE), (
            f'{block}: say ```bash'
        )


def keep_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page registers is gone after it."""
    from basicsr.utils import registry

    for name in ('ARCH', 'DATASET', 'LOSS', 'METRIC', 'MODEL'):
        one = getattr(registry, f'{name}_REGISTRY')
        monkeypatch.setattr(one, '_obj_map', dict(one._obj_map))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setitem(sys.modules, 'my_parts', None)
    del sys.modules['my_parts']


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    blocks = [block for block in blocks_of(page) if block.language in TESTED or block.mark == 'output']
    if not any(run_here(block) for block in blocks):
        pytest.skip('nothing to run')
    make_workplace(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('RFDN_ZOO', str(tmp_path / 'zoo'))
    keep_registries(monkeypatch)
    printed, names = '', {'__name__': '__main__'}
    for block in blocks:
        if not run_here(block):
            printed = ''
        elif block.file:
            (tmp_path / block.file).write_text(block.text)
        elif block.language == 'bash':
            printed = bash(block, capfd)
        elif block.language == 'python':
            exec(compile(block.text, str(block), 'exec'), names)
        elif block.language == 'yaml':
            check_options(block, tmp_path)
        elif printed:
            check_output(block, printed)


def flags_of(command: str) -> set[str]:
    parser = argparse.ArgumentParser()
    cli.COMMANDS[command][1](parser)
    parsers = [parser]
    for action in parser._actions:  # `rfdn options copy` has flags of its own
        if isinstance(action, argparse._SubParsersAction):
            parsers += action.choices.values()
    return {flag for one in parsers for action in one._actions for flag in action.option_strings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_commands_and_flags_are_those_of_the_program(page: Path):
    """Also in the running text, and in blocks that are not run; option files that they name are there."""
    in_blocks = [rfdn_words(line) for block in blocks_of(page) if block.language == 'bash' for line in block.commands()]
    for words in [*inline_commands(page), *(words for words in in_blocks if words)]:
        name = words[0] if words else ''
        if not re.fullmatch('[a-z]+', name):  # `rfdn --help`, `rfdn COMMAND`
            continue
        assert name in cli.COMMANDS, f'{page.name}: rfdn {" ".join(words)}: no such command'
        given = {word for word in words if re.fullmatch('--?[a-z][a-z_-]*', word)}
        assert given <= flags_of(name), f'{page.name}: rfdn {" ".join(words)}: {given - flags_of(name)}'
        for word in words:
            assert not word.startswith('options/') or (REPOSITORY / word).exists(), f'{page.name}: no {word}'


def test_blocks_that_lie_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    """The checks above can fail: a command that fails, another output, an unknown key, a fence without a language."""
    page = REPOSITORY / 'README.md'
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match='exit code 1'):
        bash(Block(page, 1, 'bash', 'rfdn inspect no-such-file.pth', ''), capfd)
    (tmp_path / 'bin').mkdir()
    printed = bash(Block(page, 1, 'bash', f'{sys.executable} -c "print(\'12 dB\')"', ''), capfd)
    check_output(Block(page, 1, '', '7 dB', 'output'), printed)
    with pytest.raises(AssertionError, match='is not printed'):
        check_output(Block(page, 1, '', '7 dB\n8 dB', 'output'), printed)
    with pytest.raises(Exception, match='ema_dekay'):
        check_options(Block(page, 1, 'yaml', 'train: {ema_dekay: 0}', ''), tmp_path)
    with pytest.raises(AssertionError, match='say ```bash'):
        test_a_block_is_tested_or_says_why_not(Block(page, 1, '', 'rfdn list', ''))
