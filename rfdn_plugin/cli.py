"""The `rfdn` command: thin, one function per subcommand; the work is done by the modules that they call.

Nothing heavy is imported before a subcommand runs, so `--help` and usage errors answer at once.
Exit codes: 0 done, 1 failure (one line on stderr), 2 usage; a subcommand may name further ones in its help.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rfdn_plugin import __version__
from rfdn_plugin.errors import RFDNError

# A subcommand adds its arguments to the parser and returns what runs with the parsed arguments.
Action = Callable[[argparse.Namespace], 'int | None']
_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], Action]]] = {}


def command(name: str, summary: str) -> Callable:
    """Register a subcommand under `name`; `summary` is its line in `rfdn --help`."""

    def register(define: Callable[[argparse.ArgumentParser], Action]) -> Callable:
        _COMMANDS[name] = (summary, define)
        return define

    return register


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='rfdn', description='Train, compare and deploy small super-resolution networks.'
    )
    parser.add_argument('--version', action='version', version=f'rfdn_plugin {__version__}')
    parser.add_argument('--debug', action='store_true', help='print the traceback of an error')
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for name, (summary, define) in _COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=define.__doc__ or summary)
        subparser.set_defaults(action=define(subparser))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code. This is the entry point of the `rfdn` script."""
    args = build_parser().parse_args(argv)
    try:
        return args.action(args) or 0
    except RFDNError as error:
        failure: BaseException = error
    except OSError as error:  # disk full, no permission, no such file: the system's own words name the file
        failure = error
    if args.debug:
        raise failure
    print(f'rfdn {args.command}: {failure}', file=sys.stderr)
    return 1


@command('train', 'train a network from an option file')
def _train(parser: argparse.ArgumentParser) -> Action:
    """Train a network: BasicSR's training below the working directory, checked before it starts."""
    from rfdn_plugin.train import add_arguments

    add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.train import train

        return train(args)

    return run


@command('test', 'test a network from an option file')
def _test(parser: argparse.ArgumentParser) -> Action:
    """Test a network: BasicSR's test below the working directory, refused where no weights would be loaded."""
    from rfdn_plugin.train import add_arguments

    add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.train import test

        return test(args)

    return run


@command('leaderboard', 'measure entries on test sets: quality, cost, significance')
def _leaderboard(parser: argparse.ArgumentParser) -> Action:
    """Measure every entry of an option file. Exit code 3: done, but an entry failed; the table names it."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file, see options/leaderboard/')
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder of the results (default: results/leaderboard/NAME)')
    parser.add_argument('--workers', type=int, metavar='N', help='processes on a CPU (default: as many as it has cores)')

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.leaderboard.board import run as run_leaderboard
        from rfdn_plugin.leaderboard.options import load_options
        from rfdn_plugin.leaderboard.tables import print_board

        options = load_options(args.opt)
        out = args.out or Path('results') / 'leaderboard' / options.name
        board = run_leaderboard(options, out, args.workers)
        print_board(board)
        print(f'Written to {out}: leaderboard.html, .md, .json, two .csv files, comparisons/')
        return 3 if any('error' in row for row in board['entries']) else 0

    return run


@command('list', 'the registered networks with parameters and multi-adds')
def _list(parser: argparse.ArgumentParser) -> Action:
    """The registered networks with parameters and multi-adds (output of 1280x720) at x2, x3 and x4."""
    parser.add_argument('--json', action='store_true', help='whole numbers as JSON')

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.leaderboard.networks import print_networks

        print_networks(as_json=args.json)

    return run


if __name__ == '__main__':
    sys.exit(main())
