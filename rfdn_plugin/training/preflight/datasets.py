"""The images that an option file names: there, in pairs of the right scale, large enough and enough of them.

Sizes are read from what LMDBs and the beginnings of files say; no image is decoded.
"""

from __future__ import annotations

import copy
import errno
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rfdn_plugin.data.images import IMAGE_SUFFIXES, image_size
from rfdn_plugin.data.lmdb import DATA_FILE, check_whole, shapes_of
from rfdn_plugin.data.pairing import explain_sizes, fill_template, pair_names, stems_of
from rfdn_plugin.options.datasets import SINGLE
from rfdn_plugin.utils.errors import RFDNError, describe
from rfdn_plugin.utils.text import counted, shown, some_of

MOST_SIZES = 1000
"""Images of a folder whose sizes are looked at, evenly spread."""

Size = tuple[int, int]
Pairs = dict[str, tuple['Size | None', 'Size | None']]


class _UnusableError(ValueError):
    """What makes it useless to look further at a section."""


def find_pairs(where: str, dataset: dict[str, Any]) -> tuple[Pairs, list[str]]:
    """HR and LR size (height, width; None where only decoding would tell) by name, and the problems of the section.

    Args:
        where: The section, `datasets.train`.
        dataset: It; a type that is described in `options.datasets`. Of images without HR the LR stands for both.
    """
    try:
        if dataset['type'] == SINGLE:
            return {name: (size, size) for name, size in _find_singles(where, dataset).items()}, []
        return _find_pairs(where, dataset), []
    except _UnusableError as error:
        return {}, [*error.args]


def lr_names(dataset: dict[str, Any], names: Iterable[str]) -> list[str]:
    """The LR file names or keys of HR ones, in BasicSR's way: the template filled in, and the suffix of the HR."""
    if dataset['io_backend']['type'] == 'lmdb' or dataset['type'] == SINGLE:
        return list(names)
    template = dataset.get('filename_tmpl', '{}')
    fill_template(template, 'name')  # wrong also where there are no images
    return [fill_template(template, Path(name).stem) + Path(name).suffix for name in names]


def _find_singles(where: str, dataset: dict[str, Any]) -> dict[str, Size | None]:
    is_lmdb = dataset['io_backend']['type'] == 'lmdb'
    there = _names_in(f'{where}.dataroot_lq', Path(dataset['dataroot_lq']), is_lmdb)
    if not there:
        raise _UnusableError(f'{where}.dataroot_lq: {dataset["dataroot_lq"]} holds no images.')
    listed = _listed(where, dataset)
    if missing := sorted(set(listed or ()) - set(there)):
        raise _UnusableError(
            f'{where}.meta_info_file: {some_of(missing)} of it are not in {dataset["dataroot_lq"]}: correct the list.'
        )
    return there if listed is None else {name: there[name] for name in listed}


