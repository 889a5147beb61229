"""The board itself, the content of leaderboard.json, from what a run has found and measured."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from rfdn_plugin.leaderboard.measure import latency, ntire
from rfdn_plugin.leaderboard.measure.code_version import code_version
from rfdn_plugin.leaderboard.measure.entries import Entry
from rfdn_plugin.leaderboard.measure.sets import LR_SOURCES
from rfdn_plugin.leaderboard.measure.significance import compare_all
from rfdn_plugin.leaderboard.options import RECORD_METRICS
from rfdn_plugin.leaderboard.state import Run
from rfdn_plugin.utils.version import __version__


def assemble(state: Run) -> dict[str, Any]:
    """The content of leaderboard.json from what a run has found and measured so far."""
    rows = [_row(state, entry) for entry in state.plan.entries.values()]
    _add_ntire_scores(state, rows)
    return {
        'name': state.options.name,
        'environment': _environment(state),
        'sets': {
            f'{name} x{scale}': {
                'name': name,
                'scale': scale,
                'images': len(state.plan.sets[name, scale]),
                'lr': LR_SOURCES[check['lr']],
                'lr_is_matlab': check['lr'] != 'other',
                'lr_different_images': check['different'],
                'lr_difference': check['difference'],
                'grey': check['grey'],
                'sha256': state.plan.sets[name, scale].digest,
            }
            for (name, scale), check in state.checks.items()
        },
        'entries': [*rows, *state.published],
        'comparisons': _comparisons(state, rows),
        'confidence': state.options.significance.confidence,
        'notes': state.options.report.notes,
    }


def _row(state: Run, entry: Entry) -> dict[str, Any]:
    costs = state.costs.get(entry.label, {})
    failure = state.evaluation.failures.get(entry.label)
    row: dict[str, Any] = {
        'name': entry.name,
        'type': entry.type,
        'scale': entry.scale,
        'source': 'measured',
        'weights_sha256': entry.weights_sha256,
        'weights_state': entry.state,
        'luma_only': entry.arguments.get('num_in_ch') == 1,
        'img_range': entry.img_range if entry.has_costs else None,
        'backend': entry.backend or None,
        'precision': entry.precision or None,
        **{
            key: costs.get(key)
            for key in (
                'params',
                'conv_macs_hr720',
                'matmul_macs_hr720',
                'ntire',
                'mmengine',
                'latency_ms',
                'peak_memory_mb',
            )
        },
        'sets': {},
        'warnings': list(state.notes.get(entry.label, [])),
    }
    if failure:
        return {**row, 'error': failure}
    for (set_name, scale), check in state.checks.items():
        if scale != entry.scale:
            continue
        scores = state.evaluation.scores.get((entry.label, set_name), {})
        names = list(next(iter(scores.values()), {}))
        values = {metric: [image[metric] for image in scores.values()] for metric in names}
        infinite = {metric: sum(map(math.isinf, found)) for metric, found in values.items()}
        row['sets'][set_name] = {
            **{metric: mean_of_finite(found) for metric, found in values.items()},
            **({'infinite': {m: n for m, n in infinite.items() if n}} if any(infinite.values()) else {}),
            'images': {n: {m: _finite(v) for m, v in s.items()} for n, s in scores.items()},
        }
        for metric, found in values.items():
            if missing := sum(map(math.isnan, found)):
                row['warnings'].append(f'{metric} of {missing} images of {set_name} is not a number: no mean')
        if check['lr'] == 'other':
            row['warnings'].append(
                f"LR of {set_name} is not MATLAB's bicubic of HR: no comparison with published figures"
            )
    return row


def mean_of_finite(values: Sequence[float]) -> float | None:
    """The mean without infinite values (the PSNR of images equal to their HR); None where no number is left.

    A value that is not a number (a metric that failed on an image) makes the mean None.
    """
    finite = [value for value in values if not math.isinf(value)]
    return _finite(float(np.mean(finite))) if finite else None


def _finite(value: float) -> float | None:
    """JSON has no infinity (PSNR of equal images) and no NaN: null stands for them."""
    return value if math.isfinite(value) else None


def _comparisons(state: Run, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    settings = state.options.significance
    comparisons = []
    for set_name, scale in state.plan.sets:
        scores = {
            row['name']: {name: image['psnr_y'] for name, image in row['sets'][set_name]['images'].items()}
            for row in rows
            if row['scale'] == scale and set_name in row['sets']
        }
        scores = {name: values for name, values in scores.items() if None not in values.values()}
        pairs = compare_all(scores, resamples=settings.resamples, confidence=settings.confidence)
        comparisons += [{'set': set_name, 'scale': scale, 'metric': 'psnr_y', **pair} for pair in pairs]
    return comparisons


def _add_ntire_scores(state: Run, rows: list[dict[str, Any]]) -> None:
    """FLOPs are mmengine's (fvcore's convention); for an ONNX file the conv MACs stand in, which they nearly are."""
    for year in ntire.YEARS:
        baseline_time = _baseline_time(state, year)
        for row in rows:
            flops = (row['mmengine'] or row['ntire'] or {}).get('flops')
            if row['scale'] != ntire.SCALE or flops is None or 'error' in row:
                continue
            time = row['latency_ms']
            ratio = None
            if baseline_time and time and time['runtime'] == baseline_time['runtime']:
                ratio = time['median'] / baseline_time['median']
            row.setdefault('ntire_scores', {})[str(year)] = ntire.score(year, flops, row['params'], ratio)


def _baseline_time(state: Run, year: int) -> dict[str, Any] | None:
    """How long the year's baseline took in this run, where an entry is one."""
    for entry in state.plan.entries.values():
        if getattr(entry.options, 'ntire_baseline', None) == year and entry.scale == ntire.SCALE:
            return state.costs.get(entry.label, {}).get('latency_ms')
    return None


def _environment(state: Run) -> dict[str, Any]:
    import basicsr
    import cv2
    import torch

    return {
        'rfdn_plugin': __version__,
        'code': code_version()[:12],
        'python': platform.python_version(),
        'torch': torch.__version__,
        'basicsr': basicsr.__version__,
        'numpy': np.__version__,
        'opencv': cv2.__version__,
        'platform': platform.platform(),
        'device': latency.device_name(state.plan.device),
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'convention': {
            'metrics': f"{', '.join(RECORD_METRICS)} by BasicSR's calculate_psnr and calculate_ssim on 8-bit images",
            'channel': 'Y of BT.601 (16..235), not rounded, and RGB',
            'crop': 'as many pixels at each side as the scale',
            'multi_adds': 'multiply-adds of the convolutions for an output of 1280x720',
            'ntire': 'input 3x256x256',
            'inference': 'whole images, no tiles, no self-ensemble',
        },
    }
