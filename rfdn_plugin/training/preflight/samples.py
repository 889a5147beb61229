"""One image of a set, as BasicSR's dataset gives it to a network, for checks that try something."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """One image of a training, validation or test set.

    Attributes:
        name: Set and file, for messages.
        scale: HR pixels for an LR pixel.
        lr: 1 x C x H x W, float, from 0 to 1 unless the set is normalised.
        hr: 1 x C x scale H x scale W, likewise.
    """

    name: str
    scale: int
    lr: Tensor
    hr: Tensor

    def piece(self, side: int) -> Sample:
        """The middle of the image, at most `side` LR pixels high and wide."""
        height, width = self.lr.shape[2:]
        top, left = max(height - side, 0) // 2, max(width - side, 0) // 2
        lr = self.lr[:, :, top : top + side, left : left + side]
        inside = [
            slice(start * self.scale, (start + size) * self.scale)
            for start, size in zip((top, left), lr.shape[2:], strict=True)
        ]
        return Sample(self.name, self.scale, lr, self.hr[:, :, inside[0], inside[1]])


def read_sample(section: dict[str, Any], phase: str, scale: int, key: str | None = None) -> Sample:
    """Read an image of a set to validate or test on; of a training set a whole image, without crop and flip.

    Args:
        section: Section of the option file, with pairs of images.
        phase: Its name there: train, val, test_1, ...
        scale: HR pixels for an LR pixel.
        key: Name of the HR file without folder, or key in the LMDB; the first image where it is not given.

    Raises:
        Exception: Whatever BasicSR's dataset fails with.
    """
    from basicsr.data import build_dataset

    unused = ('resident', 'sample_seed', 'gt_size')
    whole = {name: copy.deepcopy(value) for name, value in section.items() if name not in unused}
    paired = 'PairedImageDataset' if section['type'] == 'FastPairedImageDataset' else section['type']
    dataset = build_dataset({**whole, 'type': paired, 'phase': 'val', 'scale': scale})
    paths = [path['gt_path'] for path in getattr(dataset, 'paths', ())]
    index = next((number for number, path in enumerate(paths) if key is not None and Path(path).name == key), 0)
    item = dataset[index]
    name = f'{section.get("name", phase)}/{Path(str(item.get("gt_path", index))).name}'
    hr = item['gt'][None, :, : item['lq'].shape[1] * scale, : item['lq'].shape[2] * scale]
    return Sample(name, scale, item['lq'][None], hr)
