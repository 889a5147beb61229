"""The `rfdn` command: thin, one function per subcommand in the modules of this folder; the work is done by what they call.

Nothing heavy is imported before a subcommand runs, so `--help` and usage errors answer at once.
Exit codes: 0 done, 1 failure (one line on stderr), 2 usage, 130 stopped by Ctrl+C; a subcommand may name further ones
in its help.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from rfdn_plugin.cli import (  # noqa: F401  (each registers its commands)
    autoload,
    completion,
    data,
    doctor,
    export,
    information,
    leaderboard,
    options,
    quickstart,
    training,
    upscale,
    weights,
)
from rfdn_plugin.cli.registry import COMMANDS
from rfdn_plugin.utils.errors import RFDNError, UsageError, explain
from rfdn_plugin.utils.output import lasting
from rfdn_plugin.utils.text import shown
from rfdn_plugin.utils.version import __version__

# The commands in the order of `rfdn --help`, by what they are for.
GROUPS = {
    'Images and models': ('upscale', 'export'),
    'Training': ('quickstart', 'prepare', 'merge', 'verify', 'train', 'test'),
    'Comparison': ('leaderboard',),
    'Networks and weights': ('list', 'inspect', 'convert', 'transfer'),
    'Option files': ('options', 'schema'),
    'Installation': ('doctor', 'autoload', 'completion'),
}


def _overview() -> str:
    lines = ['Train, compare and deploy small super-resolution networks.', 'rfdn COMMAND --help describes a command.']
    for title, names in GROUPS.items():
        lines += ['', f'{title}:', *(f'  {name:<13}{COMMANDS[name][0]}' for name in names)]
    return '\n'.join(lines)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='rfdn',
        usage='rfdn [-h] [--version] [--debug] COMMAND ...',
        description=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'rfdn_plugin {__version__}')
    parser.add_argument('--debug', action='store_true', help='print the traceback of an error')
    subparsers = parser.add_subparsers(
        dest='command', metavar='COMMAND', required=True, prog='rfdn', help=argparse.SUPPRESS
    )
    for name, (summary, define) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=define.__doc__ or summary)
        subparser.set_defaults(action=define(subparser))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code. This is the entry point of the `rfdn` script."""
    parser = build_parser()
    completion.complete(parser)
    args = parser.parse_args(argv)
    failure: BaseException
    try:
        with lasting('stderr'):  # nothing that a command does depends on who reads its progress
            code = args.action(args) or 0
        sys.stdout.flush()
        return code
    except UsageError as error:
        failure, text, code = error, str(error), 2
    except RFDNError as error:
        failure, text, code = error, str(error), 1
    except ModuleNotFoundError as error:
        name = (error.name or '').split('.')[0]
        if name in ('', 'rfdn_plugin'):  # a problem of ours
            raise
        failure, text, code = error, f'{name} is not installed: rfdn doctor says how it is.', 1
    except BrokenPipeError:  # as in `rfdn options list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:  # disk full, no permission, no such file
        failure, text, code = error, explain(error), 1
    except KeyboardInterrupt as error:
        failure, text, code = error, str(error) or 'stopped.', 128 + signal.SIGINT
    if args.debug:
        raise failure
    text = '\n'.join(map(shown, text.split('\n')))  # an escape in a name would reach the terminal
    print(f'rfdn {args.command}: {text}', file=sys.stderr)
    return code
