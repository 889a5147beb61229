"""The option files that come with this package, by short names: no checkout is needed to train.

In a checkout they lie in options/, in an installed package in rfdn_plugin/option_files, in the same tree.
"""

from __future__ import annotations

import difflib
import itertools
import re
from pathlib import Path
from typing import NamedTuple

from rfdn_plugin.utils.errors import RFDNError

KINDS = ('train', 'test', 'leaderboard')
"""Kinds of option files: the command that reads them, and their folder."""
_PATH_ONLY = re.compile(r'^(options|~|\.{1,2})?[/\\]')
_NEAR = 5


class ShippedFile(NamedTuple):
    """An option file of this package.

    Attributes:
        name: Its path below the folder of option files, as `train/RFDN/train_RFDN_x2_scratch.yml`.
        path: The file.
    """

    name: str
    path: Path

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.name.split('/')[0]

    @property
    def title(self) -> str:
        """The first sentence of its first comment, after the line that names the schema."""
        with open(self.path, encoding='utf-8') as stream:
            comments = itertools.takewhile(lambda line: line.startswith('#'), stream)
            text = ' '.join(line[1:].strip() for line in comments if 'yaml-language-server' not in line)
        return re.split(r'\.(?:\s|$)', text, maxsplit=1)[0]


def options_folder() -> Path:
    """Path of the folder with the shipped option files and their schemas."""
    package = Path(__file__).resolve().parents[1]
    installed = package / 'option_files'
    return installed if installed.is_dir() else package.parent / 'options'


def shipped_files() -> list[ShippedFile]:
    """All option files of this package, by kind and name."""
    folder = options_folder()
    return [
        ShippedFile(path.relative_to(folder).as_posix(), path)
        for kind in KINDS
        for path in sorted((folder / kind).rglob('*.yml'))
    ]


def find_option_file(given: str | Path, kind: str | None = None) -> Path:
    """The option file that a command was given: the file of that path or, where there is none, a shipped one.

    Args:
        given: A path, or the end of a shipped file's name: `RFDN/train_RFDN_x2_scratch.yml`, `train_RFDN_x2_scratch`,
            A name that begins with `options/`, `./`, `../`, `~` or `/` is a path only: it may mean an edited copy.
        kind: One of `KINDS`, which command asks; None for any.

    Raises:
        RFDNError: There is no such file, the name fits several shipped ones, or the file is of another kind or no text.
    """
    path = Path(given)
    if path.exists():
        if path.is_file():
            _refuse_other(path, kind)
        return path
    fitting = [file for file in shipped_files() if _fits(file, _PATH_ONLY.sub('', str(given)))]
    if _PATH_ONLY.match(str(given)):
        cure = f' or, for the shipped file, give {fitting[0].name}' if fitting else _near(str(given), kind)
        raise RFDNError(f'no option file {given} in {Path.cwd()}: check the path{cure}, or see rfdn options list.')
    of_kind = [file for file in fitting if kind in (None, file.kind)]
    if len(of_kind) == 1:
        return of_kind[0].path
    if of_kind:
        names = ', '.join(file.name for file in of_kind)
        raise RFDNError(f'no option file {given} here, and several shipped ones are named so: say which of {names}.')
    if fitting:
        raise RFDNError(
            f'{given} is an option file of rfdn {fitting[0].kind} ({fitting[0].path}): name one of rfdn {kind}.'
        )
    raise RFDNError(
        f'no option file {given} in {Path.cwd()}, and none of that name is shipped{_near(str(given), kind)}: '
        'check the path, or see rfdn options list.'
    )


def _refuse_other(path: Path, kind: str | None) -> None:
    """Refuse a file that is no text, or clearly an option file of another command, by its sections."""
    content = path.read_bytes()
    if b'\0' in content[:4096]:
        raise RFDNError(f'{path} is no option file but binary: -opt takes a .yml, weights are named inside it.')
    text = content.decode('utf-8', errors='replace')
    has = {name: re.search(rf'^{name} *:', text, re.MULTILINE) for name in ('network_g', 'train', 'entries')}
    of: str | None = None
    if has['network_g']:
        of = 'train' if has['train'] else None if re.search(r'^ +train *:', text, re.MULTILINE) else 'test'
    elif has['entries']:
        of = 'leaderboard'
    if kind is not None and of not in (None, kind):
        raise RFDNError(f'{path} is an option file of rfdn {of}: run rfdn {of}, or give one of rfdn {kind}.')


def copy_option_files(names: list[str], folder: Path, *, overwrite: bool) -> list[Path]:
    """Copy shipped option files, with their tree and with the schemas that their first lines name.

    Args:
        names: Ends of shipped files' names as in `find_option_file`, or of their folders (`RFDN`, `train/quickstart`).
        folder: Gets `train/RFDN/....yml` and `schemas/`; made where missing.
        overwrite: Whether files that are there and differ are replaced.

    Returns:
        The option files below `folder`.

    Raises:
        RFDNError: A name fits nothing, or files would be replaced; before anything is written.
    """
    from rfdn_plugin.utils.files import atomic_write

    chosen: dict[str, Path] = {}
    for name in names:
        fitting = [file for file in shipped_files() if _fits(file, name) or _fits_folder(file, name)]
        if not fitting:
            raise RFDNError(
                f'no shipped option file or folder is named {name}{_near(name, None)}: see rfdn options list.'
            )
        chosen |= {file.name: file.path for file in fitting}
    schemas = {f'schemas/{name.split("/")[0]}.json' for name in chosen}
    sources = chosen | {name: options_folder() / name for name in schemas}
    changed = {
        folder / name: source.read_bytes()
        for name, source in sources.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != source.read_bytes()
    }
    if there := [path for path in changed if path.exists() and not overwrite]:
        others = f' and {len(there) - 1} more' if len(there) > 1 else ''
        raise RFDNError(f'{there[0]}{others} differs from the shipped file: give --overwrite, or another -o.')
    for path, content in changed.items():
        with atomic_write(path) as stream:
            stream.write(content)
    return [folder / name for name in chosen]


def _parts(name: str) -> list[str]:
    parts = Path(name.removesuffix('.yml').removesuffix('.yaml')).as_posix().split('/')
    return parts[1:] if parts[0] == 'options' and len(parts) > 1 else parts


def _fits(file: ShippedFile, given: str) -> bool:
    """Whether the name ends as `given`, folder by folder."""
    parts = _parts(given)
    return _parts(file.name)[-len(parts) :] == parts


def _fits_folder(file: ShippedFile, given: str) -> bool:
    """Whether one of its folders is named so; a name that ends in .yml is a file's."""
    if given.endswith('.yml'):
        return False
    parts = _parts(given)
    folders = _parts(file.name)[:-1]
    return any(folders[: depth + 1][-len(parts) :] == parts for depth in range(len(folders)))


def _near(given: str, kind: str | None) -> str:
    """The shipped names that are written most alike, as ` (near: A, B)`."""
    wanted = _parts(given)[-1].lower()
    names = {file.name: _parts(file.name)[-1].lower() for file in shipped_files() if kind in (None, file.kind)}
    nearest = difflib.get_close_matches(wanted, names.values(), n=_NEAR, cutoff=0.6)
    found = [name for near in dict.fromkeys(nearest) for name, stem in names.items() if stem == near]
    return f' (near: {", ".join(found[:_NEAR])})' if found else ''
