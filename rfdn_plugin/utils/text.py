"""Words of messages that several commands use."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NOT_SHOWN = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029]')
"""Control characters, which would break a line in two or move the cursor of a terminal."""


def shown(name: object) -> str:
    """A name as a line can hold it: control characters as `\\n`, `\\x1b`."""
    return _NOT_SHOWN.sub(lambda found: repr(found[0])[1:-1], str(name))


def some_of(names: Iterable[object], most: int = 5) -> str:
    """The first names of many: `a, b and 3 more`."""
    texts = [shown(name) for name in names]
    return ', '.join(texts[:most]) + (f' and {len(texts) - most} more' if len(texts) > most else '')


def counted(number: int, one: str, many: str = '') -> str:
    """A number and its noun: `1 image`, `3 images`; `many` where the plural is not `one` with an s."""
    return f'{number} {one}' if number == 1 else f'{number} {many or one + "s"}'
