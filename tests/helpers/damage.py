"""Files as a bad disk, a broken copy or a stranger leaves them."""

from __future__ import annotations

from random import Random


def damaged(content: bytes, random: Random) -> bytes:
    """A few bytes of it changed, taken out or put in, or its end missing."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(changed))
        match random.choice(('change', 'change', 'delete', 'insert', 'end')):
            case 'change':
                changed[at] = random.randrange(256)
            case 'delete':
                del changed[at : at + random.randrange(1, 6)]
            case 'insert':
                changed[at:at] = random.randbytes(random.randrange(1, 5))
            case 'end':
                changed = changed[:at] or bytearray(b'.')
    return bytes(changed)
