"""Every entry on every image of its scale, spread over processes, each result kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rfdn_plugin.data.workers import in_order, worker_pool
from rfdn_plugin.leaderboard.measure.cache import Cache
from rfdn_plugin.leaderboard.measure.complexity import measure, measure_onnx
from rfdn_plugin.leaderboard.measure.entries import Entry, digest
from rfdn_plugin.leaderboard.measure.metrics import Reference
from rfdn_plugin.leaderboard.measure.predictors import Predictor
from rfdn_plugin.leaderboard.measure.probe import suspicion
from rfdn_plugin.leaderboard.measure.sets import SetImage, TestSet, check_pair
from rfdn_plugin.leaderboard.options import ExportedEntry
from rfdn_plugin.utils.errors import RFDNError, describe
from rfdn_plugin.utils.machine import available_cores
from rfdn_plugin.utils.progress import progress

Scores = dict[str, dict[str, float]]
"""Of one entry on one set: by image, then by metric."""


@dataclass
class Evaluation:
    """Results of all entries on all sets, and the entries that failed.

    Attributes:
        scores: Scores by entry label and set name. A failed entry has what it had reached.
        failures: One line by entry label.
    """

    scores: dict[tuple[str, str], Scores] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Entries, sets and metrics of a run, sent to each worker once."""

    entries: dict[str, Entry]
    sets: dict[tuple[str, int], TestSet]
    metrics: dict[str, dict[str, Any]]
    device: str

    def metrics_of(self, entry: Entry) -> dict[str, dict[str, Any]]:
        """The further metrics that an entry is measured by: those of the board and its own, by name."""
        return {**self.metrics, **entry.options.metrics}

    def key(self, entry: Entry, test_set: TestSet) -> str:
        """Key of an entry's results on a set in the cache."""
        return digest('scores', entry.key, test_set.digest, test_set.scale, self.metrics_of(entry), self.device)


class Worker:
    """Runs entries on images; keeps the networks that it has built."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._predictors: dict[str, Predictor] = {}

    def predict(self, label: str, image: SetImage) -> np.ndarray:
        """The super-resolved image of an entry: (scale H) x (scale W) x 3, RGB, uint8."""
        if label not in self._predictors:
            self._predictors[label] = self.plan.entries[label].predictor(self.plan.device)
        return self._predictors[label](image)

    def score(self, set_key: tuple[str, int], index: int, labels: Sequence[str]) -> dict[str, dict[str, float] | str]:
        """Scores of each entry on one image by metric (dB for PSNR), or what went wrong with it.

        Raises:
            RFDNError: The image cannot be read, or is too small for SSIM.
        """
        image = self.plan.sets[set_key].read(index)
        try:
            reference = Reference(image.hr, crop=image.scale)
        except RFDNError as error:
            raise RFDNError(f'set {image.set_name}: {image.name}: {error}') from error
        results: dict[str, dict[str, float] | str] = {}
        for label in labels:
            try:
                sr = self.predict(label, image)
                scores = reference.score(sr)
                scores |= reference.further(sr, self.plan.metrics_of(self.plan.entries[label]))
                results[label] = scores
            except Exception as error:  # whatever a stranger's model does, the other entries must finish
                results[label] = f'{image.set_name}/{image.name}: {describe(error)}'
        return results

    def probe(self, set_key: tuple[str, int], label: str) -> str | None:
        """Describe what looks wrong with an entry on the first image of a set, or None; see `probe.suspicion`."""
        try:
            return suspicion(self.plan.entries[label], self.plan.sets[set_key].read(0), self.plan.device)
        except Exception as error:  # a stranger's model; it will be named when it is evaluated
            return describe(error)

    def count(self, label: str, mmengine: bool) -> dict[str, Any] | str:
        """What `complexity.measure` gives for an entry, or what went wrong."""
        entry = self.plan.entries[label]
        try:
            if isinstance(entry.options, ExportedEntry):
                if entry.options.type != 'onnx':
                    return f'costs are counted from networks and ONNX files, not from a file of {entry.options.type}'
                return measure_onnx(entry.options.weights, entry.scale)
            return measure(entry.network(), entry.scale, mmengine=mmengine)
        except Exception as error:  # a stranger's model
            return describe(error)

    def image(self, set_key: tuple[str, int], index: int, label: str, _key: str) -> np.ndarray:
        """Super-resolved image of an entry."""
        return self.predict(label, self.plan.sets[set_key].read(index))

    def check(self, set_key: tuple[str, int], index: int) -> dict[str, Any]:
        """What `sets.check_pair` says of one pair."""
        return check_pair(self.plan.sets[set_key], index)


def limit_threads(threads: int) -> None:
    """For torch and OpenCV in this process."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


