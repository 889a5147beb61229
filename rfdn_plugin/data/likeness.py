"""Whether two images look the same: thumbnails, which recompression and slight edits do not change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

_SIDE = 16  # of a thumbnail
LARGEST_DIFFERENCE = 4.0
"""Mean absolute difference of the thumbnails of one image, in grey levels."""


@dataclass(frozen=True)
class Likeness:
    """A thumbnail: float32, (16, 16, 3), each value the mean of the pixels that it stands for."""

    thumbnail: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> Likeness:
        """Make the thumbnail of an image of any size: uint8, (H, W, 3)."""
        return cls(cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32))

    @staticmethod
    def digest(image: np.ndarray) -> bytes:
        """Equal for equal pixels and, for all practical purposes, for those only."""
        return hashlib.blake2b(
            np.ascontiguousarray(image).data, digest_size=12, key=repr(image.shape).encode()
        ).digest()

    def difference(self, other: Likeness) -> float:
        """Mean absolute difference in levels of 0..255."""
        return float(np.abs(self.thumbnail - other.thumbnail).mean())

    def is_like(self, other: Likeness) -> bool:
        """Whether both are thumbnails of the same image, perhaps in another size or encoding."""
        return self.difference(other) <= LARGEST_DIFFERENCE
