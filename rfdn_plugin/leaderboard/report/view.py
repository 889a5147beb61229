"""What every form of the table shows, worked out once from the board: columns, ranks, marks, footnotes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from rfdn_plugin.leaderboard.measure.complexity import MULTI_ADDS_NOTE
from rfdn_plugin.leaderboard.measure.significance import FEW_IMAGES
from rfdn_plugin.utils.text import counted

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """A figure of one row: its text, its rank among the measured rows (1, 2 or None), and whether it ties with the best.

    Attributes:
        value: For sorting; None where there is nothing.
        ties: Not distinguishable from the best of its column on this set.
    """

    text: str
    value: float | None = None
    rank: int | None = None
    ties: bool = False


@dataclass
class ScaleView:
    """Rows and columns of the table of one scale.

    Attributes:
        rows: Measured ones first, then published ones.
        sets: Columns in the order of the option file.
        quality: Cells by row index, set and metric.
        notes: Footnotes on quality, each a sentence or two.
        cost_notes: The same on costs.
    """

    scale: int
    rows: list[Row]
    sets: list[str]
    quality: dict[tuple[int, str, str], Cell]
    notes: list[str]
    cost_notes: list[str]

    @property
    def measured(self) -> list[int]:
        return [index for index, row in enumerate(self.rows) if row['source'] == 'measured']

    def metrics(self, set_name: str) -> tuple[str, ...]:
        """What the table shows of a set: PSNR and SSIM on Y, or PSNR in RGB where that alone is known."""
        known = {metric for _, name, metric in self.quality if name == set_name}
        return ('psnr_rgb',) if 'psnr_rgb' in known and 'psnr_y' not in known else ('psnr_y', 'ssim_y')

    @property
    def work(self) -> CostColumn:
        """The column of the quality table that says how much is computed: multi-adds, or else what NTIRE counts."""
        multi_adds, flops = COST_COLUMNS[1:3]
        return flops if any(map(flops.find, self.rows)) and not any(map(multi_adds.find, self.rows)) else multi_adds

    def costs(self) -> tuple[list[str], list[tuple[Row, list[Cell]]]]:
        """The cost table: the titles of the columns that hold a figure, and each row that was counted or timed."""
        rows = [row for row in self.rows if row.get('params') is not None or row.get('latency_ms')]
        columns = [column for column in COST_COLUMNS if any(column.find(row) is not None for row in rows)]
        return [column.title for column in columns], [(row, [c.cell(row) for c in columns]) for row in rows]


def pairs_of(board: dict[str, Any], scale: int) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """The comparisons of a scale: by the names of the two entries, then by set."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for pair in board['comparisons']:
        if pair['scale'] == scale:
            found.setdefault((pair['a'], pair['b']), {})[pair['set']] = pair
    return found


def scales(board: dict[str, Any]) -> list[int]:
    """The scales that a board has rows of, ascending."""
    return sorted({row['scale'] for row in board['entries']})


def view(board: dict[str, Any], scale: int) -> ScaleView:
    """Make the table of `scale` from the content of leaderboard.json."""
    rows = [row for row in board['entries'] if row['scale'] == scale]
    rows = sorted(rows, key=lambda row: row['source'] != 'measured')
    known = [info['name'] for info in board['sets'].values() if info['scale'] == scale]
    extra = [name for row in rows for name in row['sets'] if name not in known]
    sets = known + list(dict.fromkeys(extra))
    quality: dict[tuple[int, str, str], Cell] = {}
    for set_name in sets:
        metrics = dict.fromkeys(m for row in rows for m in row['sets'].get(set_name, {}) if m not in NO_METRICS)
        for metric in metrics:
            _fill(quality, board, rows, set_name, metric)
    whole = ScaleView(scale, rows, sets, quality, [], _cost_notes(rows))
    in_rgb = [name for name in sets if whole.metrics(name) == ('psnr_rgb',)]
    if len(in_rgb) < len(sets):
        how = (
            f' of BT.601 (16..235, not rounded), {scale} pixels cropped at each side, by BasicSR; whole images, no '
            'self-ensemble'
        )
        whole.notes.append(f'PSNR (dB) and SSIM on Y{how if whole.measured else ", as published"}.')
    whole.notes.extend(_notes(board, rows, scale, known))
    if in_rgb:
        whole.notes.append(f'PSNR (dB) in RGB, not on Y: {", ".join(in_rgb)}.')
    return whole


