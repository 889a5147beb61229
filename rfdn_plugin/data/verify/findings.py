"""What `rfdn verify` can find, and the report of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from rfdn_plugin.utils.text import counted, shown

# kind -> (whether it is a problem, what it means and what to do). A problem makes `rfdn verify` fail.
FINDINGS: dict[str, tuple[bool, str]] = {
    'unreadable': (True, 'it cannot be opened'),
    'unfinished': (True, 'left by an interrupted run: run its `rfdn prepare` again'),
    'empty': (True, 'nothing was checked: it holds no image'),
    'no-meta': (True, 'no meta_info.txt: the database was not finished'),
    'bad-meta-line': (True, 'a line of meta_info.txt is not `KEY.png (H,W,C) LEVEL`'),
    'dotted-key': (True, 'BasicSR reads a key up to its first dot and will not find this entry'),
    'duplicate-line': (True, 'meta_info.txt names the key more than once'),
    'missing-key': (True, 'meta_info.txt names the key, the database lacks it'),
    'extra-key': (True, 'the database has the key, meta_info.txt does not name it'),
    'other-file': (True, 'a file of a folder that is not an image; BasicSR would take it for one'),
    'not-decodable': (True, 'truncated, damaged or not an image'),
    'not-rgb': (True, 'a value of a database is not 8-bit RGB; BasicSR converts it in silence'),
    'converted': (False, 'a file of a folder is not plain 8-bit RGB; it is read as docs/datasets.md says'),
    'wrong-shape': (True, 'the shape differs from that in meta_info.txt'),
    'no-partner': (True, 'one of a pair is missing'),
    'other-suffix': (True, 'HR and LR are files of different types, which BasicSR does not pair'),
    'exchanged-pair': (True, 'the HR is where the LR should be: exchange them'),
    'wrong-scale': (True, 'the HR does not have the size of the LR times the scale'),
    'swapped-pair': (True, 'the LR shows the image of another HR'),
    'not-a-pair': (True, 'HR and LR do not show the same image'),
    'other-resize': (True, 'the LR is not what MATLAB bicubic makes of the HR: make it again with `rfdn prepare`'),
    'older-border': (False, "LR of an older MATLAB: its border differs from today's"),
    'benchmark-duplicate': (True, 'shows an image of a benchmark set: training on it spoils the comparison'),
    'duplicate': (False, 'holds the same pixels as another entry'),
}


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        kind: A key of `FINDINGS`.
        place: The database or folder.
        key: The entry or file in it, '' for the whole of it.
        detail: What more is known, in words.
    """

    kind: str
    place: str
    key: str = ''
    detail: str = ''

    @property
    def is_problem(self) -> bool:
        """Whether it makes `rfdn verify` fail."""
        return FINDINGS[self.kind][0]

    def __str__(self) -> str:
        where = shown(f'{self.place}: {self.key}' if self.key else self.place)
        return f'{self.kind}: {where}' + (f': {self.detail}' if self.detail else '')


@dataclass
class Report:
    """Result of `rfdn verify`: what was looked at, and the findings.

    Attributes:
        entries: For each database or folder the number of images that were decoded.
        pairs: Number of pairs whose size and content were compared.
        resizes: Number of pairs whose LR was compared with MATLAB's bicubic of the HR.
        too_small: Number of pairs whose LR is too small for that comparison.
        findings: In the order in which they were found.
    """

    entries: dict[str, int] = field(default_factory=dict)
    pairs: int = 0
    resizes: int = 0
    too_small: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def problems(self) -> list[Finding]:
        """The findings that make `rfdn verify` fail."""
        return [finding for finding in self.findings if finding.is_problem]

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings to the report."""
        self.findings.extend(findings)

    def lines(self, most: int = 20) -> list[str]:
        """The report as text; of each kind `most` findings are named."""
        lines = [f'{path}: {counted(entries, "entry", "entries")} decoded' for path, entries in self.entries.items()]
        if self.pairs:
            small = f', {self.too_small} are too small for that' if self.too_small else ''
            lines.append(
                f'{counted(self.pairs, "pair")} checked for size and content, {self.resizes} against MATLAB bicubic{small}'
            )
        counts = Counter(finding.kind for finding in self.findings)
        for kind, count in counts.items():
            lines.append(f'{count} x {kind}: {FINDINGS[kind][1]}')
            named = [finding for finding in self.findings if finding.kind == kind]
            lines += [f'  {finding}' for finding in named[:most]]
            if count > most:
                lines.append(f'  and {count - most} more')
        if not any(self.entries.values()):
            lines.append('nothing was checked')
        lines.append(counted(len(self.problems), 'problem') if self.problems else 'no problem')
        return lines
