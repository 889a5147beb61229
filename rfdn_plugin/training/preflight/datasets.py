"""The pairs of images that an option file names: there, of the right scale, large enough and enough of them.

Sizes are read from what LMDBs and the beginnings of files say; no image is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rfdn_plugin.data.lmdb import check_whole, shapes_of
from rfdn_plugin.utils.errors import RFDNError

MOST_SIZES = 1000
"""Images of a folder whose sizes are looked at, evenly spread."""

COMMON_MULTIPLE = 12
"""Of the scales 2, 3 and 4: to which some test sets were cropped before they were shrunk."""

Size = tuple[int, int]
Pairs = dict[str, tuple['Size | None', 'Size | None']]


class _UnusableError(ValueError):
    """What makes it useless to look further at a section."""


def find_pairs(where: str, dataset: dict[str, Any]) -> tuple[Pairs, list[str]]:
    """HR and LR size (height, width; None where only decoding would tell) by name, and the problems of the section."""
    try:
        return _find_pairs(where, dataset), []
    except _UnusableError as error:
        return {}, [*error.args]


def _find_pairs(where: str, dataset: dict[str, Any]) -> Pairs:
    roots = {key: Path(dataset[key]).expanduser() for key in ('dataroot_gt', 'dataroot_lq')}
    is_lmdb = dataset['io_backend']['type'] == 'lmdb'
    if is_lmdb and dataset.get('meta_info_file') is not None:
        raise _UnusableError(
            f'{where}.meta_info_file: an LMDB is used whole: leave it out, or take io_backend.type disk.'
        )
    databases = [] if is_lmdb else [root for root in roots.values() if (root / 'data.mdb').is_file()]
    if databases:
        raise _UnusableError(f'{where}.io_backend.type: disk, but {databases[0]} is an LMDB: set it to lmdb.')
    names, problems = {}, []
    for key, root in roots.items():
        try:
            names[key] = (_names_in_lmdb if is_lmdb else _names_in_folder)(f'{where}.{key}', root)
        except _UnusableError as error:
            problems += error.args
    if problems:
        raise _UnusableError(*problems)
    hr, lr = names['dataroot_gt'], names['dataroot_lq']
    listing = None if is_lmdb else dataset.get('meta_info_file')
    if listing is not None:
        if not Path(listing).is_file():
            raise _UnusableError(f'{where}.meta_info_file: no file {listing}: check the path, or leave it out.')
        # BasicSR takes the first word of every line for a name, of a blank one as well.
        lines = Path(listing).read_text(encoding='utf-8', errors='replace').splitlines()
        blank = [number for number, line in enumerate(lines, start=1) if not line.strip()]
        if blank or not lines:
            problem = f'line {blank[0]} of {listing} is blank: remove it' if blank else f'{listing} names no image'
            raise _UnusableError(f'{where}.meta_info_file: {problem}.')
        hr = {line.strip().split(' ')[0]: None for line in lines}
    template = '{}' if is_lmdb else dataset.get('filename_tmpl', '{}')
    # BasicSR wants the LR in the same format: its name is the template filled in, and the suffix of the HR.
    partner = {name: name if is_lmdb else template.format(Path(name).stem) + Path(name).suffix for name in hr}
    missing = sorted(name for name, low in partner.items() if low not in lr)
    extra = sorted(set(lr) - set(partner.values())) if listing is None else []
    different = [
        f'{len(lacking)} {what} ({", ".join(lacking[:4])}{", ..." if len(lacking) > 4 else ""})'
        for lacking, what in ((missing, 'HR images have no LR'), (extra, 'LR images have no HR'))
        if lacking
    ]
    if different:
        raise _UnusableError(
            f'{where}: {" and ".join(different)}: {roots["dataroot_gt"]} and {roots["dataroot_lq"]} differ.'
        )
    if not hr:
        raise _UnusableError(f'{where}: {roots["dataroot_gt"]} holds no images.')
    dotted = sorted(name for name in hr if is_lmdb and '.' in name)
    if dotted:
        raise _UnusableError(f'{where}: BasicSR reads keys up to a dot ({dotted[0]}): make the LMDB with rfdn prepare.')
    pairs = {name: (hr[name], lr[partner[name]]) for name in hr}
    if not is_lmdb:  # reading the beginning of a file is quick, but not of a million
        for name in list(pairs)[:: math.ceil(len(pairs) / MOST_SIZES)]:
            pairs[name] = (_size(roots['dataroot_gt'] / name), _size(roots['dataroot_lq'] / partner[name]))
    return pairs


def _size(path: Path) -> Size | None:
    """Height and width as a file's beginning says them; None where it does not."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError):  # read in earnest, it will be told what is wrong with it
        return None


def _names_in_lmdb(where: str, root: Path) -> dict[str, Size | None]:
    if root.suffix != '.lmdb':
        raise _UnusableError(f'{where}: {root} is no .lmdb folder, but io_backend.type is lmdb: correct one of them.')
    try:
        check_whole(root)
        return {key: (height, width) for key, (height, width, _) in shapes_of(root).items()}
    except RFDNError as error:
        raise _UnusableError(f'{where}: {error}') from error


def _names_in_folder(where: str, root: Path) -> dict[str, Size | None]:
    if not root.is_dir():
        raise _UnusableError(
            f'{where}: no folder {root}: see docs/datasets.md for the tree that the option files expect.'
        )
    return {path.name: None for path in sorted(root.iterdir()) if path.is_file() and not path.name.startswith('.')}


def check_sizes(
    where: str,
    dataset: dict[str, Any],
    pairs: Pairs,
    scale: int,
) -> Iterator[str]:
    """Problems of the sizes: of another scale, or smaller than a patch."""
    known = {name: pair for name, pair in pairs.items() if None not in pair}
    # Of a set to validate on, BasicSR crops what the LR does not cover: as much as a crop to a multiple leaves over.
    surplus = 0 if 'gt_size' in dataset else COMMON_MULTIPLE - 1
    wrong = sorted(
        name
        for name, pair in known.items()
        if not all(0 <= high - low * scale <= surplus for high, low in zip(*pair, strict=True))
    )
    if wrong:
        (hr, lr), name = known[wrong[0]], wrong[0]
        yield (
            f'{where}: {len(wrong)} pairs are not of scale {scale} ({name}: HR {hr[1]}x{hr[0]}, LR {lr[1]}x{lr[0]}): '
            'dataroot_lq is of another scale, or HR was not cropped to a multiple of it.'
        )
    gt_size = dataset.get('gt_size')
    small = sorted(name for name, (hr, _) in known.items() if gt_size and min(hr) < gt_size)
    if small:
        some = ', '.join(small[:4]) + (', ...' if len(small) > 4 else '')
        yield (f'{where}: {len(small)} images are smaller than gt_size {gt_size} ({some}): remove them or lower it.')


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
