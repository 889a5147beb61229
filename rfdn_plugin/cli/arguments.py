"""Arguments of the `rfdn` command that several subcommands share, and the values that arguments may have.

Nothing heavy is imported before a subcommand runs.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rfdn_plugin.utils.errors import UsageError


# --- what several commands have ------------------------------------------------------------------------------------
def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`: `print_json` prints what the command has to say."""
    parser.add_argument('--json', action='store_true', help='print it as JSON, for programs')


def print_json(content: Any, **further: Any) -> None:
    """Print a dataclass, or lists and dicts, as JSON with `further` entries: paths as text, counts as numbers."""
    import dataclasses
    import json

    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        content = dataclasses.asdict(content) | further
    print(json.dumps(content, indent=1, ensure_ascii=False, default=str))


def add_output_folder(parser: argparse.ArgumentParser, help: str, *, required: bool = True) -> None:
    """`-o` as every command calls it; `--out` is what this one was first given by."""
    parser.add_argument('-o', '--output', '--out', dest='out', type=Path, required=required, metavar='DIR', help=help)


# --- option files ---------------------------------------------------------------------------------------------------
def option_file(given: str, kind: str | None = None) -> str:
    """The option file that a command was given by its path or by the short name of a shipped one, which is then said.

    Raises:
        RFDNError: As `options.shipped.find_option_file`.
    """
    from rfdn_plugin.options.shipped import find_option_file

    path = str(find_option_file(given, kind))
    if path != str(Path(given)):
        print(f'-opt {given}: the shipped file {path}', file=sys.stderr)
    return path


# --- weights -------------------------------------------------------------------------------------------------------
def add_weights(parser: argparse.ArgumentParser) -> None:
    """The file that a command reads, and what it may leave unsaid."""
    readable = '.pth, .pkl, .safetensors, or zoo:NAME (rfdn list --zoo)'
    parser.add_argument('--weights', type=Path, required=True, metavar='W', help=readable)
    add_identity(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    """The weights file that a command writes."""
    output_help = '.safetensors or .pth; made with its folders, replaced where it is there'
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE', help=output_help)


def add_identity(parser: argparse.ArgumentParser) -> None:
    """What a weights file may leave unsaid."""
    add = parser.add_argument
    add('--type', metavar='NETWORK', help='the network, where the file does not show it (rfdn list)')
    add('--img-range', type=positive, metavar='R', help='the range its body works on, as a rule 1 or 255, likewise')
    add('--upscale', type=at_least_one, metavar='S', help='the scale of an IDN, likewise')
    hint = 'another argument of the network that weights do not show, as block_residual=false; may be repeated'
    add('--argument', type=key_and_value, action='append', default=[], metavar='KEY=VALUE', help=hint)
    add('--param-key', metavar='KEY', help='which weights of several, as params or params_ema')


def network_overrides(args: argparse.Namespace) -> dict:
    """What `add_identity` was given, as arguments of `weights.loading.identify_file`.

    Raises:
        UsageError: There is no such network, or --argument says what has a name of its own or is no value.
    """
    import yaml

    from rfdn_plugin.archs import NETWORKS
    from rfdn_plugin.options.yaml_io import did_you_mean

    if args.type is not None and args.type not in NETWORKS:
        raise UsageError(f'--type {args.type}: no such network{did_you_mean(args.type, NETWORKS)}: see rfdn list.')
    said = {'type': args.type, 'img_range': args.img_range, 'upscale': args.upscale, 'param_key': args.param_key}
    if twice := [key for key, _ in args.argument if key in said]:
        raise UsageError(f'--argument {twice[0]}: say --{twice[0].replace("_", "-")}.')
    try:
        return said | {key: yaml.safe_load(value) for key, value in args.argument}
    except yaml.YAMLError as error:
        raise UsageError('--argument: a value is true, false, a number or a word.') from error


# --- values --------------------------------------------------------------------------------------------------------
def key_and_value(text: str) -> tuple[str, str]:
    """KEY=VALUE."""
    key, equals, value = text.partition('=')
    if not (key and equals):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form KEY=VALUE, as licence=MIT')
    return key, value


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, lambda value: 0 <= value <= 1, 'from 0 to 1')


def positive(text: str) -> float:
    """A finite number above 0."""
    return _number(text, lambda value: 0 < value < math.inf, 'above 0')


def _number(text: str, fits: Callable[[float], bool], wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number {wanted}')
    return value


def at_least_one(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of at least 1')
    return int(text)


def scale_and_folder(text: str) -> tuple[int, Path]:
    """S=DIR."""
    scale, equals, folder = text.partition('=')
    if not (scale.isdigit() and equals and folder):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form S=DIR, as 2=DIV2K_train_LR_bicubic/X2')
    return int(scale), Path(folder)


def part_of_whole(text: str) -> tuple[int, int]:
    """I/N."""
    part, slash, whole = text.partition('/')
    if not (part.isdigit() and slash and whole.isdigit()):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form I/N, as 1/8')
    return int(part), int(whole)
