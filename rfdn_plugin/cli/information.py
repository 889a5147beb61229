"""`rfdn list` and `rfdn schema`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rfdn_plugin.cli.registry import Action, command


@command('list', 'the registered networks with parameters and multi-adds')
def _list(parser: argparse.ArgumentParser) -> Action:
    """The registered networks with parameters and multi-adds (output of 1280x720) at x2, x3 and x4."""
    parser.add_argument('--json', action='store_true', help='whole numbers as JSON')

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.leaderboard.measure.networks import print_networks

        print_networks(as_json=args.json)

    return run


@command('schema', 'the JSON schema of the option files')
def _schema(parser: argparse.ArgumentParser) -> Action:
    """Print the schema by which editors complete and check option files; the first line of ours names it."""
    kinds = ('train', 'test', 'leaderboard')
    parser.add_argument('kind', nargs='?', choices=kinds, default='train', help='of option file (default: train)')
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help='write it there instead')

    def run(args: argparse.Namespace) -> None:
        import json

        from rfdn_plugin.options.json_schema import json_schema
        from rfdn_plugin.utils.files import atomic_write

        text = json.dumps(json_schema(args.kind), indent=1, ensure_ascii=False)
        if args.output is None:
            print(text)
            return
        with atomic_write(args.output, 'w') as stream:
            stream.write(text + '\n')

    return run
