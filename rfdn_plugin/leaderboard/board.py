"""The whole run: prepare, check, measure, compare, and write it all down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rfdn_plugin.leaderboard.measure import latency
from rfdn_plugin.leaderboard.measure.entries import digest
from rfdn_plugin.leaderboard.measure.evaluate import Pool, check_sets, evaluate, open_pool
from rfdn_plugin.leaderboard.options import LatencyOptions, LeaderboardOptions
from rfdn_plugin.leaderboard.preparation import prepare
from rfdn_plugin.leaderboard.report import write_outputs
from rfdn_plugin.leaderboard.result import assemble
from rfdn_plugin.leaderboard.state import Run
from rfdn_plugin.utils.lock import Lock


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
        RFDNError: Another process writes there, something is missing or does not fit; before any work.
    """
    with Lock(Path(out) / '.lock', f'the leaderboard in {out}', 'name another --out'):
        return _run(prepare(options, out), workers or options.workers)


def _run(state: Run, workers: int | None) -> dict[str, Any]:
    options = state.options
    with open_pool(state.plan, workers) as pool:
        state.checks = check_sets(state.plan, pool, state.cache)
        _probe(state, pool)
        state.evaluation = evaluate(state.plan, pool, state.cache)
        _count(state, pool)
    if options.latency is not None:
        _time(state, options.latency)  # while no worker is there to disturb it
    board = assemble(state)
    with open_pool(state.plan, workers) as pool:
        images = _images(state, board, pool)
    write_outputs(board, images, state.out, options.report)
    return board


# --- the steps -----------------------------------------------------------------------------------------------------
def _probe(state: Run, pool: Pool) -> None:
    """Notes of entries whose first image looks like a wrong range or colour order."""
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
    for label, cache_key in keys.items():
        if suspicion := (state.cache.get(cache_key) or {}).get('suspicion'):
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


def _time(state: Run, options: LatencyOptions) -> None:
    """All entries in one run, or what such a run gave before: one new entry means that all are timed again."""
    timed = [e for e in state.plan.entries.values() if e.has_costs and e.label not in state.evaluation.failures]
    if not timed:
        return
    key = digest(
        'latency', [(e.label, e.key) for e in timed], options.model_dump(), latency.device_name(state.plan.device)
    )
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


def _images(state: Run, board: dict[str, Any], pool: Pool) -> list[dict[str, Any]]:
    """HR and every entry's image for what the report shows, by scale, set and name."""
    tasks: list[tuple] = []
    found: dict[tuple[tuple[str, int], str], dict[str, str]] = {}
    for set_key, name in _chosen_images(state, board):
        test_set = state.plan.sets[set_key]
        found[set_key, name] = {}
        for label, entry in state.plan.entries.items():
            if entry.scale != test_set.scale or label in state.evaluation.failures:
                continue
            key = f'{state.plan.key(entry, test_set)}-{digest(name)}'
            found[set_key, name][label] = key
            if state.cache.image(key) is None:
                tasks.append((set_key, test_set.names.index(name), label, key))
    for (*_, key), image in pool.run('image', tasks):
        state.cache.put_image(key, image)
    chosen = []
    for (set_key, name), keys in found.items():
        test_set = state.plan.sets[set_key]
        images = {state.plan.entries[label].name: state.cache.image(key) for label, key in keys.items()}
        hr = test_set.read(test_set.names.index(name)).hr
        chosen.append({'scale': test_set.scale, 'set': test_set.name, 'name': name, 'hr': hr, 'images': images})
    return chosen


def _chosen_images(state: Run, board: dict[str, Any]) -> list[tuple[tuple[str, int], str]]:
    wanted = state.options.report.images
    if isinstance(wanted, dict):
        return [
            (key, name)
            for set_name, names in wanted.items()
            for key in state.plan.sets
            if key[0] == set_name
            for name in names
        ]
    chosen = []
    for scale in sorted({scale for _, scale in state.plan.sets}):
        spreads = [
            (spread, key, name)
            for key in state.plan.sets
            if key[1] == scale
            for name, spread in _spreads(board, *key).items()
        ]
        chosen += [(key, name) for _, key, name in sorted(spreads, key=lambda item: -item[0])[:wanted]]
    return chosen


def _spreads(board: dict[str, Any], set_name: str, scale: int) -> dict[str, float]:
    """By image how much the entries differ in PSNR-Y; bicubic counts only where there is but one other."""
    rows = [row for row in board['entries'] if row['scale'] == scale and row['sets'].get(set_name, {}).get('images')]
    networks = [row for row in rows if row['type'] != 'bicubic']
    tables = [row['sets'][set_name]['images'] for row in (networks if len(networks) > 1 else rows)]
    if len(tables) < 2:
        return {}
    equal_to_hr = 99.0  # dB, for the infinite PSNR that JSON has no number for
    return {name: float(np.std([table[name]['psnr_y'] or equal_to_hr for table in tables])) for name in tables[0]}
