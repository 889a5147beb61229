"""The whole run: resolve, check, measure, compare, and write it all down."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from rfdn_plugin import __version__
from rfdn_plugin.errors import RFDNError
from rfdn_plugin.files import atomic_write
from rfdn_plugin.leaderboard import latency, ntire
from rfdn_plugin.leaderboard.cache import Cache
from rfdn_plugin.leaderboard.entries import Entry, code_version, digest, resolve
from rfdn_plugin.leaderboard.evaluate import Evaluation, Plan, Pool, check_sets, evaluate, open_pool
from rfdn_plugin.leaderboard.options import RECORD_METRICS, LeaderboardOptions, NetworkEntry, OnnxEntry, PublishedEntry
from rfdn_plugin.leaderboard.published import published_row
from rfdn_plugin.leaderboard.sets import LR_SOURCES, TestSet, open_set
from rfdn_plugin.leaderboard.significance import compare_all

SET_ALIASES = {'BSD100': 'B100', 'BSDS100': 'B100'}
"""Names of one set in the field: published rows are shown under the name that the option file uses."""


@dataclass
class Run:
    """A run in the making: what was asked for, what was found, what was measured."""

    options: LeaderboardOptions
    out: Path
    plan: Plan
    published: list[dict[str, Any]]
    cache: Cache
    evaluation: Evaluation = field(default_factory=Evaluation)
    checks: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    costs: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def note(self, label: str, text: str) -> None:
        self.notes.setdefault(label, []).append(text)


def prepare(options: LeaderboardOptions, out: str | Path) -> Run:
    """Find and read everything that the option file names.

    Raises:
        RFDNError: Sets, weights or published rows are missing or do not fit: every fault is named.
    """
    faults: list[str] = []

    def attempt(function: Callable, *args: Any) -> Any:
        try:
            return function(*args)
        except RFDNError as error:
            faults.append(str(error))

    measured = [entry for entry in options.entries if not isinstance(entry, PublishedEntry)]
    scales = sorted({scale for entry in measured for scale in entry.scale})
    opened = {
        (name, scale): attempt(open_set, name, set_options, scale) for scale in scales for name, set_options in options.sets.items()
    }
    sets: dict[tuple[str, int], TestSet] = {key: test_set for key, test_set in opened.items() if test_set}
    entries, published = [], []
    for entry in options.entries:
        for scale in entry.scale:
            if isinstance(entry, PublishedEntry):
                published.append(attempt(_published, entry, scale, options.sets))
            else:
                entries.append(attempt(resolve, entry, scale, [s for s in sets.values() if s.scale == scale]))
    if faults:
        raise RFDNError(faults[0] if len(faults) == 1 else '\n  '.join([f'{len(faults)} faults, nothing was computed:', *faults]))
    metrics = dict(options.metrics)
    plan = Plan({entry.label: entry for entry in entries}, sets, metrics, _device(options.device))
    return Run(options, Path(out), plan, published, Cache(Path(out) / 'cache'))


def _device(wanted: str) -> str:
    import torch

    if wanted == 'cuda' and not torch.cuda.is_available():
        raise RFDNError('device: cuda, but torch sees no GPU: take auto or cpu.')
    return 'cuda' if wanted != 'cpu' and torch.cuda.is_available() else 'cpu'


def _published(entry: PublishedEntry, scale: int, sets: Any) -> dict[str, Any]:
    row = published_row(entry.published, scale)
    own_names = {SET_ALIASES[name]: name for name in sets if name in SET_ALIASES}
    figures = {own_names.get(name, name): values for name, values in row['sets'].items()}
    return {**row, 'name': entry.name or row['name'], 'sets': figures}


def run(options: LeaderboardOptions, out: str | Path, workers: int | None = None) -> dict[str, Any]:
    """Measure everything and write leaderboard.json, .md, .html, the .csv files and the comparisons below `out`.

    What is in `out/cache` from an earlier run is not computed again.

    Args:
        options: See `options.load_options`.
        out: Folder of the results.
        workers: Processes on a CPU, before what `options.workers` says.

    Returns:
        The content of leaderboard.json. An entry that failed has `error`.

    Raises:
        RFDNError: Something is missing or does not fit; before any work.
    """
    from rfdn_plugin.leaderboard.report import write_outputs

    state = prepare(options, out)
    with open_pool(state.plan, workers or options.workers) as pool:
        state.checks = check_sets(state.plan, pool, state.cache)
        _probe(state, pool)
        state.evaluation = evaluate(state.plan, pool, state.cache)
        _count(state, pool)
        board = _board(state)
        pictures = _pictures(state, board, pool)
    if options.latency is not None:
        _time(state)
        board = _board(state)
    write_outputs(board, pictures, state.out, options.report)
    return board


# --- the steps -----------------------------------------------------------------------------------------------------
def _probe(state: Run, pool: Pool) -> None:
    """Notes of entries whose first picture looks like a wrong range or colour order."""
    smallest: dict[int, tuple[str, int]] = {}
    for key, test_set in sorted(state.plan.sets.items(), key=lambda item: len(item[1])):
        smallest.setdefault(test_set.scale, key)
    keys, tasks = {}, []
    for label, entry in state.plan.entries.items():
        set_key = smallest[entry.scale]
        keys[label] = digest('probe', entry.key, state.plan.sets[set_key].digest, state.plan.device)
        if state.cache.get(keys[label]) is None and entry.type != 'bicubic':
            tasks.append((set_key, label))
    for (_, label), suspicion in pool.run('probe', tasks):
        state.cache.put(keys[label], {'suspicion': suspicion})
    for label, key in keys.items():
        if suspicion := (state.cache.get(key) or {}).get('suspicion'):
            state.note(label, suspicion)


def _count(state: Run, pool: Pool) -> None:
    mmengine = state.options.complexity.mmengine
    keys = {
        label: digest('complexity', entry.key, mmengine)
        for label, entry in state.plan.entries.items()
        if entry.has_costs and label not in state.evaluation.failures
    }
    tasks = [(label, mmengine) for label, key in keys.items() if state.cache.get(key) is None]
    for (label, _), counted in pool.run('count', tasks):
        if isinstance(counted, str):
            state.note(label, f'not counted: {counted}')
        else:
            state.cache.put(keys[label], counted)
    for label, key in keys.items():
        state.costs[label] = state.cache.get(key) or {}


def _time(state: Run) -> None:
    """All entries in one run, or what such a run gave before: one new entry means that all are timed again."""
    options = state.options.latency
    timed = [e for e in state.plan.entries.values() if e.has_costs and e.label not in state.evaluation.failures]
    if not timed:
        return
    key = digest('latency', [(e.label, e.key) for e in timed], options.model_dump(), latency.device_name(state.plan.device))
    results = state.cache.get(key)
    if results is None:
        results = {'latency': latency.measure_latency(timed, options, state.plan.device), 'memory': {}}
        for entry in timed if options.memory else ():
            results['memory'][entry.label] = latency.measure_memory(entry, options, state.plan.device)
        state.cache.put(key, results)
    for label, timing in results['latency'].items():
        if isinstance(timing, str):
            state.note(label, f'not timed: {timing}')
        else:
            state.costs[label]['latency_ms'] = timing
        state.costs[label]['peak_memory_mb'] = results['memory'].get(label)


def _pictures(state: Run, board: dict[str, Any], pool: Pool) -> list[dict[str, Any]]:
    """HR and every entry's picture for what the report shows, by scale, set and name."""
    tasks, found = [], {}
    for set_key, name in _chosen_pictures(state, board):
        test_set = state.plan.sets[set_key]
        labels = [
            label for label, e in state.plan.entries.items() if e.scale == test_set.scale and label not in state.evaluation.failures
        ]
        found[set_key, name] = {label: f'{state.plan.key(state.plan.entries[label], test_set)}-{digest(name)}' for label in labels}
        for label, key in found[set_key, name].items():
            if state.cache.picture(key) is None:
                tasks.append((set_key, test_set.names.index(name), label, key))
    for (*_, key), picture in pool.run('picture', [task for task in tasks]):
        state.cache.put_picture(key, picture)
    chosen = []
    for (set_key, name), keys in found.items():
        test_set = state.plan.sets[set_key]
        pictures = {state.plan.entries[label].name: state.cache.picture(key) for label, key in keys.items()}
        hr = test_set.read(test_set.names.index(name)).hr
        chosen.append({'scale': test_set.scale, 'set': test_set.name, 'name': name, 'hr': hr, 'pictures': pictures})
    return chosen


