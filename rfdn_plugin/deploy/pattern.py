"""A hard image for checks: edges from dark to bright, waves of every length, flat parts."""

from __future__ import annotations

import numpy as np


def pattern(height: int, width: int) -> np.ndarray:
    """1 x 3 x H x W, float32, RGB, 0..1."""
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing='ij')
    colours = [np.sin(40 * x * y), np.cos(9 * x + 30 * y * y), np.where(x > y, 0.9, -0.8)]
    return (0.5 + 0.5 * np.stack(colours))[None].astype(np.float32)
