"""Where the sub-images of an image lie, and what they are called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Tile(NamedTuple):
    """A sub-image of an HR image, in HR pixels."""

    top: int
    left: int
    height: int
    width: int


def tiles_of(height: int, width: int, crop_size: int, step: int) -> list[Tile]:
    """The sub-images of an image, row by row: windows of `crop_size` every `step` pixels, the last one at the edge.

    A side that is not longer than `crop_size` is kept whole; `crop_size` 0 keeps the image whole.
    """
    rows, columns = _starts(height, crop_size, step), _starts(width, crop_size, step)
    tile_height, tile_width = (min(side, crop_size) if crop_size else side for side in (height, width))
    return [Tile(top, left, tile_height, tile_width) for top in rows for left in columns]


def entries_of(record: dict, crop_size: int, step: int, scale: int = 1) -> Iterator[tuple[str, int, int]]:
    """Key, height and width of each sub-image of an image in the database of one scale (1 for HR).

    Args:
        record: A line of images.jsonl: `key`, and `height` and `width` of the HR image as it was cut.
    """
    if 'key' not in record:  # skipped
        return
    for number, tile in enumerate(tiles_of(record['height'], record['width'], crop_size, step), start=1):
        # BasicSR's extract_subimages numbers from 1 with at least three digits.
        key = f'{record["key"]}_s{number:03d}' if crop_size else record['key']
        yield key, tile.height // scale, tile.width // scale


def _starts(length: int, crop_size: int, step: int) -> list[int]:
    if crop_size == 0 or length <= crop_size:
        return [0]
    starts = list(range(0, length - crop_size + 1, step))
    if starts[-1] + crop_size < length:
        starts.append(length - crop_size)
    return starts
