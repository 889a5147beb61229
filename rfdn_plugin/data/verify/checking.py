"""The checks of entries and pairs, spread over processes: everything that is decoded is decoded once."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import NamedTuple

from rfdn_plugin.data.images import DecodedImage, ImageError
from rfdn_plugin.data.likeness import Likeness
from rfdn_plugin.data.lmdb import Shape
from rfdn_plugin.data.lr_check import WHOLE, CutEdges, Edges
from rfdn_plugin.data.pairing import Pairing
from rfdn_plugin.data.prepare.database import read_settings
from rfdn_plugin.data.verify.duplicates import Benchmarks
from rfdn_plugin.data.verify.findings import Finding, Report
from rfdn_plugin.data.verify.pairs import PairCheck, check_pair
from rfdn_plugin.data.verify.places import Database, Folder, Place
from rfdn_plugin.utils.progress import progress

_LEAST_COMPARED = 20
_CHUNK = 64  # entries that a worker checks at a time


class Entry(NamedTuple):
    """An image of a place: its key, and its shape where the place tells it."""

    key: str
    shape: Shape | None


class Item(NamedTuple):
    """An image of the main place of a group with its LR, as it goes to a worker.

    `lr` has an entry for each LR place, None where it lacks the image; `cut` the edges of the LR where the resize is to
    be compared, else None.
    """

    hr: Entry | None
    lr: tuple[Entry | None, ...]
    cut: tuple[Edges | None, ...]


@dataclass(frozen=True)
class Partner:
    """A place that holds the LR of another, and how they are paired: LR keys by HR keys."""

    place: Place
    scale: int
    pairing: Pairing


@dataclass(frozen=True)
class Group:
    """A place and those that hold its LR."""

    main: Place
    partners: tuple[Partner, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """All places of the group, the main one first."""
        return (self.main, *(partner.place for partner in self.partners))


@dataclass
class Checked:
    """Result of a worker: what it decoded, compared and found in some items of a group.

    Attributes:
        findings: In the order of the items.
        decoded: For each place, by its number in the group, the images that were decoded.
        digests: (key, digest of the pixels) of each image of the main place.
        pairs: (number of the partner, what was found) of each pair.
    """

    findings: list[Finding] = field(default_factory=list)
    decoded: Counter[int] = field(default_factory=Counter)
    digests: list[tuple[str, bytes]] = field(default_factory=list)
    pairs: list[tuple[int, PairCheck]] = field(default_factory=list)


def check_group(
    pool: ProcessPoolExecutor, group: Group, shapes: dict[Place, dict[str, Shape | None]], share: float
) -> Report:
    """Decode and check everything in a group.

    Args:
        pool: Workers, each of which has called `use_benchmarks`.
        group: What to check.
        shapes: The entries of each place of the group.
        share: The share of the pairs, evenly spread, whose resize is compared.
    """
    report = Report(entries={str(place.path): 0 for place in group.places})
    items = list(_items(group, shapes, share))
    first_key_of: dict[bytes, str] = {}
    strangers: list[tuple[int, PairCheck]] = []
    for checked in _in_chunks(pool, group, items):
        report.add(checked.findings)
        for number, count in checked.decoded.items():
            report.entries[str(group.places[number].path)] += count
        for key, digest in checked.digests:
            if first_key_of.setdefault(digest, key) != key:
                report.add([Finding('duplicate', str(group.main.path), key, f'as {first_key_of[digest]}')])
        for number, check in checked.pairs:
            report.pairs += 1
            report.resizes += check.compared
            report.too_small += check.too_small
            if check.kind == 'not-a-pair':
                strangers.append((number, check))
            elif check.kind:
                report.add([Finding(check.kind, str(group.partners[number].place.path), check.key, check.detail)])
    report.add(_among_strangers(group, strangers))
    return report


def check_partners(group: Group) -> Iterator[Finding]:
    """HR without LR and LR without HR, and files that BasicSR does not pair because of their types."""
    for partner in group.partners:
        hr, lr = group.main.path, partner.place.path
        for key in partner.pairing.missing:
            yield Finding('no-partner', str(hr), key, f'not in {lr}')
        for key in partner.pairing.surplus:
            yield Finding('no-partner', str(lr), key, f'not in {hr}')
        if isinstance(partner.place, Folder):
            absent = set(partner.pairing.missing)
            for key, low in partner.pairing.lr_of.items():
                if key not in absent and PurePath(key).suffix != PurePath(low).suffix:
                    yield Finding('other-suffix', str(lr), low, f'HR {key}')


def _items(group: Group, shapes: dict[Place, dict[str, Shape | None]], share: float) -> Iterator[Item]:
    hr = shapes[group.main]
    compared = _evenly_spread(len(hr), share)
    cut_edges = [
        CutEdges(group.main.path, partner.place.path) if isinstance(group.main, Database) else None
        for partner in group.partners
    ]
    for number, (key, shape) in enumerate(sorted(hr.items())):
        entries: list[Entry | None] = []
        cut: list[Edges | None] = []
        for partner, edges in zip(group.partners, cut_edges, strict=True):
            low = partner.pairing.lr_of[key]
            is_there = low in shapes[partner.place]
            entries.append(Entry(low, shapes[partner.place][low]) if is_there else None)
            cut.append((edges.of(key) if edges else WHOLE) if number in compared else None)
        yield Item(Entry(key, shape), tuple(entries), tuple(cut))
    for number, partner in enumerate(group.partners):
        for key in partner.pairing.surplus:
            alone = Entry(key, shapes[partner.place][key])
            nothing = (None,) * len(group.partners)
            yield Item(None, tuple(alone if at == number else None for at in range(len(nothing))), nothing)


def _evenly_spread(count: int, share: float) -> set[int]:
    wanted = min(count, max(round(count * share), min(count, _LEAST_COMPARED))) if share > 0 else 0
    return {number * count // wanted for number in range(wanted)}


def _in_chunks(pool: ProcessPoolExecutor, group: Group, items: list[Item]) -> Iterator[Checked]:
    # Pairings are known to the items: the worker is spared the lists of all names.
    small = Group(group.main, tuple(Partner(p.place, p.scale, Pairing('', {}, [], [])) for p in group.partners))
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    with progress(total=len(items), description=f'check {group.main.path.name}', unit='entries') as display:
        for chunk, checked in zip(chunks, pool.map(partial(_check_items, small), chunks), strict=True):
            display.update(len(chunk))
            yield checked


def _among_strangers(group: Group, strangers: list[tuple[int, PairCheck]]) -> Iterator[Finding]:
    """Among pairs that do not fit, an LR that fits the HR of another was swapped with it."""
    for number, check in strangers:
        place = str(group.partners[number].place.path)
        others = [other for its_number, other in strangers if its_number == number and other is not check]
        closest = min(others, key=lambda other: check.lr.difference(other.hr), default=None)
        if closest is not None and check.lr.is_like(closest.hr):
            yield Finding('swapped-pair', place, check.key, f'shows {closest.key}')
        else:
            yield Finding(check.kind, place, check.key, check.detail)


# --- in a worker process -------------------------------------------------------------------------------------------
_benchmarks = Benchmarks([])


def use_benchmarks(benchmarks: Benchmarks) -> None:
    """Choose the benchmark images that every image is compared with in this process."""
    global _benchmarks
    _benchmarks = benchmarks


def _check_items(group: Group, items: Iterable[Item]) -> Checked:
    checked = Checked()
    cut = _tiling(group.main)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(place.reader()) for place in group.places]

        def decode(number: int, entry: Entry | None) -> DecodedImage | None:
            if entry is None:
                return None
            place = group.places[number]
            try:
                image = readers[number](entry.key)
            except ImageError as error:
                checked.findings.append(Finding('not-decodable', str(place.path), entry.key, str(error)))
                return None
            checked.decoded[number] += 1
            checked.findings += _check_form(place, entry, image)
            return image

        for item in items:
            hr = decode(0, item.hr)
            lows = [decode(number, entry) for number, entry in enumerate(item.lr, start=1)]
            if hr is None or item.hr is None:
                continue
            checked.digests.append((item.hr.key, Likeness.digest(hr.rgb)))
            benchmark = _benchmarks.find(hr.rgb, cut)
            if benchmark:
                checked.findings.append(Finding('benchmark-duplicate', str(group.main.path), item.hr.key, benchmark))
            exact = isinstance(group.main, Database)
            for number, low in enumerate(lows):
                if low is not None:
                    scale = group.partners[number].scale
                    check = check_pair(item.hr.key, hr.rgb, low.rgb, scale, exact, item.cut[number])
                    checked.pairs.append((number, check))
    return checked


def _check_form(place: Place, entry: Entry, image: DecodedImage) -> Iterator[Finding]:
    if image.notices:
        kind = 'converted' if isinstance(place, Folder) else 'not-rgb'
        yield Finding(kind, str(place.path), entry.key, ', '.join(image.notices))
    elif entry.shape is not None and image.rgb.shape != entry.shape:
        found, said = ('x'.join(map(str, shape)) for shape in (image.rgb.shape, entry.shape))
        yield Finding('wrong-shape', str(place.path), entry.key, f'{found}, not {said}')


def _tiling(place: Place) -> tuple[int, int] | None:
    """Crop size and step of a database that `rfdn prepare` cut; else those of BasicSR where the name says "sub"."""
    if isinstance(place, Folder):
        return None
    settings = read_settings(place.path)
    if settings is not None:
        return (settings['crop_size'], settings['step']) if settings['crop_size'] else None
    return (480, 240) if '_sub' in place.path.name else None
