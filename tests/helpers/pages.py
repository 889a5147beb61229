"""The fenced blocks of README and docs, and a folder in which they can be run."""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from helpers import REPOSITORY
from helpers.images import photograph, write

PAGES = sorted([*REPOSITORY.glob('*.md'), *(REPOSITORY / 'docs').glob('*.md')])
TESTED = ('bash', 'python', 'yaml')
"""Languages whose blocks are run, or read as options."""

_BLOCK = re.compile(r'^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$', re.DOTALL | re.MULTILINE)
_SHELL = set('|<>$;&(`*?')


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The file it stands in.
        line: The line of its first fence.
        language: The word behind the fence, or ''.
        text: What is inside, without the indentation of the fence.
        mark: The words of an HTML comment in the line above, or ''.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str

    def __str__(self) -> str:
        return f'{self.page.relative_to(REPOSITORY)}:{self.line}'

    @property
    def reason(self) -> str:
        """Why it is not run here, or ''."""
        return self.mark.removeprefix('not run:').strip() if self.mark.startswith('not run:') else ''

    @property
    def needs(self) -> list[str]:
        """Modules without which it is not run."""
        return self.mark.removeprefix('needs:').split() if self.mark.startswith('needs:') else []

    @property
    def file(self) -> str:
        """The name under which the reader saves it, or ''."""
        return self.mark.removeprefix('file:').strip() if self.mark.startswith('file:') else ''

    def commands(self) -> list[str]:
        """The lines of a bash block, continued ones joined, without comments and empty ones."""
        lines = self.text.replace('\\\n', ' ').splitlines()
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith('#')]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding='utf-8')
    found = []
    for match in _BLOCK.finditer(text):
        above = text[: match.start()].rstrip('\n').rsplit('\n', 1)[-1].strip()
        mark = re.fullmatch(r'<!-- (.*) -->', above)
        inside = textwrap.dedent(match['text'])
        line = text.count('\n', 0, match.start()) + 1
        found.append(Block(page, line, match['language'], inside, mark[1] if mark else ''))
    return found


def rfdn_words(line: str) -> list[str] | None:
    """What follows `rfdn` in a line that needs no shell; None for any other line."""
    words = shlex.split(line, comments=True)
    unquoted = re.sub(r'"[^"]*"|\'[^\']*\'', '', line.split(' #')[0])
    return words[1:] if words[:1] == ['rfdn'] and not _SHELL & set(unquoted) else None


def inline_commands(page: Path) -> Iterator[list[str]]:
    """The words behind `rfdn` of commands in running text and tables."""
    text = re.sub(r'^ *```.*?^ *```$', '', page.read_text(encoding='utf-8'), flags=re.DOTALL | re.MULTILINE)
    for found in re.findall(r'`rfdn ([^`]+)`', text):
        yield shlex.split(found.replace('\n', ' '))


def make_workplace(folder: Path) -> None:
    """Fill `folder` with what the pages name: images, small data sets, weights, the option files, and `rfdn` in bin/.

    Weights are of small networks, the ones in zoo/ (`$RFDN_ZOO`) too; RFDN_x2.safetensors is the shipped file.
    """
    from helpers.networks import small_arguments, small_network
    from rfdn_plugin.data.bicubic import downscale
    from rfdn_plugin.weights.card import model_card
    from rfdn_plugin.weights.convert import write_weights

    for number, name in enumerate(('photo.png', 'photo.jpg', 'photos/1.png', 'photos/2.jpg', 'more/3.png')):
        write(folder / name, photograph(number, 48, 60))
    cv2.imwrite(str(folder / 'poster.tiff'), photograph(9, 40, 50).astype('uint16') * 257)
    for name in ('DIV2K/DIV2K_train_HR', 'BSDS500_train', 'Set5/HR', 'Set14/HR', 'B100/HR', 'Urban100/HR', 'mine/HR'):
        for number in range(2):
            image = photograph(len(name) * 10 + number, 96, 120)
            write(folder / 'datasets' / name / f'{number + 1:04d}.png', image)
            if name == 'mine/HR':
                write(folder / 'datasets/mine/LR_bicubic/X2' / f'{number + 1:04d}x2.png', downscale(image, 2))

    def weights(name: str, layout: str, network: str, **arguments: int) -> None:
        card = model_card(network, small_arguments(network, **arguments))
        (folder / name).parent.mkdir(exist_ok=True)
        write_weights(folder / name, small_network(network, **arguments).state_dict(), card, layout)

    weights('net_g_latest.pth', 'basicsr', 'RFDN')
    weights('RFDN_AIM.pth', 'basicsr', 'E_RFDN', upscale=4, img_range=255)
    for scale in (2, 3, 4):
        weights(f'zoo/RFDN_x{scale}.safetensors', 'safetensors', 'RFDN', upscale=scale)
    shutil.copy(REPOSITORY / 'rfdn_plugin/zoo/RFDN_x2.safetensors', folder)

    for name in ('options', 'scripts'):
        (folder / name).symlink_to(REPOSITORY / name)
    shim = folder / 'bin/rfdn'
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rfdn_plugin "$@"\n')
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
