"""What became of every file: the lines at the end of `rfdn prepare` and `rfdn merge`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rfdn_plugin.data.images import POLICY, ImageError
from rfdn_plugin.data.prepare.tiles import tiles_of
from rfdn_plugin.utils.text import counted, some_of

_NAMED = 10  # of each kind of skip; images.jsonl beside each database names all of them


@dataclass(frozen=True)
class Summary:
    """Account of one run of `rfdn prepare`: images used, noticed and skipped.

    Attributes:
        used: Number of images in the databases.
        entries: Number of sub-images in each database.
        smallest: The shortest side of any sub-image in HR pixels: the largest gt_size that a training can use.
        notices: For each kind of conversion of `POLICY`, the number of images.
        skipped: (file, kind, detail) of each file that was left out.
        databases: The databases, HR first.
    """

    used: int
    entries: int
    smallest: int
    notices: Counter
    skipped: list[tuple[str, str, str]]
    databases: list[Path]

    @classmethod
    def of(
        cls,
        records: Iterable[dict],
        others: Iterable[tuple[Path, ImageError]],
        databases: list[Path],
        crop_size: int,
        step: int,
    ) -> Summary:
        """Count the lines of images.jsonl and the files that never were candidates."""
        used, entries, smallest = 0, 0, 0
        notices: Counter = Counter()
        skipped = [(str(path), error.kind, error.detail) for path, error in others]
        for record in records:
            if 'skipped' in record:
                skipped.append((record['source'], record['skipped'], record['detail']))
                continue
            tiles = tiles_of(record['height'], record['width'], crop_size, step)
            shortest = min(tiles[0].height, tiles[0].width)
            smallest = min(smallest, shortest) if used else shortest
            used += 1
            entries += len(tiles)
            notices.update(record['notices'])
        return cls(used, entries, smallest, notices, skipped, databases)

    def lines(self) -> list[str]:
        """The account as text, a line each."""
        lines = [f'{counted(self.used, "image")}, {counted(self.entries, "entry", "entries")} in each of:']
        lines += [f'  {path}' for path in self.databases]
        lines += [f'converted: {count} x {kind} ({POLICY[kind][1]})' for kind, count in sorted(self.notices.items())]
        by_kind: dict[str, list[str]] = defaultdict(list)
        for name, kind, detail in self.skipped:
            by_kind[kind].append(f'{name} ({detail})' if detail else name)
        for kind, names in sorted(by_kind.items()):
            lines.append(f'skipped: {len(names)} x {kind} ({POLICY[kind][1]}): {some_of(names, _NAMED)}')
        if self.used:
            lines.append(f'the shortest side is {self.smallest}, the largest gt_size that a training can use')
        return lines
