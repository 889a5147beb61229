"""Option files as plain YAML: read by a safe loader, changed from the command line, and their problems told.

Shared by the options of training and testing (`options.py`) and of the leaderboard.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from rfdn_plugin.utils.errors import RFDNError

FEW = 15
"""Names that a line has room for."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's floats (`1e-3` is a number), refusing a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, 'a list or section as a key', key_node.start_mark)
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'key {key_node.value!r} twice', key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float', re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$'), list('-+.0123456789')
)


def read_yaml(path: str | Path) -> dict:
    """The mapping that a YAML file holds.

    Raises:
        RFDNError: The file is missing, is no YAML, holds a Python object (which BasicSR's own loader would execute), or
            is no mapping.
    """
    path = Path(path)
    if path.is_dir():
        raise RFDNError(f'{path} is a folder: name an option file in it.')
    if not path.is_file():
        raise RFDNError(f'no option file {path}: check the path (relative to {Path.cwd()}).')
    try:
        content = yaml.load(path.read_text(encoding='utf-8'), Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:  # also a date of month 13
        mark, problem = getattr(error, 'problem_mark', None), getattr(error, 'problem', None) or str(error)
        where = f'{path}, line {mark.line + 1}' if mark else str(path)
        raise RFDNError(f'{where}: no safe YAML ({problem}).') from error
    if not isinstance(content, dict):
        raise RFDNError(f'{path} is no option file: it must be a mapping with name, datasets, network_g, ...')
    return content


def apply_overrides(options: dict, overrides: Sequence[str]) -> None:
    """Set `--force_yml` entries, `train:optim_g:lr=1e-4`: the value is read as YAML, never executed.

    Raises:
        RFDNError: An entry without `=`, or whose parent section does not exist.
    """
    for entry in overrides:
        keys, equals, value = entry.partition('=')
        *parents, leaf = (key.strip() for key in keys.split(':'))
        if not equals or not leaf:
            raise RFDNError(f'--force_yml {entry}: write SECTION:KEY=VALUE, for example train:total_iter=1000.')
        if '.' in keys.partition(':')[0]:
            right = keys.strip().replace('.', ':')
            raise RFDNError(f'--force_yml {entry}: the parts of a key are joined by colons: {right}={value.strip()}.')
        section = options
        for depth, key in enumerate(parents):
            where = ':'.join(parents[: depth + 1])
            if key not in section:
                sections = [name for name, inside in section.items() if isinstance(inside, dict)]
                raise RFDNError(f'--force_yml {entry}: there is no section {where}{did_you_mean(key, sections)}.')
            if not isinstance(section[key], dict):
                what = 'a list' if isinstance(section[key], list) else f'{as_yaml(section[key])}, one value'
                raise RFDNError(f'--force_yml {entry}: {where} is {what}, no section: give it whole, as {where}=...')
            section = section[key]
        try:
            section[leaf] = yaml.load(value, Loader=_Loader)
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:
            cure = f'write text in quotes of its own, {leaf}="\'...\'"'
            raise RFDNError(f'--force_yml {entry}: {value!r} is no YAML value: {cure}.') from error


def as_yaml(value: Any) -> str:
    """A value as one would write it in an option file: true, ~, 255, [1, 2]."""
    if isinstance(value, float):
        return f'{value:g}'
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
        .split('\n')[0]
        .replace('null', '~')
    )


def list_problems(path: str | Path, problems: Sequence[str]) -> str:
    """One line where there is one problem, else a line each below a heading."""
    if len(problems) == 1:
        return f'{path}: {problems[0]}'
    return '\n  '.join([f'{path}: {len(problems)} problems:', *problems])


def did_you_mean(name: str, known: Iterable) -> str:
    """ " (did you mean X?)" with the nearest known name; without a near one all of them where they are few, or nothing."""
    names = [str(key) for key in known if str(key) != name]
    lower: dict[str, str] = {}
    for one in names:
        lower.setdefault(one.lower(), one)
    matches = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if matches:
        return f' (did you mean {lower[matches[0]]}?)'
    return f' (known: {", ".join(names)})' if 0 < len(names) <= FEW else ''
