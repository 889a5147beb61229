"""`rfdn verify`: everything about LMDBs and folders of images that would spoil a training or a test, found before it.

Every image is decoded. Pairs are checked: HR = LR x scale, the same image (all pairs, by their colours at low
resolution), and LR what MATLAB's bicubic makes of the HR (a share of the pairs, or all). Images of any origin are
checked, not only those of `rfdn prepare`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rfdn_plugin.data.lmdb import Shape, is_lmdb
from rfdn_plugin.data.pairing import Pairing, pair_names, stems_of
from rfdn_plugin.data.prepare.database import PARTIAL_SUFFIX
from rfdn_plugin.data.verify.checking import Group, Partner, check_group, check_partners, use_benchmarks
from rfdn_plugin.data.verify.duplicates import Benchmarks
from rfdn_plugin.data.verify.findings import FINDINGS, Finding, Report
from rfdn_plugin.data.verify.places import Database, Place, place_of
from rfdn_plugin.data.workers import worker_pool
from rfdn_plugin.utils.errors import RFDNError

__all__ = ['FINDINGS', 'Finding', 'Pair', 'Report', 'verify']

_LR_DATABASE = re.compile(r'LR_bicubic_X(\d+)')
_LR_FOLDER = re.compile(r'X(\d+)')


@dataclass(frozen=True)
class Pair:
    """Two databases with equal keys, or two folders with names that pair: HR, LR, and the scale between them."""

    hr: Path
    lr: Path
    scale: int


def verify(
    paths: Sequence[Path],
    pairs: Sequence[Pair] = (),
    *,
    share: float = 0.05,
    benchmarks: Iterable[Path] = (),
    workers: int = 1,
) -> Report:
    """Check databases, folders of images and pairs of them.

    Args:
        paths: `.lmdb` folders, folders of images, or folders that hold `.lmdb` folders or a test set as
            `rfdn prepare --folders` writes it. Among those of one folder, `LR_bicubic_X{s}[_sub].lmdb` is paired with
            `HR[_sub].lmdb`, and `LR_bicubic/X{s}` with `HR`.
        pairs: Further pairs; their databases or folders are checked as well.
        share: The share of the pairs, evenly spread, whose LR is compared with the bicubic of the HR; 1 for all.
        benchmarks: Folders of benchmark images which the HR must not contain.
        workers: Processes.

    Raises:
        RFDNError: A path does not exist, or a pair is an LMDB and a folder.
    """
    report = Report()
    found: list[Path] = []
    given = [Path(path) for path in paths]
    report.add(_unfinished(given))
    for path in given:
        found += _places_in(path)
    every_pair = list(dict.fromkeys([*_pairs_among(found), *pairs]))
    found += [path for pair in every_pair for path in (pair.hr, pair.lr)]
    places = {path: place_of(path) for path in dict.fromkeys(found)}
    for pair in every_pair:
        if type(places[pair.hr]) is not type(places[pair.lr]):
            raise RFDNError(f'{pair.hr} and {pair.lr}: both must be LMDBs, or both folders')
    shapes: dict[Place, dict[str, Shape | None]] = {}
    for place in places.values():
        entries, findings = place.contents()
        report.add(findings)
        if entries is not None:
            shapes[place] = entries
    with worker_pool(workers, use_benchmarks, Benchmarks.read(benchmarks)) as pool:
        for group in _groups(places, every_pair, shapes):
            report.add(check_partners(group))
            of_group = check_group(pool, group, shapes, share)
            report.entries.update(of_group.entries)
            report.pairs += of_group.pairs
            report.resizes += of_group.resizes
            report.too_small += of_group.too_small
            report.add(of_group.findings)
    if not any(report.entries.values()) and not report.problems:
        report.add(Finding('empty', str(path)) for path in given)
    return report


def _unfinished(paths: Iterable[Path]) -> Iterator[Finding]:
    """What interrupted runs of `rfdn prepare` have left in folders, and beside databases."""
    for folder in dict.fromkeys(path.parent if is_lmdb(path) else path for path in paths):
        for partial in sorted(folder.glob(f'*.lmdb{PARTIAL_SUFFIX}')):
            yield Finding('unfinished', str(partial))


def _places_in(path: Path) -> list[Path]:
    """The databases and folders of images that a path stands for; none where all are unfinished."""
    partial = path.with_name(f'{path.name}{PARTIAL_SUFFIX}')
    if is_lmdb(path):
        return [] if partial.is_dir() and not path.exists() else [path]
    databases = sorted(path.glob('*.lmdb'))
    if databases or any(path.glob(f'*.lmdb{PARTIAL_SUFFIX}')):
        return databases
    if (path / 'HR').is_dir():
        low = [folder for folder in sorted(path.glob('LR_bicubic/X*')) if _LR_FOLDER.fullmatch(folder.name)]
        return [path / 'HR', *low]
    return [path]


def _pairs_among(paths: list[Path]) -> Iterator[Pair]:
    """The pairs that are known by their names."""
    for path in paths:
        if name := _LR_DATABASE.search(path.name):
            hr, scale = path.with_name(path.name.replace(name[0], 'HR')), name[1]
        elif (name := _LR_FOLDER.fullmatch(path.name)) and path.parent.name == 'LR_bicubic':
            hr, scale = path.parent.parent / 'HR', name[1]
        else:
            continue
        if hr in paths and int(scale) > 1:
            yield Pair(hr, path, int(scale))


def _groups(
    places: dict[Path, Place], pairs: list[Pair], shapes: dict[Place, dict[str, Shape | None]]
) -> Iterator[Group]:
    """The places that can be read, each HR together with all of its LR."""
    used: set[Place] = set()
    for hr in dict.fromkeys(places[pair.hr] for pair in pairs):
        mine = [pair for pair in pairs if places[pair.hr] == hr and places[pair.lr] in shapes]
        if hr in shapes:
            partners = tuple(_partner(hr, places[pair.lr], pair.scale, shapes) for pair in mine)
            used |= {hr, *(partner.place for partner in partners)}
            yield Group(hr, partners)
    yield from (Group(place) for place in places.values() if place in shapes and place not in used)


def _partner(hr: Place, lr: Place, scale: int, shapes: dict[Place, dict[str, Shape | None]]) -> Partner:
    if isinstance(hr, Database):
        return Partner(lr, scale, pair_names(shapes[hr], shapes[lr], scale, '{}'))
    try:
        high, low = stems_of(shapes[hr]), stems_of(shapes[lr])
    except RFDNError as error:
        raise RFDNError(f'{hr.path} and {lr.path}: {error}') from error
    by_stem = pair_names(high, low, scale)
    files = {high[stem]: low.get(name, name) for stem, name in by_stem.lr_of.items()}
    missing = [high[stem] for stem in by_stem.missing]
    return Partner(lr, scale, Pairing(by_stem.template, files, missing, [low[stem] for stem in by_stem.surplus]))
