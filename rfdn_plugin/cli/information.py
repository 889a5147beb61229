"""`rfdn list` and `rfdn schema`."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from pathlib import Path
from typing import Any

from rfdn_plugin.cli.arguments import add_json, print_json
from rfdn_plugin.cli.registry import Action, command
from rfdn_plugin.options.shipped import KINDS


@command('list', 'the registered networks with parameters and multi-adds')
def _list(parser: argparse.ArgumentParser) -> Action:
    """The registered networks with parameters and multi-adds (output of 1280x720) at x2, x3 and x4."""
    add_json(parser)
    zoo_help = 'the weights that are shipped, which any command takes as zoo:NAME'
    parser.add_argument('--zoo', action='store_true', help=zoo_help)

    def run(args: argparse.Namespace) -> None:
        if args.zoo:
            _print_zoo(as_json=args.json)
            return
        from rfdn_plugin.leaderboard.networks import print_networks

        print_networks(as_json=args.json)

    return run


def _print_zoo(*, as_json: bool) -> None:
    from rfdn_plugin.zoo import list_zoo, zoo_folder

    entries = list_zoo()
    if as_json:
        print_json(entries)
        return
    if not entries:
        print(f'{zoo_folder()} holds no weights.')
    width = max(shutil.get_terminal_size(fallback=(160, 0)).columns, 40)
    for entry in entries:
        card = entry['card']
        said = {key: card[key] for key in ('training_data', 'iterations', 'metrics', 'licence') if key in card}
        what = f'{card.get("network", "network not said")} x{card.get("upscale", "?")}, {entry["bytes"]:,} bytes'
        print(f'{entry["name"]}: {what}')
        for key, value in said.items():
            print(textwrap.fill(f'{key}: {value}', width, initial_indent='  ', subsequent_indent='    '))


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON schema of the option files of `rfdn train`, `rfdn test` or `rfdn leaderboard`."""
    if kind == 'leaderboard':
        from rfdn_plugin.leaderboard.json_schema import leaderboard_schema

        return leaderboard_schema()
    from rfdn_plugin.options.json_schema import json_schema

    return json_schema('train' if kind == 'train' else 'test')


@command('schema', 'the JSON schema of the option files')
def _schema(parser: argparse.ArgumentParser) -> Action:
    """Print the schema by which editors complete and check option files; the first line of ours names it."""
    parser.add_argument('kind', nargs='?', choices=KINDS, default='train', help='of option file (default: train)')
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help='write it there instead')

    def run(args: argparse.Namespace) -> None:
        import json

        from rfdn_plugin.utils.files import atomic_write

        text = json.dumps(schema_of(args.kind), indent=1, ensure_ascii=False)
        if args.output is None:
            print(text)
            return
        with atomic_write(args.output, 'w') as stream:
            stream.write(text + '\n')

    return run
