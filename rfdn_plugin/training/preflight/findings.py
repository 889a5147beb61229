"""What the checks before a run have found: problems, which stop it, and notes, which are worth saying."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rfdn_plugin.options.yaml_io import list_problems
from rfdn_plugin.utils.errors import RFDNError, describe

Found = TypeVar('Found')


class Note(str):
    """A line among the problems that a check returns which stops nothing."""


@dataclass
class Findings:
    """The findings of all checks of a run, one line each, which begins with the key that it is about.

    Attributes:
        problems: What would make the run fail or its results wrong.
        notes: What the user should know and may have meant so.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self, where: str, check: Callable[..., Iterable[str]], *arguments: Any) -> bool:
        """Take in the lines that a check returns; whatever it fails with is a problem of the key `where`.

        An option file may hold any value, and what it names may be anybody's code: an exception that nobody thought of is
        told as a problem of its key, not as a traceback.

        Returns:
            Whether there was no problem.
        """
        before = len(self.problems)
        try:
            for line in check(*arguments):
                (self.notes if isinstance(line, Note) else self.problems).append(line)
        except Exception as error:
            self.problems.append(f'{where}: {describe(error)}.')
        return len(self.problems) == before

    def search(self, where: str, find: Callable[..., tuple[Found, Iterable[str]]], *arguments: Any) -> Found | None:
        """What a function finds, which returns it with its lines as of `run`; None where one of them is a problem."""
        results: list[Found] = []

        def check() -> Iterable[str]:
            result, lines = find(*arguments)
            results.append(result)
            return lines

        return results[0] if self.run(where, check) else None

    def report(self, path: str | Path) -> None:
        """Print the notes on stderr, and stop where there are problems.

        Args:
            path: The option file.

        Raises:
            RFDNError: The problems, all at once.
        """
        for note in self.notes:
            print(f'{path}: note: {note}', file=sys.stderr)
        if self.problems:
            raise RFDNError(list_problems(path, self.problems))
