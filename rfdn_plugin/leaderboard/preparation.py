"""Before the work: everything that an option file names is found and read, and all that is wrong is told at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rfdn_plugin.leaderboard.measure.cache import Cache
from rfdn_plugin.leaderboard.measure.entries import Entry, resolve
from rfdn_plugin.leaderboard.measure.evaluate import Plan
from rfdn_plugin.leaderboard.measure.metrics import metric_problem, smallest_side
from rfdn_plugin.leaderboard.measure.sets import TestSet, open_set
from rfdn_plugin.leaderboard.options import LeaderboardOptions, PublishedEntry
from rfdn_plugin.leaderboard.report.published import published_row
from rfdn_plugin.leaderboard.state import Run
from rfdn_plugin.options.yaml_io import did_you_mean
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.text import some_of

SET_ALIASES = {'BSD100': 'B100', 'BSDS100': 'B100'}
"""Names of one set in the field: published rows are shown under the name that the option file uses."""

Found = TypeVar('Found')


def prepare(options: LeaderboardOptions, out: str | Path) -> Run:
    """Find and read everything that the option file names.

    Raises:
        RFDNError: Sets, weights, published rows or packages are missing or do not fit: every problem is named.
    """
    problems: list[str] = []

    def attempt(function: Callable[..., Found], *args: Any) -> list[Found]:
        """The result as a list of one, or nothing where a problem was found."""
        try:
            return [function(*args)]
        except RFDNError as error:
            problems.append(str(error))
            return []

    out = Path(out)
    attempt(_refuse_other_results, options, out)
    scales = sorted({scale for entry in options.measured for scale in entry.scale})
    sets: dict[tuple[str, int], TestSet] = {
        (name, scale): test_set
        for scale in scales
        for name, section in options.sets.items()
        for test_set in attempt(open_set, name, section, scale)
    }
    entries: list[Entry] = []
    published: list[dict[str, Any]] = []
    for entry in options.entries:
        for scale in entry.scale:
            if isinstance(entry, PublishedEntry):
                published += attempt(_published, entry, scale, options.sets)
            else:
                entries += attempt(resolve, entry, scale, [s for s in sets.values() if s.scale == scale])
    device = attempt(_device, options.device)
    problems += _image_problems(options, sets.values()) + _metric_problems(options) + _size_problems(options, sets)
    if problems:
        raise RFDNError(
            problems[0]
            if len(problems) == 1
            else '\n  '.join([f'{len(problems)} problems, nothing was computed:', *problems])
        )
    plan = Plan({entry.label: entry for entry in entries}, sets, dict(options.metrics), device[0])
    return Run(options, out, plan, published, Cache(out / 'cache'))


def _refuse_other_results(options: LeaderboardOptions, out: Path) -> None:
    """Raise RFDNError where the folder holds the results of another leaderboard, which would be overwritten."""
    path = out / 'leaderboard.json'
    if not path.is_file():
        return
    try:
        name = json.loads(path.read_text(encoding='utf-8'))['name']
    except (ValueError, KeyError, TypeError):
        return  # no file of ours, or torn: it is replaced
    if name != options.name:
        raise RFDNError(f'{out} holds the results of {name}, not of {options.name}: name another --out.')


def _image_problems(options: LeaderboardOptions, sets: Iterable[TestSet]) -> list[str]:
    wanted = options.report.images if isinstance(options.report.images, dict) else {}
    problems = [
        f'report.images: there is no set {name}{did_you_mean(name, options.sets)}.'
        for name in wanted
        if name not in options.sets
    ]
    for test_set in sets:
        unknown = [name for name in wanted.get(test_set.name, ()) if name not in test_set.names]
        problems += [
            f'report.images: {test_set.name} x{test_set.scale} has no image {name}: take some of '
            f'{some_of(test_set.names)}.'
            for name in unknown
        ]
    return problems


def _metric_problems(options: LeaderboardOptions) -> list[str]:
    sections = [('', options.metrics), *((f'entry {entry.name}: ', entry.metrics) for entry in options.measured)]
    found = [
        (f'{where}metrics.{name}: ', metric_problem(metric))
        for where, metrics in sections
        for name, metric in metrics.items()
    ]
    return [f'{place}{problem}.' for place, problem in found if problem]


NIQE_SIDE = 96
"""Side of the blocks that BasicSR's NIQE is made of: a smaller image has none, and its NIQE is not a number."""


def _size_problems(options: LeaderboardOptions, sets: Mapping[tuple[str, int], TestSet]) -> list[str]:
    """Images that are too small to be measured, which would fail in the middle of the run."""
    further = [
        metric for metrics in (options.metrics, *(e.metrics for e in options.measured)) for metric in metrics.values()
    ]
    problems = []
    for test_set in sets.values():
        scale = test_set.scale
        needs = {'SSIM': smallest_side(scale)}
        if niqe := [metric for metric in further if metric['type'] == 'calculate_niqe']:
            needs['NIQE'] = NIQE_SIDE + 2 * max(metric.get('crop_border', scale) for metric in niqe)
        sides = {name: min(size) // scale * scale for name, size in test_set.sizes().items()}
        for what, needed in needs.items():
            if small := [name for name, side in sides.items() if side < needed]:
                problems.append(
                    f'set {test_set.name} x{scale}: {what} needs {needed} pixels a side, which {some_of(small)} has not: '
                    + ('leave it out.' if what == 'SSIM' else 'leave it out, or the metric.')
                )
    return problems


def _device(wanted: str) -> str:
    import torch

    if wanted == 'cuda' and not torch.cuda.is_available():
        raise RFDNError('device: cuda, but torch sees no GPU: take auto or cpu.')
    return 'cuda' if wanted != 'cpu' and torch.cuda.is_available() else 'cpu'


def _published(entry: PublishedEntry, scale: int, sets: Iterable[str]) -> dict[str, Any]:
    row = published_row(entry.published, scale)
    own_names = {SET_ALIASES[name]: name for name in sets if name in SET_ALIASES}
    figures = {own_names.get(name, name): values for name, values in row['sets'].items()}
    return {**row, 'name': entry.name or row['name'], 'sets': figures}
