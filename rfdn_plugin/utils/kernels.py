"""The cubic kernel of MATLAB's bicubic interpolation."""

from __future__ import annotations

from typing import Any


def cubic(distance: Any) -> Any:
    """Keys' cubic kernel with a = -1/2, four pixels wide.

    Args:
        distance: Pixels from the centre: a NumPy array or a tensor of floats.

    Returns:
        The weights, of the same type and shape.
    """
    x = abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return near * (x <= 1) + far * ((x > 1) & (x < 2))
