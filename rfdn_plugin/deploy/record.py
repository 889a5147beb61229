"""What `rfdn upscale` has finished in a folder, so that a run that was killed goes on and does nothing twice.

One line of JSON for each image, appended and fsynced before the image gets its name. So whatever exists under the name and
has the recorded content is finished; what a kill left without a name is done again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rfdn_plugin.utils.files import append_json_line, read_json_lines, sha256

NAME = '.rfdn_upscale.jsonl'
"""Name of the record in the folder of the outputs."""


class Record:
    """The finished images of a folder.

    Args:
        folder: Path of the folder of the outputs.
        settings: All that the outputs depend on, beside the inputs; anything that JSON can hold.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.path, self.folder = folder / NAME, folder
        self.settings = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
        self.entries: dict[str, dict[str, Any]] = {}
        for entry in read_json_lines(self.path):
            if isinstance(entry, dict) and 'output' in entry:
                self.entries[entry['output']] = entry

    def state(self, source: Path, output: Path) -> str:
        """What an output is: 'missing', 'finished', 'changed' (input or settings are others), or 'foreign'.

        Args:
            source: Path of the input.
            output: Path of the output.
        """
        if not output.exists():
            return 'missing'
        entry = self.entries.get(self._key(output))
        if entry is None or not output.is_file() or entry.get('sha256') != sha256(output):
            return 'foreign'
        is_same = entry.get('settings') == self.settings and entry.get('input') == _input(source)
        return 'finished' if is_same else 'changed'

    def add(self, source: Path, output: Path, content: bytes) -> None:
        """Note what is about to get its name; call it before."""
        entry: dict[str, Any] = {
            'output': self._key(output),
            'input': _input(source),
            'settings': self.settings,
            'sha256': hashlib.sha256(content).hexdigest(),
        }
        append_json_line(self.path, entry)
        self.entries[entry['output']] = entry

    def _key(self, output: Path) -> str:
        return output.relative_to(self.folder).as_posix()


def _input(source: Path) -> list[Any]:
    status = source.stat()
    return [str(source.resolve()), status.st_size, status.st_mtime_ns]