def _chosen_pictures(state: Run, board: dict[str, Any]) -> list[tuple[tuple[str, int], str]]:
    wanted = state.options.report.pictures
    if isinstance(wanted, dict):
        chosen = []
        for set_name, names in wanted.items():
            if set_name not in state.options.sets:
                raise RFDNError(f'report.pictures: no set {set_name}: there are {", ".join(state.options.sets)}.')
            for key, test_set in state.plan.sets.items():
                if unknown := [name for name in names if name not in test_set.names]:
                    if test_set.name == set_name:
                        raise RFDNError(f'report.pictures: {set_name} has no picture {unknown[0]}.')
                chosen += [(key, name) for name in names if test_set.name == set_name]
        return chosen
    chosen = []
    for scale in sorted({scale for _, scale in state.plan.sets}):
        spreads = []
        for key, test_set in state.plan.sets.items():
            rows = [row for row in board['entries'] if row['scale'] == scale == key[1] and row.get('sets', {}).get(key[0], {}).get('images')]
            networks = [row for row in rows if row['type'] != 'bicubic']
            rows = networks if len(networks) > 1 else rows
            values = [{name: image['psnr_y'] for name, image in row['sets'][key[0]]['images'].items()} for row in rows]
            if len(values) > 1:
                spreads += [(float(np.std([value[name] or 99.0 for value in values])), key, name) for name in test_set.names]
        chosen += [(key, name) for _, key, name in sorted(spreads, key=lambda item: -item[0])[:wanted]]
    return chosen


