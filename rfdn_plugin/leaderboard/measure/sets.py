"""Test sets: pairs of HR and LR images, read by BasicSR's PairedImageDataset and checked before any work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rfdn_plugin.data.images import IMAGE_SUFFIXES, ImageError, decode_image, image_size, read_image
from rfdn_plugin.data.lmdb import open_lmdb, reading, shapes_of
from rfdn_plugin.data.lr_check import WHOLE, CutEdges, judge_resize
from rfdn_plugin.data.pairing import Pairing, explain_sizes, explain_unpaired, pair_names, stems_of
from rfdn_plugin.leaderboard.options import SetOptions
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import sha256
from rfdn_plugin.utils.text import some_of


@dataclass(frozen=True)
class SetImage:
    """One pair. `lr` is 3 x H x W in RGB from 0 to 1 (float32); `hr` is (scale H) x (scale W) x 3, RGB, uint8."""

    set_name: str
    name: str
    scale: int
    lr: Tensor
    hr: np.ndarray


@dataclass(frozen=True)
class TestSet:
    """A set at one scale, with its pairs found. Make it with `open_set`.

    Attributes:
        names: Names of the images, as the HR's, sorted; `read` takes their indices.
        template: BasicSR's `filename_tmpl`.
        digest: SHA-256 over the names and bytes of all HR and LR files.
    """

    __test__ = False  # no test case, whatever pytest makes of the name

    name: str
    scale: int
    hr: str
    lr: str
    template: str
    names: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_lmdb(self) -> bool:
        return self.hr.endswith('.lmdb')

    @cached_property
    def cut_edges(self) -> CutEdges:
        """Edges at which the sub-images of an LMDB were cut from whole images."""
        return CutEdges(Path(self.hr), Path(self.lr))

    @cached_property
    def dataset(self) -> Any:
        """BasicSR's dataset over the pairs, as `val` of an option file would open it, in the order of `names`."""
        from basicsr.data.paired_image_dataset import PairedImageDataset

        dataset = PairedImageDataset(self.dataset_options())
        dataset.paths.sort(key=lambda pair: pair['gt_path'])  # folders come in the file system's order
        return dataset

    def dataset_options(self) -> dict[str, Any]:
        """The section of `datasets` in a BasicSR option file that reads this set."""
        return {
            'name': self.name,
            'type': 'PairedImageDataset',
            'dataroot_gt': self.hr,
            'dataroot_lq': self.lr,
            'filename_tmpl': self.template,
            'io_backend': {'type': 'lmdb' if self.is_lmdb else 'disk'},
            'scale': self.scale,
            'phase': 'val',
        }

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width of the HR images by their headers; an image whose header cannot be read is left out."""
        if self.is_lmdb:
            return {name: shape[:2] for name, shape in shapes_of(Path(self.hr)).items()}
        found = {name: image_size(pair['gt_path']) for name, pair in zip(self.names, self.dataset.paths, strict=True)}
        return {name: size for name, size in found.items() if size is not None}

    def read(self, index: int) -> SetImage:
        """Decode the HR and LR images of pair `index`.

        Raises:
            RFDNError: A file of the pair cannot be decoded.
        """
        from basicsr.utils import tensor2img

        name = self.names[index]
        try:
            pair = self.dataset[index]
        except (AttributeError, TypeError, ValueError, OSError) as error:  # OpenCV returned nothing to go on with
            raise RFDNError(
                f'set {self.name} x{self.scale}: {name} cannot be decoded: replace its files ({error}).'
            ) from error
        return SetImage(self.name, name, self.scale, pair['lq'], tensor2img(pair['gt'], rgb2bgr=False))


def open_set(name: str, options: SetOptions, scale: int) -> TestSet:
    """Find the pairs of a set at a scale.

    Raises:
        RFDNError: A folder is missing or empty, the names do not pair, or the two are not both LMDBs: all images
            without a partner are named.
    """
    hr, lr = (path.replace('{scale}', str(scale)).rstrip('/') for path in (options.hr, options.lr))
    for what, path in (('hr', hr), ('lr', lr)):
        if not Path(path).is_dir():
            raise RFDNError(f'set {name}: no folder {path}: correct sets.{name}.{what} (relative to {Path.cwd()}).')
    if hr.endswith('.lmdb') != lr.endswith('.lmdb'):
        raise RFDNError(f'set {name}: {hr} and {lr}: both must be LMDBs, or both folders.')
    template = options.filename_tmpl.replace('{scale}', str(scale)) if options.filename_tmpl else None
    if hr.endswith('.lmdb'):
        return _open_lmdb(name, scale, hr, lr)
    return _open_folders(name, scale, hr, lr, template)


def _open_lmdb(name: str, scale: int, hr: str, lr: str) -> TestSet:
    keys = {}
    for root in (hr, lr):
        try:
            keys[root] = set(shapes_of(Path(root)))
        except RFDNError as error:
            raise RFDNError(f'set {name}: {error}') from error
        if dotted := sorted(key for key in keys[root] if '.' in key):
            raise RFDNError(
                f'set {name}: {root}: BasicSR reads keys up to a dot ({dotted[0]}): make the LMDB with rfdn prepare.'
            )
    _refuse_unpaired(name, pair_names(keys[hr], keys[lr], scale, '{}'), scale, hr, lr)
    names = tuple(sorted(keys[hr]))
    return TestSet(name, scale, hr, lr, '{}', names, _digest_lmdb(name, names, hr, lr))


def _open_folders(name: str, scale: int, hr: str, lr: str, template: str | None) -> TestSet:
    hr_files, lr_files = (_visible_files(name, root) for root in (hr, lr))
    pairing = pair_names(hr_files, lr_files, scale, template)
    _refuse_unpaired(name, pairing, scale, hr, lr)
    pairs = []
    for stem, file in sorted(hr_files.items(), key=lambda item: item[1]):
        low = lr_files[pairing.lr_of[stem]]
        if Path(low).suffix != Path(file).suffix:
            raise RFDNError(
                f'set {name} x{scale}: the LR of {file} is of another file type ({low}): BasicSR pairs equal ones '
                'only, so convert one of the two folders.'
            )
        pairs.append((f'{hr}/{file}', f'{lr}/{low}'))
    names = tuple(Path(file).stem for file, _ in pairs)
    return TestSet(name, scale, hr, lr, pairing.template, names, _digest_files(pairs))


def _visible_files(set_name: str, root: str) -> dict[str, str]:
    """The files of a folder by their names without suffix."""
    files = [entry.name for entry in Path(root).iterdir() if entry.is_file() and not entry.name.startswith('.')]
    foreign = [file for file in files if Path(file).suffix.lower() not in IMAGE_SUFFIXES]
    if foreign:
        raise RFDNError(f'set {set_name}: {root} holds {some_of(foreign)}, which is no image: move it away.')
    if not files:
        raise RFDNError(f'set {set_name}: {root} holds no images: name the folder that holds them.')
    try:
        return stems_of(files)
    except RFDNError as error:
        raise RFDNError(f'set {set_name}: {root}: {error}') from error


def _refuse_unpaired(name: str, pairing: Pairing, scale: int, hr: str, lr: str) -> None:
    if not pairing.is_complete:
        unpaired = explain_unpaired(pairing, hr, lr)
        raise RFDNError(f'set {name} x{scale}: {unpaired}: complete the set (or give filename_tmpl).')


def _digest_files(pairs: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for path in (path for pair in pairs for path in pair):
        digest.update(Path(path).name.encode() + b'\0' + bytes.fromhex(sha256(path)))
    return digest.hexdigest()


def _digest_lmdb(set_name: str, names: tuple[str, ...], *roots: str) -> str:
    digest = hashlib.sha256()
    for root in roots:
        with open_lmdb(root).begin() as transaction:
            for name in names:
                value = transaction.get(name.encode())
                if value is None:
                    raise RFDNError(f'set {set_name}: {root} lists {name} but does not hold it: make the LMDB again.')
                digest.update(name.encode() + b'\0' + hashlib.sha256(value).digest())
    return digest.hexdigest()


# --- checks of one pair --------------------------------------------------------------------------------------------
LR_SOURCES = {
    'symmetric': 'MATLAB bicubic',
    'replicate': "MATLAB bicubic (old MATLAB's replicated border)",
    'other': "not MATLAB's bicubic of HR",
    'unknown': 'too small to tell',
}
"""How an LR image was made (`lr_check.Resize.source`), and the words for it in tables."""


def check_pair(test_set: TestSet, index: int) -> dict[str, Any]:
    """Sizes, and whether LR is MATLAB's bicubic of HR, border rule included.

    Returns:
        `lr`: a key of `LR_SOURCES`; `difference`: mean absolute difference in grey levels from the nearest of the two
        border rules; `grey`: the image has three equal channels.

    Raises:
        RFDNError: The sizes do not fit the scale, or a file cannot be decoded.
    """
    name, scale = test_set.names[index], test_set.scale
    paths = test_set.dataset.paths[index]
    # PairedImageDataset crops HR to what LR covers without a word, so HR's own size is read beside it.
    hr = _decoded(test_set, test_set.hr, paths['gt_path'])
    lr = _decoded(test_set, test_set.lr, paths['lq_path'])
    _, problem = explain_sizes(hr.shape, lr.shape, scale, exact=False)
    if problem:
        raise RFDNError(
            f'set {test_set.name} x{scale}: {name}: {problem}: correct sets.{test_set.name}, or make the LR again '
            '(`rfdn prepare`).'
        )
    resize = judge_resize(hr, lr, scale, test_set.cut_edges.of(name) if test_set.is_lmdb else WHOLE)
    grey = bool((hr[..., 0] == hr[..., 1]).all() and (hr[..., 1] == hr[..., 2]).all())
    return {'lr': resize.source, 'difference': resize.difference, 'grey': grey}


def _decoded(test_set: TestSet, root: str, path: str) -> np.ndarray:
    """A file, or the value of a key of an LMDB, as uint8 RGB."""
    try:
        if not test_set.is_lmdb:
            return read_image(path).rgb
        with reading(root) as transaction:
            return decode_image(bytes(transaction.get(path.encode()) or b'')).rgb
    except ImageError as error:
        raise RFDNError(f'set {test_set.name} x{test_set.scale}: {path}: {error}: replace it.') from error
