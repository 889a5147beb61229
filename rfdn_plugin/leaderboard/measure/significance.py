"""Is a difference between two entries real? A paired bootstrap over the images of a set.

The images of a set are drawn anew with replacement, many times; the interval holds the middle share (95 %) of the mean
differences of the draws. Where it contains zero, the set cannot tell the two entries apart. Pairing matters: images
differ by 10 dB from one another, entries on one image by tenths. (Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993, chapters 8 and 13: the percentile interval.)
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

FEW_IMAGES = 10
"""Below this the interval itself is unsure: it is drawn from so few values that it comes out too narrow."""
NEGLIGIBLE = 0.0005
"""dB; what rounds to 0.000 in the tables counts as zero: the same model in two formats differs by that."""


def compare_all(
    scores: Mapping[str, Mapping[str, float]], *, resamples: int, confidence: float, seed: int = 0
) -> list[dict[str, Any]]:
    """Every pair of entries on the images of one set.

    Args:
        scores: Scores by entry, then by image: all with the same images. Entries with other images, or with values that
            are not finite, are left out.
        resamples: Draws.
        confidence: Share of the draws inside the interval.
        seed: The same draws each time, so that a table repeats.

    Returns:
        For each pair `a`, `b` (in the order of `scores`): `difference` (mean of a - b), `low`, `high`, `images`,
        `crosses_zero`, and `few_images` where the set is too small to trust the interval.
    """
    names = list(next(iter(scores.values()), {}))
    usable = {
        entry: np.array([values[name] for name in names])
        for entry, values in scores.items()
        if list(values) == names and names and np.isfinite(list(values.values())).all()
    }
    if len(usable) < 2:
        return []
    values = np.stack(list(usable.values()))
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    means = draws @ values.T / len(names)  # resamples x entries: pairs share the draws
    tail = (1 - confidence) / 2
    results = []
    for (i, a), (j, b) in combinations(enumerate(usable), 2):
        low, high = np.quantile(means[:, i] - means[:, j], [tail, 1 - tail])
        results.append(
            {
                'a': a,
                'b': b,
                'difference': float((values[i] - values[j]).mean()),
                'low': float(low),
                'high': float(high),
                'images': len(names),
                'crosses_zero': bool(low <= NEGLIGIBLE and high >= -NEGLIGIBLE),
                'few_images': len(names) < FEW_IMAGES,
            }
        )
    return results