def _fill(quality: dict, board: dict[str, Any], rows: Sequence[Row], set_name: str, metric: str) -> None:
    values = {index: row['sets'].get(set_name, {}).get(metric) for index, row in enumerate(rows)}
    measured = {
        i: v for i, v in values.items() if v is not None and rows[i]['source'] == 'measured' and metric in RANKED
    }
    decimals = 2 if metric.startswith('psnr') else 4
    # Rows that print alike share a rank: what cannot be read must not decide.
    printed = sorted({round(value, decimals) for value in measured.values()}, reverse=True)
    best = max(measured, key=measured.__getitem__, default=None)
    tied = {
        other
        for pair in board['comparisons']
        if pair['set'] == set_name and pair['scale'] == rows[0]['scale'] and pair['crosses_zero'] and metric == 'psnr_y'
        for one, other in ((pair['a'], pair['b']), (pair['b'], pair['a']))
        if best is not None and one == rows[best]['name']
    }
    for index, value in values.items():
        rank = printed.index(round(value, decimals)) + 1 if index in measured else None
        quality[index, set_name, metric] = Cell(
            text=_quality_text(value, decimals, infinite_images(rows[index], set_name, metric)),
            value=value,
            rank=rank if rank in (1, 2) and len(measured) > 1 else None,
            ties=index in measured and index != best and rows[index]['name'] in tied,
        )


TITLES = {'psnr_y': 'PSNR', 'ssim_y': 'SSIM', 'psnr_rgb': 'PSNR (RGB)'}
"""How the columns of a set are headed."""
NO_METRICS = ('images', 'infinite')
"""Keys of a set's figures that hold no mean of a metric."""
RANKED = ('psnr_y', 'ssim_y', 'psnr_rgb')


def infinite_images(row: Row, set_name: str, metric: str) -> int:
    """How many images of a set have an infinite value, which JSON cannot hold: those that are equal to their HR."""
    return row['sets'].get(set_name, {}).get('infinite', {}).get(metric, 0)


def _quality_text(value: float | None, decimals: int, infinite: int) -> str:
    if value is None:
        return '∞' if infinite else '–'
    return f'{value:.{decimals}f}' + (f' (+{infinite}∞)' if infinite else '')


def _notes(board: dict[str, Any], rows: Sequence[Row], scale: int, sets: Sequence[str]) -> list[str]:
    infos = [board['sets'][f'{name} x{scale}'] for name in sets]
    confidence = f'{board["confidence"]:.0%}'
    notes = []
    if infos:
        sources: dict[str, list[str]] = {}
        for info in infos:
            text = info['lr']
            if not info['lr_is_matlab']:
                text += (
                    f' ({counted(info["lr_different_images"], "image")}, by {info["lr_difference"]:.2f} grey levels)'
                )
            sources.setdefault(text, []).append(f'{info["name"]} ({counted(info["images"], "image")})')
        notes.append('LR: ' + '; '.join(f'{", ".join(names)}: {source}' for source, names in sources.items()) + '.')
        grey = [f'{info["name"]}/{name}' for info in infos for name in info['grey']]
        if grey:
            notes.append(f'Grey images, read as three equal channels: {", ".join(grey)}.')
    if any(row['sets'].get(name, {}).get('infinite') for row in rows for name in sets):
        notes.append('(+n∞): n images equal their HR, so their PSNR is infinite; the mean is that of the others.')
    if luma_only := [row['name'] for row in rows if row.get('luma_only')]:
        notes.append(
            f'On Y alone: {", ".join(luma_only)}. Cb and Cr are enlarged by bicubic interpolation, and PSNR is taken from '
            'the Y of the 8-bit RGB image. `rfdn test` with `color: y` rounds Y itself to 8 bits, of HR too, and gives '
            'less: 0.07 dB at 38 dB.'
        )
    pairs = [pair for pair in board['comparisons'] if pair['scale'] == scale]
    if pairs:
        notes.append(
            f'≈: not distinguishable from the best in its column: the {confidence} interval (paired bootstrap over the '
            'images) of the mean difference in PSNR contains zero.'
        )
        few = sorted({f'{p["set"]} ({p["images"]})' for p in pairs if p['few_images']})
        if few:
            notes.append(
                f'Sets of fewer than {FEW_IMAGES} images: {", ".join(few)}. Intervals from so few come out too narrow; '
                'there 0.05 dB is usually nothing, marked or not.'
            )
    return notes


