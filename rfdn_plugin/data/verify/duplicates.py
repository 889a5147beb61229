"""Benchmark images in a training set: whole, cut into sub-images, resized or mirrored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rfdn_plugin.data.bicubic import mod_crop
from rfdn_plugin.data.images import ImageError, find_images, read_image
from rfdn_plugin.data.likeness import LARGEST_DIFFERENCE, Likeness
from rfdn_plugin.data.pairing import COMMON_MULTIPLE
from rfdn_plugin.data.prepare.tiles import tiles_of

_SMALLEST_CONTRAST = 8.0  # standard deviation below which a thumbnail says nothing: sky, walls


@dataclass(frozen=True)
class Benchmarks:
    """Benchmark images as they would be found in a training set: whole, cut into sub-images, and mirrored.

    Attributes:
        images: (name, RGB) of each.
    """

    images: list[tuple[str, np.ndarray]]
    _views_by_cut: dict[tuple[int, int] | None, tuple[list[str], np.ndarray]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, folders: Iterable[Path]) -> Benchmarks:
        """The images of folders such as datasets/Set5/HR; files that are no images are passed over.

        Raises:
            RFDNError: A folder does not exist.
        """
        images = []
        for folder in map(Path, folders):
            for root, name in find_images([folder])[0]:
                try:
                    images.append((f'{folder.parent.name}/{folder.name}/{name}', read_image(root / name).rgb))
                except ImageError:  # not an image that anything could be a duplicate of
                    continue
        return cls(images)

    def find(self, image: np.ndarray, cut: tuple[int, int] | None) -> str:
        """The name of the benchmark image that `image` shows or is cut from, '' if none.

        Args:
            image: uint8 RGB, (H, W, 3): an entry.
            cut: Crop size and step by which the entry was cut; None for a whole image.

        A copy of the same size is found in sub-images as well, a resized one among whole images only.
        """
        if not self.images:
            return ''
        mine = Likeness.of(image).thumbnail
        if mine.std() < _SMALLEST_CONTRAST:
            return ''
        names, thumbnails = self._views(cut)
        differences = np.abs(thumbnails - mine).mean(axis=(1, 2, 3))
        best = int(differences.argmin())
        return names[best] if differences[best] <= LARGEST_DIFFERENCE else ''

    def _views(self, cut: tuple[int, int] | None) -> tuple[list[str], np.ndarray]:
        if cut not in self._views_by_cut:
            names, thumbnails = [], []
            for name, image in self.images:
                for view in self._parts(image, cut):
                    for mirrored in (view, view[:, ::-1]):
                        names.append(name)
                        thumbnails.append(Likeness.of(np.ascontiguousarray(mirrored)).thumbnail)
            self._views_by_cut[cut] = names, np.stack(thumbnails)
        return self._views_by_cut[cut]

    @staticmethod
    def _parts(image: np.ndarray, cut: tuple[int, int] | None) -> Iterable[np.ndarray]:
        yield image
        cropped = mod_crop(image, COMMON_MULTIPLE)
        if cropped.size:
            yield cropped
            for tile in tiles_of(cropped.shape[0], cropped.shape[1], *cut) if cut else ():
                yield cropped[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