def _find_pairs(where: str, dataset: dict[str, Any]) -> Pairs:
    roots = {key: Path(dataset[key]) for key in ('dataroot_gt', 'dataroot_lq')}
    is_lmdb = dataset['io_backend']['type'] == 'lmdb'
    databases = [] if is_lmdb else [root for root in roots.values() if (root / DATA_FILE).is_file()]
    if databases:
        raise _UnusableError(f'{where}.io_backend.type: disk, but {databases[0]} is an LMDB: set it to lmdb.')
    names: dict[str, dict[str, Size | None]] = {}
    problems: list[str] = []
    for key, root in roots.items():
        try:
            names[key] = _names_in(f'{where}.{key}', root, is_lmdb)
        except _UnusableError as error:
            problems += error.args
    if problems:
        raise _UnusableError(*dict.fromkeys(problems))
    hr, lr = names['dataroot_gt'], names['dataroot_lq']
    listing = _listed(where, dataset)
    root = roots['dataroot_gt']
    if absent := sorted({name for name in listing or () if name not in hr and not (root / name).is_file()}):
        raise _UnusableError(f'{where}.meta_info_file: {some_of(absent)} of it are not in {root}: correct the list.')
    hr = hr if listing is None else dict.fromkeys(listing)
    try:
        partner = dict(zip(hr, lr_names(dataset, hr), strict=True))
    except RFDNError as error:
        raise _UnusableError(f'{where}.filename_tmpl: {error}') from error
    missing = sorted(name for name, low in partner.items() if low not in lr)
    extra = sorted(set(lr) - set(partner.values())) if listing is None else []
    different = [
        f'{counted(len(lacking), one, many)} ({some_of(lacking, 4)})'
        for lacking, one, many in (
            (missing, 'HR image has no LR', 'HR images have no LR'),
            (extra, 'LR image has no HR', 'LR images have no HR'),
        )
        if lacking
    ]
    if different:
        cure = None if is_lmdb else _what_would_pair(hr, lr, roots, dataset.get('scale'))
        differ = f'{roots["dataroot_gt"]} and {roots["dataroot_lq"]} differ'
        raise _UnusableError(f'{where}: {" and ".join(different)}: {cure or differ}.')
    if not hr:
        raise _UnusableError(f'{where}: {roots["dataroot_gt"]} holds no images.')
    dotted = sorted(name for name in hr if is_lmdb and '.' in name)
    if dotted:
        raise _UnusableError(f'{where}: BasicSR reads keys up to a dot ({dotted[0]}): make the LMDB with rfdn prepare.')
    pairs = {name: (hr[name], lr[partner[name]]) for name in hr}
    if not is_lmdb:  # reading the beginning of a file is quick, but not of a million
        for name in list(pairs)[:: math.ceil(len(pairs) / MOST_SIZES)]:
            pairs[name] = (image_size(roots['dataroot_gt'] / name), image_size(roots['dataroot_lq'] / partner[name]))
    return pairs


def _what_would_pair(hr: Iterable[str], lr: Iterable[str], roots: dict[str, Path], wanted: int | None) -> str | None:
    """What to write or do where the files pair in a way that the option file does not name; None where they do not."""
    try:
        high, low = stems_of(hr), stems_of(lr)
    except RFDNError:
        return None
    for scale in (2, 3, 4, 8):
        pairing = pair_names(high, low, scale)
        if high and pairing.is_complete:
            stem, name = next(iter(high.items()))
            large = image_size(roots['dataroot_gt'] / name)
            small = image_size(roots['dataroot_lq'] / low[pairing.lr_of[stem]])
            if large and small and wanted and (true := round(large[0] / small[0])) != wanted:
                return f'these LR are of scale {true}, the options have {wanted}: name the LR of that scale'
            if all(Path(name).suffix == Path(low[pairing.lr_of[stem]]).suffix for stem, name in high.items()):
                return f"write filename_tmpl: '{pairing.template}'"
            return 'BasicSR pairs files of one type only: convert one of the two folders'
    return None


def _names_in(where: str, root: Path, is_lmdb: bool) -> dict[str, Size | None]:
    """The keys of an LMDB with their sizes, or the files of a folder."""
    if is_lmdb:
        if root.suffix != '.lmdb':
            raise _UnusableError(
                f'{where}: {root} is no .lmdb folder, but io_backend.type is lmdb: correct one of them.'
            )
        try:
            check_whole(root)
            return {key: (height, width) for key, (height, width, _) in shapes_of(root).items()}
        except RFDNError as error:
            raise _UnusableError(f'{where}: {error}') from error
    if (root / DATA_FILE).is_file():
        section = where.rpartition('.')[0]
        raise _UnusableError(f'{section}.io_backend.type: disk, but what {section} names is an LMDB: set it to lmdb.')
    if not root.is_dir():
        raise _UnusableError(
            f'{where}: no folder {root}: see docs/datasets.md for the tree that the option files expect.'
        )
    # BasicSR looks at every entry, and stops with an error of the system at a loop.
    loops = [path.name for path in root.iterdir() if path.is_symlink() and _is_loop(path)]
    if loops:
        raise _UnusableError(f'{where}: a loop of symbolic links in {root}: {some_of(loops)}: remove it.')
    return {path.name: None for path in sorted(root.iterdir()) if path.is_file() and not path.name.startswith('.')}