def _cost_notes(rows: Sequence[Row]) -> list[str]:
    notes = []
    if any(row.get('conv_macs_hr720') for row in rows):
        notes.append('Multi-adds: multiply-adds of the convolutions for an output of 1280x720.')
    if products := [row for row in rows if row.get('matmul_macs_hr720')]:
        beside = ', '.join(f'{row["name"]} {multi_adds(row["matmul_macs_hr720"])}' for row in products)
        notes.append(f'Multiply-adds of matrix products (linear layers, attention), which come beside: {beside}.')
    if any(row.get('mmengine') and row.get('ntire') for row in rows):
        notes.append(
            'NTIRE FLOPs (input 3x256x256) add one for each output of a ReLU to the multiply-adds of the convolutions; '
            'mmengine counts nothing for those, but four for each output of a bilinear interpolation.'
        )
    if any(not score['complete'] for row in rows for score in (row.get('ntire_scores') or {}).values()):
        notes.append(
            'NTIRE scores (lower is better; each baseline has 7.39) in brackets: the part of FLOPs and parameters alone, since '
            "the year's baseline was not timed in this run."
        )
    if any(row['source'] == 'published' and row['name'].startswith('RFDN') for row in rows):
        notes.append(MULTI_ADDS_NOTE)
    return notes


def count(value: int | None) -> str:
    """A count of parameters as the field writes it: 433K, 10.9M."""
    if value is None:
        return '–'
    return f'{value / 1e6:.1f}M' if value >= 1e6 else f'{value / 1e3:.0f}K' if value >= 1e3 else str(value)


def multi_adds(value: int | None) -> str:
    """A count of multiply-adds as the field writes it: 31.13 G."""
    return '–' if value is None else f'{value / 1e9:.2f} G'


def at(*keys: str) -> Callable[[Row], Any]:
    """A function that finds what stands under these keys in a row, None where there is nothing."""

    def find(row: Row) -> Any:
        for key in keys:
            row = (row or {}).get(key)  # type: ignore[assignment]
        return row

    return find


class CostColumn(NamedTuple):
    """A column of the cost table: its title, what it finds in a row, how that is written, and what it is sorted by."""

    title: str
    find: Callable[[Row], Any]
    text: Callable[[Any], str]
    number: Callable[[Any], float] = float

    def cell(self, row: Row) -> Cell:
        """What a row has in this column; a dash where it has nothing."""
        found = self.find(row)
        return Cell('–') if found is None else Cell(self.text(found), self.number(found))


def _giga(value: int) -> str:
    return f'{value / 1e9:.4f} G'


def _mega(value: int) -> str:
    return f'{value / 1e6:.2f} M'


_latency = '{0[median]:.1f} ({0[p10]:.1f}–{0[p90]:.1f})'.format

COST_COLUMNS = [
    CostColumn('Params', at('params'), '{:,}'.format, int),
    CostColumn('Multi-adds', at('conv_macs_hr720'), multi_adds, int),
    CostColumn('NTIRE FLOPs', at('ntire', 'flops'), _giga, int),
    CostColumn('Activations', at('ntire', 'activations'), _mega, int),
    CostColumn('Convs', at('ntire', 'convs'), str, int),
    CostColumn('mmengine FLOPs', at('mmengine', 'flops'), _giga, int),
    CostColumn('mmengine acts', at('mmengine', 'activations'), _mega, int),
    CostColumn('Latency, ms (p10–p90)', at('latency_ms'), _latency, itemgetter('median')),
    CostColumn(
        'Run by', lambda row: row if row.get('backend') else None, '{0[backend]} {0[precision]}'.format, lambda _: 0.0
    ),
    CostColumn('Peak memory, MiB', at('peak_memory_mb'), '{:.0f}'.format),
    *(
        CostColumn(
            f'NTIRE {year} score',
            at('ntire_scores', year),
            # In brackets: without the runtime.
            lambda found: ('{:.2f}' if found['complete'] else '({:.2f})').format(found['score']),
            itemgetter('score'),
        )
        for year in ('2024', '2025', '2026')
    ),
]


def setup(board: dict[str, Any]) -> str:
    """How latency was measured; empty where it was not."""
    timings = [row['latency_ms'] for row in board['entries'] if row.get('latency_ms')]
    if not timings:
        return ''
    timing = timings[0]
    runtimes, precisions = (', '.join(dict.fromkeys(t[key] for t in timings)) for key in ('runtime', 'precision'))
    return (
        f'Latency: median of {timing["runs"]} interleaved runs after {timing["warmup"]} to warm up, input {timing["input"]}, '
        f'{timing["device"]}, {timing["threads"]} thread(s), {precisions}, {timing["layout"]}, {runtimes}.'
    )


def citations(rows: Sequence[Row]) -> dict[str, list[tuple[str, str]]]:
    """By citation, the published rows that have it: (name, what is noted beside it in brackets)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        if row['source'] == 'published':
            text = row['citation'] + (' [secondary source]' if row['secondary'] else '')
            found.setdefault(text, []).append((row['name'], f' ({row["note"]})' if row.get('note') else ''))
    return found
