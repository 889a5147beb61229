"""`rfdn leaderboard`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rfdn_plugin.cli.arguments import add_output_folder, at_least_one, option_file
from rfdn_plugin.cli.registry import Action, command


@command('leaderboard', 'measure entries on test sets: quality, cost, significance')
def _leaderboard(parser: argparse.ArgumentParser) -> Action:
    """Measure every entry of an option file. Exit code 3: done, but an entry failed; the table names it."""
    parser.add_argument(
        '-opt', required=True, metavar='FILE', help='an option file, or a shipped one (rfdn options list)'
    )
    add_output_folder(parser, 'folder of the results (default: results/leaderboard/NAME)', required=False)
    parser.add_argument(
        '--workers', type=at_least_one, metavar='N', help='processes on a CPU (default: as many as it has cores)'
    )

    def run(args: argparse.Namespace) -> int:
        path = option_file(args.opt, 'leaderboard')
        from rfdn_plugin.leaderboard.board import run as run_leaderboard
        from rfdn_plugin.leaderboard.options import load_options
        from rfdn_plugin.leaderboard.report.tables import print_board

        options = load_options(path)
        out = args.out or Path('results') / 'leaderboard' / options.name
        board = run_leaderboard(options, out, args.workers)
        print_board(board)
        comparisons = ', comparisons/' if (out / 'comparisons').is_dir() else ''
        print(f'Written to {out}: leaderboard.html, .md, .json, two .csv files{comparisons}')
        return 3 if any('error' in row for row in board['entries']) else 0

    return run