def _is_loop(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _listed(where: str, dataset: dict[str, Any]) -> list[str] | None:
    """The names in `meta_info_file`; None where all images are used."""
    listing = dataset.get('meta_info_file')
    if listing is None:
        return None
    where = f'{where}.meta_info_file'
    if dataset['io_backend']['type'] == 'lmdb':
        raise _UnusableError(f'{where}: an LMDB is used whole: leave it out, or take io_backend.type disk.')
    if not Path(listing).is_file():
        raise _UnusableError(f'{where}: no file {listing}: check the path, or leave it out.')
    # BasicSR takes the first word of every line for a name, of a blank one as well.
    lines = Path(listing).read_text(encoding='utf-8', errors='replace').splitlines()
    blank = [number for number, line in enumerate(lines, start=1) if not line.split(' ')[0].strip()]
    if blank or not lines:
        problem = (
            f'line {blank[0]} of {listing} begins with no name: remove it' if blank else f'{listing} names no image'
        )
        raise _UnusableError(f'{where}: {problem}.')
    names = [line.split(' ')[0] for line in lines]
    for number, (line, name) in enumerate(zip(lines, names, strict=True), start=1):
        if not Path(name).suffix and Path(line.rstrip()).suffix.lower() in IMAGE_SUFFIXES:
            raise _UnusableError(
                f'{where}: line {number} of {listing}: BasicSR reads a name up to its first space, and would look for '
                f'{name!r} ({line.rstrip()!r}): rename the image, or leave meta_info_file out.'
            )
    return names


def count_other_samples(where: str, dataset: dict[str, Any], scale: int) -> tuple[int, list[str]]:
    """Build a dataset of another package and take a sample of it: how many it has, and what is wrong with it.

    Args:
        where: The section.
        dataset: It.
        scale: HR pixels for an LR pixel, which BasicSR writes into the section.
    """
    from basicsr.data import build_dataset

    try:
        phase = where.rpartition('.')[2].partition('_')[0]
        built = build_dataset({**copy.deepcopy(dataset), 'phase': phase, 'scale': scale})
        count, sample = len(built), built[0]
    except Exception as error:  # it is anybody's, and would end the run in the same way
        return 0, [f'{where}: {dataset["type"]} fails with these options ({describe(error)}).']
    if not isinstance(sample, Mapping):
        return 0, [f'{where}: {dataset["type"]} gives a {type(sample).__name__}, BasicSR wants a dict with lq and gt.']
    return count, []


def check_sizes(where: str, dataset: dict[str, Any], pairs: Pairs, scale: int) -> Iterator[str]:
    """Problems of the sizes: of another scale, or smaller than a patch."""
    known = {name: (hr, lr) for name, (hr, lr) in pairs.items() if hr is not None and lr is not None}
    wrong = {
        name: explain_sizes(hr, lr, scale, exact='gt_size' in dataset)[1]
        for name, (hr, lr) in sorted(known.items())
        if explain_sizes(hr, lr, scale, exact='gt_size' in dataset)[0]
    }
    if wrong:
        name, problem = next(iter(wrong.items()))
        cure = 'exchange dataroot_gt and dataroot_lq' if 'exchanged' in problem else 'name the LR of these HR'
        count = counted(len(wrong), 'pair is', 'pairs are')
        yield f'{where}: {count} not of scale {scale} ({shown(name)}: {problem}): {cure}.'
    gt_size = dataset.get('gt_size')
    small = sorted(name for name, (hr, _) in known.items() if gt_size and min(hr) < gt_size)
    if small:
        count = counted(len(small), 'image is', 'images are')
        yield f'{where}: {count} smaller than gt_size {gt_size} ({some_of(small, 4)}): remove or lower it.'


def check_length(options: dict[str, Any], images: int, batches: int) -> Iterator[str]:
    """BasicSR drops the last, smaller batch of an epoch: with fewer samples than a batch it would train nothing."""
    dataset = options['datasets']['train']
    ratio, batch = dataset.get('dataset_enlarge_ratio', 1), dataset['batch_size_per_gpu']
    if images * ratio < batch * batches:
        yield (
            f'datasets.train: {images} images x dataset_enlarge_ratio {ratio} are fewer samples than a batch of '
            f'{batch * batches}, and nothing would be trained: set dataset_enlarge_ratio to '
            f'{math.ceil(batch * batches / images)} or more.'
        )
