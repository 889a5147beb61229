"""`rfdn verify`: everything about LMDBs of images that would spoil a training, found before it.

Each database is read as BasicSR reads it, and every value is decoded. Pairs are checked by key: HR = LR x scale, the
same image (all pairs, by their colours at low resolution), and LR what MATLAB's bicubic makes of the HR (a share of
the pairs, or all). Databases of any origin are checked, not only those of `rfdn prepare`.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import lmdb
import numpy as np

from rfdn_plugin.data.images import ImageError, decode_image
from rfdn_plugin.data.likeness import Likeness
from rfdn_plugin.data.lmdb import META_FILE, read_meta_info, reading
from rfdn_plugin.data.lr_check import PairCheck, check_pair
from rfdn_plugin.data.prepare.database import PARTIAL_SUFFIX, read_settings
from rfdn_plugin.data.verify.duplicates import Benchmarks
from rfdn_plugin.data.workers import worker_pool
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.progress import progress

# kind -> (whether it is a problem, what it means and what to do). A problem makes `rfdn verify` fail.
FINDINGS: dict[str, tuple[bool, str]] = {
    'unreadable': (True, 'the database cannot be opened'),
    'unfinished': (True, 'left by an interrupted run: run its `rfdn prepare` again'),
    'no-meta': (True, 'no meta_info.txt: the database was not finished'),
    'bad-meta-line': (True, 'a line of meta_info.txt is not `KEY.png (H,W,C) LEVEL`'),
    'dotted-key': (True, 'BasicSR reads a key up to its first dot and will not find this entry'),
    'duplicate-line': (True, 'meta_info.txt names the key more than once'),
    'missing-key': (True, 'meta_info.txt names the key, the database lacks it'),
    'extra-key': (True, 'the database has the key, meta_info.txt does not name it'),
    'not-decodable': (True, 'the value is truncated, damaged or not an image'),
    'not-rgb': (True, 'the value is not 8-bit RGB; BasicSR converts it in silence'),
    'wrong-shape': (True, 'the shape differs from that in meta_info.txt'),
    'no-partner': (True, 'the key is in one database of the pair only'),
    'wrong-scale': (True, 'the HR has not the size of the LR times the scale'),
    'swapped-pair': (True, 'the LR shows the image of another HR'),
    'not-a-pair': (True, 'HR and LR do not show the same image'),
    'other-resize': (True, 'the LR is not what MATLAB bicubic makes of the HR: make it again with `rfdn prepare`'),
    'older-border': (False, "LR of an older MATLAB: its border differs from today's"),
    'benchmark-duplicate': (True, 'shows an image of a benchmark set: training on it spoils the comparison'),
    'duplicate': (False, 'holds the same pixels as another entry'),
}

_LR_NAME = re.compile(r'LR_bicubic_X(\d+)')


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: its kind in `FINDINGS`, where (key '' for the whole database), details."""

    kind: str
    database: str
    key: str
    detail: str = ''

    @property
    def is_problem(self) -> bool:
        return FINDINGS[self.kind][0]

    def __str__(self) -> str:
        where = f'{self.database}: {self.key}' if self.key else self.database
        return f'{self.kind}: {where}' + (f': {self.detail}' if self.detail else '')


@dataclass
class Report:
    """What was looked at and what was found."""

    entries: dict[str, int] = field(default_factory=dict)
    pairs: int = 0
    resizes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def problems(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.is_problem]

    def lines(self, most: int = 20) -> list[str]:
        """The report as text; of each kind `most` findings are named."""
        lines = [f'{path}: {entries} entries decoded' for path, entries in self.entries.items()]
        if self.pairs:
            lines.append(f'{self.pairs} pairs checked for size and content, {self.resizes} against MATLAB bicubic')
        counts = Counter(finding.kind for finding in self.findings)
        for kind, count in counts.items():
            lines.append(f'{count} x {kind}: {FINDINGS[kind][1]}')
            named = [finding for finding in self.findings if finding.kind == kind]
            lines += [f'  {finding}' for finding in named[:most]]
            if count > most:
                lines.append(f'  and {count - most} more')
        lines.append(f'{len(self.problems)} problems' if self.problems else 'no problem')
        return lines


@dataclass(frozen=True)
class Pair:
    """Two databases with equal keys: HR, LR, and the scale between them."""

    hr: Path
    lr: Path
    scale: int


