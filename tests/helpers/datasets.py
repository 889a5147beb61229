"""Dataset sections over the images that the fixture `data` makes."""

from __future__ import annotations

from pathlib import Path


def options(data: Path, source: str, scale: int = 2, **changes) -> dict:
    if source.startswith('files'):
        roots = {'dataroot_gt': str(data / source / 'gt'), 'dataroot_lq': str(data / source / 'lq')}
    else:
        folder = data / source
        roots = {
            'dataroot_gt': str(folder / 'HR_sub.lmdb'),
            'dataroot_lq': str(folder / f'LR_bicubic_X{scale}_sub.lmdb'),
        }
    return {
        'name': 'train',
        **roots,
        'io_backend': {'type': 'disk' if source.startswith('files') else 'lmdb'},
        'gt_size': 48,
        'use_hflip': True,
        'use_rot': True,
        'scale': scale,
        'phase': 'train',
        **changes,
    }
