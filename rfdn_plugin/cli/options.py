"""`rfdn options`."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from pathlib import Path

from rfdn_plugin.cli.arguments import add_json, print_json
from rfdn_plugin.cli.registry import Action, command
from rfdn_plugin.options.shipped import KINDS, copy_option_files, shipped_files


@command('options', 'list or copy the option files that are shipped')
def _options(parser: argparse.ArgumentParser) -> Action:
    """List the option files that are shipped, or copy some to change them.

    Where there is no file of that path, -opt of rfdn train, test and leaderboard takes a name of this list, whole or its end.
    """
    does = parser.add_subparsers(dest='does', metavar='list | copy', required=True)
    listing = does.add_parser('list', help='names, and what each file is for', description='List them.')
    add_json(listing)
    listing.set_defaults(does=_list)
    hint = 'Copy them with their folders and schemas, so that editors complete their keys.'
    copying = does.add_parser('copy', help='to a folder, to change them', description=hint)
    copying.add_argument('names', nargs='+', metavar='NAME', help='as in the list, or a folder of it, as RFDN')
    copying.add_argument(
        '-o', '--output', type=Path, default=Path('options'), metavar='DIR', help='where to (default: options)'
    )
    copying.add_argument('--overwrite', action='store_true', help='replace files that differ')
    copying.set_defaults(does=_copy)
    return lambda args: args.does(args)


def _list(args: argparse.Namespace) -> None:
    files = shipped_files()
    if args.json:
        print_json([{'name': one.name, 'kind': one.kind, 'file': one.path, 'title': one.title} for one in files])
        return
    width = shutil.get_terminal_size(fallback=(160, 0)).columns
    for kind in KINDS:
        of_kind = {one.name.removeprefix(f'{kind}/'): one.title for one in files if one.kind == kind}
        column = max(map(len, of_kind)) + 2
        print(f'rfdn {kind} -opt')
        for name, title in of_kind.items():
            short = re.sub(r' \([^)]*\)', '', title)  # the source of each network is in the file
            lines = textwrap.wrap(short, max(width - column - 2, 20))
            print(f'  {name:<{column}}' + ('\n' + ' ' * (column + 2)).join(lines))


def _copy(args: argparse.Namespace) -> None:
    for path in copy_option_files(args.names, args.output, overwrite=args.overwrite):
        print(path)