def verify(
    databases: Sequence[Path],
    pairs: Sequence[Pair] = (),
    *,
    share: float = 0.05,
    benchmarks: Iterable[Path] = (),
    workers: int = 1,
) -> Report:
    """Check databases and pairs.

    Args:
        databases: `.lmdb` folders, or folders that hold them. Among those of one folder, `LR_bicubic_X{s}[_sub].lmdb`
            is paired with `HR[_sub].lmdb`.
        pairs: Further pairs, for other names; their databases are checked as well.
        share: The share of the pairs, evenly spread, whose LR is compared with the bicubic of the HR; 1 for all.
        benchmarks: Folders of benchmark images which the HR must not contain.
        workers: Processes.

    Raises:
        RFDNError: A path is neither an LMDB nor a folder that holds some.
    """
    paths = _databases_in(databases)
    pairs = list(dict.fromkeys([*_pairs_among(paths), *pairs]))
    paths = list(dict.fromkeys([*paths, *(path for pair in pairs for path in (pair.hr, pair.lr))]))
    report = Report()
    for folder in dict.fromkeys(path.parent for path in paths):
        for partial_path in sorted(folder.glob(f'*.lmdb{PARTIAL_SUFFIX}')):
            report.findings.append(Finding('unfinished', str(partial_path), ''))
    shapes = {path: found for path in paths if (found := _check_keys(path, report)) is not None}
    known = Benchmarks.read(benchmarks)
    with worker_pool(workers) as pool:
        for group in _groups(paths, pairs, shapes):
            _check_group(pool, group, shapes, known, share, report)
    return report


