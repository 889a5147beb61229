"""Results that were computed before: one line an image, so that a killed run goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rfdn_plugin.data.images import ImageError, read_image
from rfdn_plugin.utils.files import append_json_line, atomic_write, read_json_lines


class Cache:
    """A folder of results by key; a key changes with everything that the result depends on (`entries.digest`).

    Results of many images are files of JSON lines that grow; a line torn by a kill is left out when read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def lines(self, key: str) -> dict[str, Any]:
        """Values that were appended under `key`, by name; the last of several."""
        return dict(read_json_lines(self.folder / f'{key}.jsonl'))

    def append(self, key: str, name: str, value: Any) -> None:
        """Add a value under `key` and a name; it is on the disk afterwards."""
        append_json_line(self.folder / f'{key}.jsonl', [name, value])

    def get(self, key: str) -> Any | None:
        """The one value under `key`, or None."""
        path = self.folder / f'{key}.json'
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding='utf-8'))
        except ValueError:
            return None  # no file of ours: computed again and replaced

    def put(self, key: str, value: Any) -> None:
        """Keep one value, anything that JSON can hold, under `key`."""
        with atomic_write(self.folder / f'{key}.json', 'w') as stream:
            json.dump(value, stream)

    def image(self, key: str) -> np.ndarray | None:
        """An image, RGB, uint8, or None."""
        try:
            return read_image(self.folder / f'{key}.png').rgb
        except ImageError:
            return None  # missing, or torn by a kill

    def put_image(self, key: str, rgb: np.ndarray) -> None:
        """Keep an image, H x W x 3, RGB, uint8, under `key`."""
        import cv2

        with atomic_write(self.folder / f'{key}.png') as stream:
            stream.write(cv2.imencode('.png', np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes())
