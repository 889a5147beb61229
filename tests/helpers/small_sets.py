"""A small test set and small weights for the leaderboard's tests: real photographs, real files, seconds of work."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.data.bicubic import downscale, mod_crop

PLACES = {'astronaut': (40, 180), 'coffee': (90, 150), 'chelsea': (60, 110), 'rocket': (150, 250)}
"""Photographs that scikit-image ships, and the top left corner of what is taken of each."""


def photograph(name: str, size: tuple[int, int] = (61, 75)) -> np.ndarray:
    """A piece of a photograph, height x width x 3, RGB, uint8; 61 x 75 is no multiple of 2 or 4."""
    import skimage.data

    top, left = PLACES[name]
    return np.ascontiguousarray(getattr(skimage.data, name)()[top : top + size[0], left : left + size[1], :3])


def write(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])


def make_set(
    root: Path,
    scale: int = 2,
    *,
    border: str = 'symmetric',
    div2k_names: bool = True,
    names: tuple[str, ...] = tuple(PLACES),
) -> dict[str, str]:
    """Write HR and LR below `root`; gives the section of `sets` that reads them."""
    for name in names:
        hr = photograph(name)
        write(root / 'HR' / f'{name}.png', hr)
        lr = downscale(mod_crop(hr, scale), scale, border)
        write(root / f'X{scale}' / f'{name}{f"x{scale}" if div2k_names else ""}.png', lr)
    return {'hr': str(root / 'HR'), 'lr': str(root / 'X{scale}')}


def make_weights(path: Path, scale: int = 2, *, seed: int = 0, **arguments) -> Path:
    """Weights of a small RFDN that begins as an interpolation, so that it is near bicubic; layout `params`."""
    torch.manual_seed(seed)
    settings = {'num_feat': 8, 'num_block': 1, 'upscale': scale, 'interpolation_start': True, **arguments}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'params': NETWORKS['RFDN'](**settings).state_dict()}, path)
    return path


def network_entry(name: str, weights: Path, scale: int = 2, **settings) -> dict:
    """The section of `entries` for `make_weights`' files."""
    return {'name': name, 'type': 'RFDN', 'scale': scale, 'weights': str(weights), 'img_range': 1, **settings}
