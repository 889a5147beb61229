"""What `rfdn prepare` can be asked for, and what follows from it: the databases' names and settings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rfdn_plugin.data.bicubic import Border
from rfdn_plugin.data.prepare.encoding import DEFAULT_LEVEL, Encoding, encoder_name
from rfdn_plugin.utils.errors import RFDNError


@dataclass(frozen=True)
class PrepareSpec:
    """Settings of one run of `rfdn prepare`.

    Attributes:
        hr: Folders of HR images.
        out: The folder that will hold the databases.
        scales: Whole factors; one LR database each.
        lr: For a scale, the folder of given LR images instead of MATLAB's bicubic; names as `0001x2.png` or
            `0001.png` for `0001.png`.
        crop_size: Side of a sub-image in HR pixels; 0 keeps whole images.
        step: Distance of neighbouring sub-images in HR pixels; half of crop_size where None.
        encoding: 'png' or 'bmp'.
        level: PNG compression level, 0 to 9.
        border: Border of the bicubic: 'symmetric' (MATLAB today) or 'replicate' (older releases).
        min_size: Images with a shorter side, in HR pixels, are skipped; set it to the gt_size of the training.
        workers: Processes that decode and encode.
        shard: (i, n): only the i-th of n parts, counted from 1; written to `out/shard_i_of_n`.
        recursive: Enter subfolders of `hr`.
        strict: Stop at the first file that would be skipped.
    """

    hr: tuple[Path, ...]
    out: Path
    scales: tuple[int, ...] = (2, 3, 4)
    lr: dict[int, Path] = field(default_factory=dict)
    crop_size: int = 480
    step: int | None = None
    encoding: Encoding = 'png'
    level: int = DEFAULT_LEVEL
    border: Border = 'symmetric'
    min_size: int = 0
    workers: int = 1
    shard: tuple[int, int] | None = None
    recursive: bool = False
    strict: bool = False

    @property
    def multiple(self) -> int:
        """HR sizes are multiples of this, so that one HR database pairs with the LR of every scale."""
        return math.lcm(*self.scales)

    @property
    def stride(self) -> int:
        """Step between sub-images in HR pixels: `step`, or half of `crop_size`, rounded down to a multiple of `multiple`."""
        if self.step is not None:
            return self.step
        return max(self.crop_size // 2 // self.multiple, 1) * self.multiple

    @property
    def folder(self) -> Path:
        """Folder that the databases are written to: `out`, or this shard's folder in it."""
        return self.out / 'shard_{}_of_{}'.format(*self.shard) if self.shard else self.out

    def check(self) -> None:
        """Raise RFDNError for what cannot work."""
        if not self.scales or min(self.scales) < 2 or len(set(self.scales)) < len(self.scales):
            raise RFDNError(f'scales are different whole numbers of at least 2, not {listed(self.scales)}')
        if self.crop_size < 0 or self.stride < 1 or self.min_size < 0 or self.workers < 1:
            raise RFDNError('crop size and smallest size are at least 0, step and workers at least 1')
        for name, size in (('crop size', self.crop_size), ('step', self.stride if self.crop_size else 0)):
            if size % self.multiple:
                raise RFDNError(
                    f'{name} {size} is not a multiple of {self.multiple}, which scales {listed(self.scales)} need: '
                    f'take {max(round(size / self.multiple), 1) * self.multiple}'
                )
        if self.crop_size and self.stride > self.crop_size:
            raise RFDNError(f'step {self.stride} is larger than crop size {self.crop_size}: pixels would be lost')
        if stray := sorted(set(self.lr) - set(self.scales)):
            raise RFDNError(f'LR is given for scale {stray[0]}, which is not among the scales {listed(self.scales)}')
        if self.shard and not 1 <= self.shard[0] <= self.shard[1]:
            raise RFDNError('shard {}/{} does not exist: shards are counted from 1'.format(*self.shard))
        if not 0 <= self.level <= 9:
            raise RFDNError(f'the PNG compression level is 0 to 9, not {self.level}')


def paths_of(spec: PrepareSpec) -> list[tuple[int, Path]]:
    """(scale, database): (1, HR) and one for each scale."""
    suffix = '_sub' if spec.crop_size else ''
    names = {1: f'HR{suffix}.lmdb'} | {scale: f'LR_bicubic_X{scale}{suffix}.lmdb' for scale in sorted(spec.scales)}
    return [(scale, spec.folder / name) for scale, name in names.items()]


def settings_of(spec: PrepareSpec, scale: int) -> dict:
    """Settings that the content of the database of one scale depends on, beside the images."""
    settings = {
        'format': 1,
        'scale': scale,
        'sizes are multiples of': spec.multiple,
        'crop_size': spec.crop_size,
        'step': spec.stride if spec.crop_size else 0,
        'encoding': encoder_name(spec.encoding, spec.level),
        'compression': spec.level if spec.encoding == 'png' else 0,
        'min_size': spec.min_size,
        'shard': '{}/{}'.format(*spec.shard) if spec.shard else None,
    }
    if scale > 1:
        settings['LR'] = 'given' if scale in spec.lr else f'bicubic, {spec.border} border'
    return settings


def listed(items: Iterable[object]) -> str:
    """Items as text, with spaces between."""
    return ' '.join(map(str, items))
