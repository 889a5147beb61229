"""`rfdn completion`, and what the shell is told: argcomplete asks the parser itself."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from rfdn_plugin.cli.registry import Action, command
from rfdn_plugin.utils.errors import RFDNError

_SHELLS = ('bash', 'zsh', 'fish')


@command('completion', 'the code by which a shell completes commands and flags')
def _completion(parser: argparse.ArgumentParser) -> Action:
    """Print what makes a shell complete commands, flags, shipped option files and weights. In ~/.bashrc or ~/.zshrc:

    eval "$(rfdn completion bash)", or zsh; in config.fish: rfdn completion fish | source. It needs the extra `completion`.
    """
    parser.add_argument('shell', choices=_SHELLS, help='whose code')

    def run(args: argparse.Namespace) -> None:
        try:
            from argcomplete.shell_integration import shellcode
        except ImportError as error:
            raise RFDNError('argcomplete is not installed: pip install argcomplete (>= 3).') from error
        print(shellcode(['rfdn'], shell=args.shell))

    return run


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and leave, where it is the shell that asks."""
    if '_ARGCOMPLETE' not in os.environ:
        return
    import argcomplete

    _complete_values(parser)
    argcomplete.autocomplete(parser)


def _complete_values(parser: argparse.ArgumentParser) -> None:
    """Shipped option files after -opt, and shipped weights wherever weights are named, beside the files that are there."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, subparser in action.choices.items():
                subparser.set_defaults(kind_of_options=name)
                _complete_values(subparser)
        elif '-opt' in action.option_strings:
            action.completer = _and_files(_option_files(parser.get_default('kind_of_options')))  # type: ignore[attr-defined]
        elif action.metavar == 'W':
            action.completer = _and_files(_weights)  # type: ignore[attr-defined]


def _option_files(command: str) -> Callable[[], list[str]]:
    from rfdn_plugin.options.shipped import KINDS, shipped_files

    kinds = [command] if command in KINDS else KINDS
    return lambda: [file.name.removeprefix(f'{command}/') for file in shipped_files() if file.kind in kinds]


def _weights() -> list[str]:
    from rfdn_plugin.zoo import PREFIX, zoo_names

    return [PREFIX + name for name in zoo_names()]


def _and_files(names: Callable[[], list[str]]) -> Callable:
    from argcomplete.completers import FilesCompleter

    return lambda prefix, **given: [*names(), *FilesCompleter()(prefix, **given)]
