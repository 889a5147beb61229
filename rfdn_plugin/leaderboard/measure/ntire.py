"""The ranking scores of the NTIRE challenges on efficient super-resolution, 2024 to 2026.

Score_X = exp(2 X / X_baseline) for runtime, FLOPs (counted by fvcore, as mmengine does) and parameters, averaged with the
year's weights; lower is better, the baseline itself has exp(2) = 7.39. Source: the README files of NTIRE2024_ESR,
NTIRE2025_ESR and NTIRE2026_ESR.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

SCALE = 4


@dataclass(frozen=True)
class Year:
    """One challenge: its baseline's figures and the weights of the three scores."""

    baseline: str
    flops: float
    params: float
    runtime_weight: float
    flops_weight: float
    params_weight: float


YEARS = {
    2024: Year('RLFN', 19.67e9, 0.317e6, 0.7, 0.15, 0.15),
    2025: Year('EFDN', 16.70e9, 0.276e6, 0.7, 0.15, 0.15),
    2026: Year('SPAN', 9.83e9, 0.151e6, 0.8, 0.1, 0.1),
}


def score(year: int, flops: float, params: float, runtime_ratio: float | None = None) -> dict[str, Any]:
    """Compute the score of a model by the rules of a year of the NTIRE challenge.

    Args:
        year: Year of the challenge.
        flops: Multiply-adds for a 3x256x256 input, in mmengine's or fvcore's convention.
        params: Number of parameters.
        runtime_ratio: The model's runtime over the baseline's, both measured in the same run on the same card; None
            where the baseline was not in the run.

    Returns:
        `score`: the challenge's Score_Final, or, without a runtime, what FLOPs and parameters alone add to it;
        `complete`: whether the runtime is in it.
    """
    rules = YEARS[year]
    total = rules.flops_weight * math.exp(2 * flops / rules.flops) + rules.params_weight * math.exp(
        2 * params / rules.params
    )
    if runtime_ratio is not None:
        total += rules.runtime_weight * math.exp(2 * runtime_ratio)
    return {'score': total, 'complete': runtime_ratio is not None}