# --- the result ----------------------------------------------------------------------------------------------------
def _board(state: Run) -> dict[str, Any]:
    rows = [_row(state, entry) for entry in state.plan.entries.values()]
    _add_ntire_scores(state, rows)
    return {
        'name': state.options.name,
        'environment': _environment(state),
        'sets': {
            f'{name} x{scale}': {
                'name': name,
                'scale': scale,
                'pictures': len(state.plan.sets[name, scale]),
                'lr': LR_SOURCES[check['lr']],
                'lr_is_matlab': check['lr'] != 'other',
                'lr_different_pictures': check['different'],
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
        'img_range': entry.arguments.get('img_range', getattr(entry.options, 'img_range', None)),
        **{key: costs.get(key) for key in ('params', 'conv_macs_hr720', 'ntire', 'mmengine', 'latency_ms', 'peak_memory_mb')},
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
        means = {metric: _mean([picture[metric] for picture in scores.values()]) for metric in names}
        row['sets'][set_name] = {**means, 'images': {n: {m: _finite(v) for m, v in s.items()} for n, s in scores.items()}}
        if check['lr'] == 'other':
            row['warnings'].append(f"LR of {set_name} is not MATLAB's bicubic of HR: no comparison with published figures")
    return row


def _mean(values: list[float]) -> float | None:
    return _finite(float(np.mean(values)))


def _finite(value: float) -> float | None:
    """JSON has no infinity (PSNR of equal pictures) and no NaN: null stands for them."""
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
        baselines = [
            e for e in state.plan.entries.values() if isinstance(e.options, NetworkEntry | OnnxEntry) and e.options.ntire_baseline == year
        ]
        baseline_time = next((state.costs.get(e.label, {}).get('latency_ms') for e in baselines if e.scale == ntire.SCALE), None)
        for row in rows:
            flops = (row['mmengine'] or row['ntire'] or {}).get('flops')
            if row['scale'] != ntire.SCALE or flops is None or 'error' in row:
                continue
            time = row['latency_ms']
            comparable = baseline_time and time and time['runtime'] == baseline_time['runtime']
            ratio = time['median'] / baseline_time['median'] if comparable else None
            row.setdefault('ntire_scores', {})[str(year)] = ntire.score(year, flops, row['params'], ratio)


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
            'metrics': f"{', '.join(RECORD_METRICS)} by BasicSR's calculate_psnr and calculate_ssim on 8-bit pictures",
            'channel': 'Y of BT.601 (16..235), not rounded, and RGB',
            'crop': 'as many pixels at each side as the scale',
            'multi_adds': 'multiply-adds of the convolutions for an output of 1280x720',
            'ntire': 'input 3x256x256',
            'inference': 'whole pictures, no tiles, no self-ensemble',
        },
    }


def write_json(board: dict[str, Any], path: Path) -> None:
    """The board as JSON; see docs/leaderboard.md for its form."""
    with atomic_write(path, 'w') as stream:
        json.dump(board, stream, indent=1, ensure_ascii=False, allow_nan=False)


