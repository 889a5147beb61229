"""The weights that this package ships, by name: `zoo:RFDN_x2` stands wherever a weights file may be named.

A name becomes a path in one place (`weights.checkpoint.read_checkpoint`), so commands, option files and leaderboard
entries need not know of the zoo. The environment variable `RFDN_ZOO` names another folder of .safetensors files, such as
a team's own weights.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rfdn_plugin.utils.errors import RFDNError

PREFIX = 'zoo:'
FOLDER_VARIABLE = 'RFDN_ZOO'
SUFFIX = '.safetensors'


def zoo_folder() -> Path:
    """Path of the folder with the shipped weights: `RFDN_ZOO`, else the one inside the package."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else Path(__file__).parent


def zoo_names(folder: Path | None = None) -> list[str]:
    """The names of the weights in the zoo, without the prefix, sorted."""
    folder = folder or zoo_folder()
    return sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f'*{SUFFIX}') if path.is_file())


def is_zoo_name(weights: str | os.PathLike[str]) -> bool:
    """Whether weights are named as `zoo:NAME`."""
    return os.fspath(weights).startswith(PREFIX)


def weights_path(weights: str | os.PathLike[str], folder: Path | None = None) -> Path:
    """The file of weights that are named by a path or as `zoo:NAME`.

    Args:
        weights: A path, which is returned as it is, or `zoo:` and a name.
        folder: Where to look instead of `zoo_folder()`.

    Raises:
        RFDNError: The zoo has no such name; the message lists those that it has.
    """
    if not is_zoo_name(weights):
        return Path(weights)
    folder = folder or zoo_folder()
    name = os.fspath(weights).removeprefix(PREFIX).removesuffix(SUFFIX)
    names = zoo_names(folder)
    if name in names:
        return folder / f'{name}{SUFFIX}'
    if not names:
        raise RFDNError(f'{PREFIX}{name}: {folder} holds no weights: name a weights file.')
    listed = ', '.join(PREFIX + other for other in names)
    raise RFDNError(f'{PREFIX}{name} is not in the zoo ({folder}): take one of {listed}, or name a weights file.')


def default_name(network: str, scale: int) -> str:
    """How shipped weights of a network and scale are named: `zoo:RFDN_x2`."""
    return f'{PREFIX}{network}_x{scale}'


def list_zoo(folder: Path | None = None) -> list[dict[str, Any]]:
    """What the zoo holds.

    Returns:
        For each file: `name` (with the prefix), `file`, `bytes`, and `card`, what its header says of it.

    Raises:
        RFDNError: A file is no whole .safetensors file.
    """
    folder = folder or zoo_folder()
    entries = []
    for name in zoo_names(folder):
        path = folder / f'{name}{SUFFIX}'
        entry = {'name': PREFIX + name, 'file': str(path), 'bytes': path.stat().st_size, 'card': _card(path)}
        entries.append(entry)
    return entries


def _card(path: Path) -> dict[str, str]:
    """The metadata of a .safetensors file, by its header alone: eight bytes of length, then JSON."""
    with open(path, 'rb') as stream:
        length = int.from_bytes(stream.read(8), 'little')
        try:
            header = json.loads(stream.read(length) if length < path.stat().st_size else b'')
            return {str(key): str(value) for key, value in sorted(header.get('__metadata__', {}).items())}
        except (ValueError, AttributeError) as error:
            raise RFDNError(f'{path} is no whole safetensors file: fetch or write it again.') from error
