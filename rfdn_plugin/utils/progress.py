"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


class _LineProgress(tqdm):
    """tqdm that writes a line of its own each time instead of redrawing one with carriage returns."""

    @staticmethod
    def status_printer(file: Any) -> Any:
        def print_status(text: str) -> None:
            if text.strip():
                print(text, file=file, flush=True)

        return print_status


def progress(
    iterable: Iterable | None = None,
    *,
    description: str,
    total: int | None = None,
    unit: str = 'it',
    scaled: bool = False,
) -> tqdm:
    """A progress display on stderr, used like `tqdm`: iterate over it, or call `update(n)` and `close()`.

    On a terminal it is a bar. Elsewhere (a log file, CI) it is one line every 15 seconds and one at the end. `scaled`
    writes large counts as 1.2M.
    """
    if sys.stderr.isatty():
        return tqdm(
            iterable, desc=description, total=total, unit=unit, unit_scale=scaled, dynamic_ncols=True, leave=False
        )
    return _LineProgress(
        iterable,
        desc=description,
        total=total,
        unit=unit,
        unit_scale=scaled,
        mininterval=15,
        miniters=1,
        bar_format='{desc}: {n_fmt}/{total_fmt} {unit} [{elapsed} < {remaining}, {rate_fmt}]',
    )