# --- keys ----------------------------------------------------------------------------------------------------------
def _databases_in(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        if path.name.endswith('.lmdb'):
            if not path.is_dir():
                raise RFDNError(f'{path} does not exist: give an .lmdb folder, or a folder that holds some')
            found.append(path)
            continue
        inside = sorted(path.glob('*.lmdb'))
        if not inside and not list(path.glob(f'*.lmdb{PARTIAL_SUFFIX}')):
            raise RFDNError(f'{path} holds no .lmdb folder: give an .lmdb folder, or a folder that holds some')
        found += inside
    return list(dict.fromkeys(found))


def _pairs_among(paths: list[Path]) -> Iterator[Pair]:
    for path in paths:
        name = _LR_NAME.search(path.name)
        if name:
            hr = path.with_name(path.name.replace(name[0], 'HR'))
            if hr in paths:
                yield Pair(hr, path, int(name[1]))


def _check_keys(path: Path, report: Report) -> dict[str, tuple[int, int, int]] | None:
    """Compare meta_info.txt with the keys; the shapes by key of the entries that are there, None if unreadable."""

    def add(kind: str, key: str = '', detail: str = '') -> None:
        report.findings.append(Finding(kind, str(path), key, detail))

    try:
        with reading(path) as transaction:
            present = {bytes(key).decode('utf-8', 'replace') for key in transaction.cursor().iternext(values=False)}
    except (RFDNError, lmdb.Error) as error:
        add('unreadable', detail=str(error))
        return None
    if not (path / META_FILE).is_file():
        add('no-meta', detail=f'{len(present)} entries')
        return None
    meta = read_meta_info(path)
    shapes = meta.shapes
    for number, line in meta.bad_lines:
        add('bad-meta-line', detail=f'line {number}: {line[:80]!r}')
    for number, key in meta.repeated:
        add('duplicate-line', key, f'line {number}')
    for key in shapes:
        if '.' in key:
            add('dotted-key', key)
    for key in sorted(shapes.keys() - present):
        add('missing-key', key)
        del shapes[key]
    for key in sorted(present - shapes.keys()):
        add('extra-key', key)
    return shapes


# --- values and pairs ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Group:
    """A database and those that are its LR: all that is decoded together, so that nothing is decoded twice."""

    main: Path
    lr: dict[Path, int]  # with the scale


@dataclass
class _Checked:
    """What a worker found in some keys of a group."""

    findings: list[Finding] = field(default_factory=list)
    decoded: Counter = field(default_factory=Counter)
    digests: list[tuple[str, bytes]] = field(default_factory=list)
    pairs: list[tuple[Path, PairCheck]] = field(default_factory=list)


def _groups(paths: list[Path], pairs: list[Pair], readable: Iterable[Path]) -> Iterator[_Group]:
    used: set[Path] = set()
    for hr in dict.fromkeys(pair.hr for pair in pairs):
        lr = {pair.lr: pair.scale for pair in pairs if pair.hr == hr and pair.lr in readable}
        if hr in readable:
            used |= {hr, *lr}
            yield _Group(hr, lr)
    yield from (_Group(path, {}) for path in paths if path in readable and path not in used)


def _check_group(
    pool: ProcessPoolExecutor, group: _Group, shapes: dict[Path, dict], known: Benchmarks, share: float, report: Report
) -> None:
    for lr in group.lr:
        for path, other in ((group.main, lr), (lr, group.main)):
            for key in sorted(shapes[path].keys() - shapes[other].keys()):
                report.findings.append(Finding('no-partner', str(path), key, f'not in {other}'))
    keys = sorted(set().union(*(shapes[path] for path in (group.main, *group.lr))))
    compared = _evenly_spread(len(keys), share)
    items = [
        (key, {path: shapes[path][key] for path in (group.main, *group.lr) if key in shapes[path]}, number in compared)
        for number, key in enumerate(keys)
    ]
    report.entries.update({str(path): 0 for path in (group.main, *group.lr)})
    first_key_of: dict[bytes, str] = {}
    strangers: list[tuple[Path, PairCheck]] = []
    for checked in _in_chunks(pool, partial(_check_keys_of_group, group, known), items, f'check {group.main.name}'):
        report.findings += checked.findings
        for path, count in checked.decoded.items():
            report.entries[str(path)] += count
        for key, digest in checked.digests:
            if first_key_of.setdefault(digest, key) != key:
                report.findings.append(Finding('duplicate', str(group.main), key, f'as {first_key_of[digest]}'))
        for path, check in checked.pairs:
            report.pairs += 1
            report.resizes += check.compared
            if check.kind == 'not-a-pair':
                strangers.append((path, check))
            elif check.kind:
                report.findings.append(Finding(check.kind, str(path), check.key, check.detail))
    # Among pairs that do not fit, an LR that fits the HR of another was swapped with it.
    for path, check in strangers:
        others = [other for its_path, other in strangers if its_path == path and other is not check]
        closest = min(others, key=lambda other: check.lr.difference(other.hr), default=None)
        if closest is not None and check.lr.is_like(closest.hr):
            report.findings.append(Finding('swapped-pair', str(path), check.key, f'shows {closest.key}'))
        else:
            report.findings.append(Finding(check.kind, str(path), check.key, check.detail))


def _check_keys_of_group(
    group: _Group, benchmarks: Benchmarks, items: list[tuple[str, dict[Path, tuple[int, int, int]], bool]]
) -> _Checked:
    """In a worker process: decode the entries of some keys, and check them and their pairs."""
    checked = _Checked()
    cut = _cut_of(group.main)
    with contextlib.ExitStack() as stack:
        transactions = {}
        for path in (group.main, *group.lr):
            transactions[path] = stack.enter_context(reading(path))
        for key, shapes, compare in items:
            images = {}
            for path, shape in shapes.items():
                image = _check_value(path, key, transactions[path].get(key.encode()), shape, checked)
                if image is not None:
                    images[path] = image
            if group.main not in images:
                continue
            main = images.pop(group.main)
            checked.digests.append((key, Likeness.digest(main)))
            benchmark = benchmarks.find(main, cut)
            if benchmark:
                checked.findings.append(Finding('benchmark-duplicate', str(group.main), key, benchmark))
            checked.pairs += [
                (path, check_pair(key, main, image, group.lr[path], compare)) for path, image in images.items()
            ]
    return checked


def _check_value(
    path: Path, key: str, value: bytes, shape: tuple[int, int, int], checked: _Checked
) -> np.ndarray | None:
    try:
        image = decode_image(value)
    except ImageError as error:
        checked.findings.append(Finding('not-decodable', str(path), key, str(error)))
        return None
    checked.decoded[path] += 1
    if image.notices:
        checked.findings.append(Finding('not-rgb', str(path), key, ', '.join(image.notices)))
    elif image.rgb.shape != shape:
        detail = f'{_size(image.rgb.shape)}, not {_size(shape)}'
        checked.findings.append(Finding('wrong-shape', str(path), key, detail))
    return image.rgb


def _evenly_spread(count: int, share: float) -> set[int]:
    wanted = min(count, max(round(count * share), min(count, 20))) if share > 0 else 0
    return {number * count // wanted for number in range(wanted)}


# --- help ----------------------------------------------------------------------------------------------------------
def _in_chunks(pool: ProcessPoolExecutor, function: object, items: list, description: str, size: int = 64) -> Iterator:
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    with progress(total=len(items), description=description, unit='entry') as display:
        for chunk, result in zip(chunks, pool.map(function, chunks), strict=True):
            display.update(len(chunk))
            yield result


def _cut_of(path: Path) -> tuple[int, int] | None:
    """Crop size and step of a database that `rfdn prepare` cut; else those of BasicSR where the name says "sub"."""
    settings = read_settings(path)
    if settings is not None:
        return (settings['crop_size'], settings['step']) if settings['crop_size'] else None
    return (480, 240) if '_sub' in path.name else None


def _size(shape: tuple) -> str:
    return 'x'.join(map(str, shape))
