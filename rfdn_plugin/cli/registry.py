"""The subcommands of `rfdn`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

# A subcommand adds its arguments to the parser and returns what runs with the parsed arguments.
Action = Callable[[argparse.Namespace], 'int | None']
COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], Action]]] = {}


def command(name: str, summary: str) -> Callable:
    """Register a subcommand under `name`; `summary` is its line in `rfdn --help`."""

    def register(define: Callable[[argparse.ArgumentParser], Action]) -> Callable:
        COMMANDS[name] = (summary, define)
        return define

    return register
