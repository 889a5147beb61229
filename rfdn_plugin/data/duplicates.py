"""Whether two pictures are the same to the eye: by thumbnails, which recompression and slight edits do not change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rfdn_plugin.data.bicubic import mod_crop
from rfdn_plugin.data.pictures import PictureError, find_pictures, read_picture
from rfdn_plugin.data.tiles import tiles_of

_SIDE = 16  # of a thumbnail
_LARGEST_DIFFERENCE = 4.0  # mean absolute difference of thumbnails of one picture, in grey levels
_SMALLEST_CONTRAST = 8.0  # standard deviation below which a thumbnail says nothing: sky, walls
_HR_MULTIPLE = 12  # HR is cropped to it for scales 2, 3 and 4


@dataclass(frozen=True)
class Likeness:
    """A thumbnail: float32, (16, 16, 3), each value the mean of the pixels that it stands for."""

    thumbnail: np.ndarray

    @classmethod
    def of(cls, picture: np.ndarray) -> Likeness:
        """Of a picture of any size: uint8, (H, W, 3)."""
        return cls(cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32))

    @staticmethod
    def digest(picture: np.ndarray) -> bytes:
        """Equal for equal pixels and, for all practical purposes, for those only."""
        return hashlib.blake2b(np.ascontiguousarray(picture), digest_size=12, key=repr(picture.shape).encode()).digest()

    def difference(self, other: Likeness) -> float:
        """Mean absolute difference in levels of 0..255."""
        return float(np.abs(self.thumbnail - other.thumbnail).mean())

    def is_like(self, other: Likeness) -> bool:
        """Whether both show one picture."""
        return self.difference(other) <= _LARGEST_DIFFERENCE


@dataclass(frozen=True)
class Benchmarks:
    """Benchmark pictures as they would be found in a training set: whole, cut into sub-images, and mirrored.

    Attributes:
        pictures: (name, RGB) of each.
    """

    pictures: list[tuple[str, np.ndarray]]

    @classmethod
    def none(cls) -> Benchmarks:
        return cls([])

    @classmethod
    def read(cls, folders: Iterable[Path]) -> Benchmarks:
        """The pictures of folders such as datasets/Set5/HR; files that are no pictures are passed over.

        Raises:
            RFDNError: A folder does not exist.
        """
        pictures = []
        for folder in map(Path, folders):
            for root, name in find_pictures([folder])[0]:
                try:
                    pictures.append((f'{folder.parent.name}/{folder.name}/{name}', read_picture(root / name).rgb))
                except PictureError:  # not a picture that anything could be a duplicate of
                    continue
        return cls(pictures)

    def find(self, picture: np.ndarray, cut: tuple[int, int] | None) -> str:
        """The name of the benchmark picture that `picture` shows or is cut from, '' if none.

        Args:
            picture: uint8 RGB, (H, W, 3): an entry.
            cut: Crop size and step by which the entry was cut; None for a whole picture.

        A copy of the same size is found in sub-images as well, a resized one among whole pictures only.
        """
        if not self.pictures:
            return ''
        mine = Likeness.of(picture).thumbnail
        if mine.std() < _SMALLEST_CONTRAST:
            return ''
        names, thumbnails = self._views(cut)
        differences = np.abs(thumbnails - mine).mean(axis=(1, 2, 3))
        best = int(differences.argmin())
        return names[best] if differences[best] <= _LARGEST_DIFFERENCE else ''

    def _views(self, cut: tuple[int, int] | None) -> tuple[list[str], np.ndarray]:
        if cut not in _views_cache:
            names, thumbnails = [], []
            for name, picture in self.pictures:
                for view in self._parts(picture, cut):
                    for mirrored in (view, view[:, ::-1]):
                        names.append(name)
                        thumbnails.append(Likeness.of(np.ascontiguousarray(mirrored)).thumbnail)
            _views_cache[cut] = names, np.stack(thumbnails)
        return _views_cache[cut]

    @staticmethod
    def _parts(picture: np.ndarray, cut: tuple[int, int] | None) -> Iterable[np.ndarray]:
        yield picture
        cropped = mod_crop(picture, _HR_MULTIPLE)
        if cropped.size:
            yield cropped
            for tile in tiles_of(*cropped.shape[:2], *cut) if cut else ():
                yield cropped[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]


_views_cache: dict[tuple[int, int] | None, tuple[list[str], np.ndarray]] = {}