_worker: Worker | None = None  # of this process, made by the pool's initializer


def _start_worker(plan: Plan) -> None:
    global _worker
    limit_threads(1)
    _worker = Worker(plan)


def _call(method: str, *args: Any) -> Any:
    return getattr(_worker, method)(*args)


class Pool:
    """Runs `Worker` methods in processes, or in this one where there is one worker or a GPU."""

    def __init__(self, plan: Plan, workers: int = 1, executor: ProcessPoolExecutor | None = None) -> None:
        self.plan, self.workers, self.executor = plan, workers, executor
        self._local = None if executor else Worker(plan)

    def run(self, method: str, tasks: Iterable[tuple]) -> Iterator[tuple[tuple, Any]]:
        """(task, result) in the order of the tasks; a task that raises stops the rest."""
        if self.executor is None:
            for task in tasks:
                yield task, getattr(self._local, method)(*task)
            return
        calls = ((method, *task) for task in tasks)
        for (_, *done), result in in_order(self.executor, _call, calls, 2 * self.workers):
            yield tuple(done), result


@contextmanager
def open_pool(plan: Plan, workers: int | None) -> Iterator[Pool]:
    """A pool of `workers` processes, as many as this process may use cores where None."""
    workers = workers or available_cores()
    if workers == 1 or plan.device != 'cpu':
        yield Pool(plan)
        return
    limit_threads(1)  # a forked process must not inherit a running pool of threads
    with worker_pool(workers, _start_worker, plan) as executor:
        yield Pool(plan, workers, executor)


def check_sets(plan: Plan, pool: Pool, cache: Cache) -> dict[tuple[str, int], dict[str, Any]]:
    """`sets.check_pair` of every image.

    Returns:
        By set and scale: `lr`, a key of `sets.LR_SOURCES` (the worst of its images); `different`, how many images
        are of no MATLAB's; `difference`, their mean absolute difference in grey levels; `grey`, names of grey images.

    Raises:
        RFDNError: A pair does not fit the scale or cannot be decoded.
    """
    keys = {key: digest('check', test_set.digest, test_set.scale) for key, test_set in plan.sets.items()}
    known = {key: cache.lines(keys[key]) for key in plan.sets}
    tasks = [
        (key, index)
        for key, test_set in plan.sets.items()
        for index, name in enumerate(test_set.names)
        if name not in known[key]
    ]
    for (key, index), result in _shown(pool.run('check', tasks), len(tasks), 'checking sets'):
        name = plan.sets[key].names[index]
        known[key][name] = result
        cache.append(keys[key], name, result)
    return {
        key: _summary([known[key][name] for name in plan.sets[key].names], plan.sets[key].names) for key in plan.sets
    }


def _summary(images: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    sources = [image['lr'] for image in images]
    other = [image['difference'] for image in images if image['lr'] == 'other']
    return {
        'lr': next(source for source in ('other', 'replicate', 'symmetric', 'unknown') if source in sources),
        'different': len(other),
        'difference': float(np.mean(other)) if other else 0.0,
        'grey': [name for name, image in zip(names, images, strict=True) if image['grey']],
    }


def evaluate(plan: Plan, pool: Pool, cache: Cache) -> Evaluation:
    """Measure what the cache does not have yet. An entry that fails is left out of the rest and named; others go on."""
    evaluation = Evaluation()
    keys, found, tasks = {}, {}, []
    for set_key, test_set in plan.sets.items():
        labels = [label for label, entry in plan.entries.items() if entry.scale == test_set.scale]
        for label in labels:
            keys[label, set_key] = plan.key(plan.entries[label], test_set)
            found[label, set_key] = cache.lines(keys[label, set_key])
        for index, name in enumerate(test_set.names):
            if missing := [label for label in labels if name not in found[label, set_key]]:
                tasks.append((set_key, index, missing))

    def unfailed() -> Iterator[tuple]:
        for set_key, index, labels in tasks:
            yield set_key, index, [label for label in labels if label not in evaluation.failures]

    for (set_key, index, _), results in _shown(pool.run('score', unfailed()), len(tasks), 'super-resolving'):
        name = plan.sets[set_key].names[index]
        for label, result in results.items():
            if isinstance(result, str):
                evaluation.failures.setdefault(label, result)
                continue
            found[label, set_key][name] = result
            cache.append(keys[label, set_key], name, result)
    for (label, set_key), scores in found.items():  # in the set's order, whatever the cache's is
        names = [name for name in plan.sets[set_key].names if name in scores]
        evaluation.scores[label, set_key[0]] = {name: scores[name] for name in names}
    return evaluation


def _shown(results: Iterator, total: int, description: str) -> Iterator:
    return iter(progress(results, description=description, total=total, unit='images')) if total else results
