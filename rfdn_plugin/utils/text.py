"""Words of messages that several commands use."""

from __future__ import annotations

from collections.abc import Iterable


def some_of(names: Iterable[object], most: int = 5) -> str:
    """The first names of many: `a, b and 3 more`."""
    texts = [str(name) for name in names]
    return ', '.join(texts[:most]) + (f' and {len(texts) - most} more' if len(texts) > most else '')
