"""The board as a terminal table, as Markdown, and as CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rfdn_plugin.leaderboard.options import RECORD_METRICS
from rfdn_plugin.leaderboard.report import view as v
from rfdn_plugin.utils.files import atomic_write

GAP = 2  # between columns
NARROWEST_NAMES = 12
WIDEST_WORD = 24
PUBLISHED, QUOTED = '†', '‡'
MARKS = {
    PUBLISHED: 'published, not measured here',
    QUOTED: 'published, read in another work that quotes it',
}


# --- terminal ------------------------------------------------------------------------------------------------------
def print_board(board: dict[str, Any], console: Console | None = None) -> None:
    """The tables of all scales and what went wrong, for any width from 60 columns."""
    console = console or Console()
    for scale in v.scales(board):
        view = v.view(board, scale)
        console.print(_terminal_table(board, view, console.width))
        marks = {row['secondary'] for row in view.rows if row['source'] == 'published'}
        legend = [
            f'{mark} {MARKS[mark]}' for mark, secondary in ((PUBLISHED, False), (QUOTED, True)) if secondary in marks
        ]
        for note in [*view.notes, *([f'{"; ".join(legend)}. leaderboard.md names each source.'] if legend else [])]:
            console.print(f'[dim]{escape(note)}[/dim]', highlight=False)
        console.print()
    if setup := v.setup(board):
        console.print(f'[dim]{escape(setup)}[/dim]', highlight=False)
    for row in board['entries']:
        label = f'{escape(row["name"])} x{row["scale"]}'
        for warning in row.get('warnings', ()):
            console.print(f'[yellow]warning[/yellow] {label}: {escape(warning)}', highlight=False)
        if 'error' in row:
            console.print(f'[bold red]failed[/bold red] {label}: {escape(row["error"])}', highlight=False)


def _terminal_table(board: dict[str, Any], view: v.ScaleView, width: int) -> Table:
    work = view.work
    texts: dict[str, tuple[Callable[[v.Row], Any], Callable[[Any], str]]] = {
        'Params': (v.at('params'), v.count),
        work.title.replace('Multi', 'M'): (work.find, lambda macs: v.multi_adds(macs).replace(' ', '')),
        'ms': (v.at('latency_ms', 'median'), '{:.1f}'.format),
    }
    costs = {
        title: ['–' if found is None else text(found) for found in map(find, view.rows)]
        for title, (find, text) in texts.items()
        if any(find(row) is not None for row in view.rows)
    }
    names = [_terminal_name(row) for row in view.rows]
    words = [word for name in names for word in Text.from_markup(name).plain.split()]
    entry = min(max(NARROWEST_NAMES, *map(len, words)), WIDEST_WORD)
    sets = [name for name in view.sets if any(name in view.rows[i]['sets'] for i in view.measured)] or view.sets
    columns: dict[str, list[str]] = {}
    # One line a figure where there is room, else PSNR above SSIM; without all costs where the sets need their room.
    for one_line, kept in ((True, len(costs)), (False, len(costs)), (False, 1)):
        qualities = {name: _terminal_qualities(view, name, one_line) for name in sets}
        columns = dict(list(costs.items())[:kept]) | qualities
        if entry + sum(_width(title, cells) for title, cells in columns.items()) <= width:
            break
    else:
        ends = accumulate((_width(title, cells) for title, cells in columns.items()), initial=entry)
        columns = dict(list(columns.items())[: max(sum(end <= width for end in ends) - 1, 2)])
    table = Table(
        title=f'[bold]{escape(board["name"])}[/bold] x{view.scale}',
        title_justify='left',
        caption_justify='left',
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0),  # and a space that stands for the line between columns
    )
    if hidden := [title for title in [*costs, *sets] if title not in columns]:
        table.caption = f'No room here for {escape(", ".join(hidden))}: see leaderboard.md.'
    table.add_column('Entry', overflow='fold', min_width=entry)
    for title in columns:
        table.add_column(escape(title), justify='right', no_wrap=True)
    previous = 'measured'
    for index, row in enumerate(view.rows):
        if row['source'] != previous:
            table.add_section()
            previous = row['source']
        table.add_row(names[index], *(cells[index] for cells in columns.values()))
    return table


def _width(title: str, cells: list[str]) -> int:
    """Columns of the terminal that a column of the table takes, with the space before it."""
    lines = [line for cell in cells for line in Text.from_markup(cell).plain.split('\n')]
    return GAP + max(map(cell_len, [title, *lines]))


def _terminal_name(row: v.Row) -> str:
    name = escape(row['name'])
    if row['source'] == 'published':
        return f'[italic]{name}[/italic] {QUOTED if row["secondary"] else PUBLISHED}'
    return f'{name} [dim](raw)[/dim]' if row.get('weights_state') == 'raw weights' else name


def _terminal_qualities(view: v.ScaleView, set_name: str, one_line: bool) -> list[str]:
    return [
        '[red]failed[/red]' if 'error' in row else _terminal_quality(view, index, set_name, one_line)
        for index, row in enumerate(view.rows)
    ]


def _terminal_quality(view: v.ScaleView, index: int, set_name: str, one_line: bool) -> str:
    psnr, ssim = (view.quality.get((index, set_name, metric), v.Cell('–')) for metric in ('psnr_y', 'ssim_y'))
    if psnr.value is None and ssim.value is None:
        return view.quality.get((index, set_name, 'psnr_rgb'), psnr).text
    styled = _styled(psnr) + ('[dim]≈[/dim]' if psnr.ties else '')
    return f'{styled}/{_styled(ssim)}' if one_line else f'{styled}\n[dim]{_styled(ssim)}[/dim]'


def _styled(cell: v.Cell) -> str:
    style = {1: 'bold', 2: 'underline'}.get(cell.rank or 0)
    return f'[{style}]{cell.text}[/{style}]' if style else cell.text


# --- Markdown ------------------------------------------------------------------------------------------------------
def markdown(board: dict[str, Any]) -> str:
    """Tables ready for a paper's supplement or a README: best in bold, second underlined."""
    parts = [f'# {board["name"]}', board['notes']] if board['notes'] else [f'# {board["name"]}']
    for scale in v.scales(board):
        view = v.view(board, scale)
        parts += [f'## x{scale}', _markdown_quality_table(view), _markdown_list(view.notes)]
        parts += [
            part for part in (_markdown_costs(view), _markdown_further(view), _markdown_pairs(board, view)) if part
        ]
        if sources := v.citations(view.rows):
            parts.append(
                'Published rows:\n\n'
                + '\n'.join(
                    f'- {_plain(", ".join(name + note for name, note in names))}: {_plain(text)}'
                    for text, names in sources.items()
                )
            )
    trouble = [
        f'- {_plain(row["name"])} x{row["scale"]}: {_plain(text)}'
        for row in board['entries']
        for text in (*row.get('warnings', ()), *(['failed: ' + row['error']] if 'error' in row else []))
    ]
    if trouble:
        parts.append('## Warnings\n\n' + '\n'.join(trouble))
    environment = board['environment']
    made = ', '.join(f'{key} {environment[key]}' for key in ('rfdn_plugin', 'basicsr', 'torch', 'opencv', 'python'))
    parts.append(f'{v.setup(board)}\n\nMade with {made} on {environment["device"]}, {environment["created"]}.'.strip())
    return '\n\n'.join(parts) + '\n'


def _markdown_quality_table(view: v.ScaleView) -> str:
    heads = [f'{name}<br>{" / ".join(v.TITLES[metric] for metric in view.metrics(name))}' for name in view.sets]
    header = ['Entry', 'Params', view.work.title, *heads]
    lines = []
    for index, row in enumerate(view.rows):
        cells = ['failed' if 'error' in row else _markdown_quality(view, index, name) for name in view.sets]
        lines.append([_markdown_name(row), v.count(row.get('params')), v.multi_adds(view.work.find(row)), *cells])
    return _markdown_table(header, lines)


def _markdown_costs(view: v.ScaleView) -> str:
    titles, rows = view.costs()
    if len(titles) < 3:  # parameters and multi-adds stand in the table above
        return _markdown_list(view.cost_notes)
    lines = [[_markdown_name(row), *(cell.text for cell in cells)] for row, cells in rows]
    table = _markdown_table(['Cost', *titles], lines)
    return f'{table}\n\n{_markdown_list(view.cost_notes)}'


def _markdown_list(notes: list[str]) -> str:
    return '\n'.join(f'- {_plain(note)}' for note in notes)


def _markdown_further(view: v.ScaleView) -> str:
    keys = list(dict.fromkeys((s, m) for _, s, m in view.quality if m not in RECORD_METRICS[:2]))
    header = ['Further metrics', *(f'{name}<br>{metric}' for name, metric in keys)]
    lines = [
        [_markdown_name(row), *(_markdown_cell(view.quality.get((index, *key))) for key in keys)]
        for index, row in enumerate(view.rows)
        if row['source'] == 'measured'
    ]
    return _markdown_table(header, lines) if keys and lines else ''


def _markdown_table(header: list[str], lines: list[list[str]]) -> str:
    return '\n'.join(f'| {" | ".join(line)} |' for line in [header, [':--', *['--:'] * (len(header) - 1)], *lines])


def _markdown_name(row: v.Row) -> str:
    name = _plain(row['name'])
    if row['source'] == 'published':
        return f'_{name} (published{", secondary source" if row["secondary"] else ""})_'
    return f'{name} ({row["weights_state"]})' if row['weights_state'] else name


def _markdown_quality(view: v.ScaleView, index: int, set_name: str) -> str:
    cells = [view.quality.get((index, set_name, metric)) for metric in view.metrics(set_name)]
    if cells[0] is None or (cells[0].value is None and cells[0].text == '–'):
        return '–'
    return ' / '.join(map(_markdown_cell, cells))


def _markdown_cell(cell: v.Cell | None) -> str:
    if cell is None:
        return '–'
    text = {1: f'**{cell.text}**', 2: f'<u>{cell.text}</u>'}.get(cell.rank or 0, cell.text)
    return text + ('≈' if cell.ties else '')


def _markdown_pairs(board: dict[str, Any], view: v.ScaleView) -> str:
    pairs = v.pairs_of(board, view.scale)
    if not pairs:
        return ''
    sets = [name for name in view.sets if any(name in by_set for by_set in pairs.values())]
    lines = [f'| First − second (dB) | {" | ".join(sets)} |', f'| :-- {"| --: " * len(sets)}|']
    for (a, b), by_set in pairs.items():
        cells = [_markdown_difference(by_set.get(name)) for name in sets]
        lines.append(f'| {_plain(a)} − {_plain(b)} | {" | ".join(cells)} |')
    summary = (
        f'Mean difference in PSNR-Y per image with its {board["confidence"]:.0%} interval; ≈ where it contains zero'
    )
    return f'<details><summary>{summary}</summary>\n\n' + '\n'.join(lines) + '\n\n</details>'


def _markdown_difference(pair: dict[str, Any] | None) -> str:
    if pair is None:
        return '–'
    return f'{pair["difference"]:+.3f} [{pair["low"]:+.3f}, {pair["high"]:+.3f}]{" ≈" * pair["crosses_zero"]}'


def _plain(text: str) -> str:
    """Text that Markdown must not interpret."""
    return re.sub(r'([\\`*_|<>\[\]])', r'\\\1', text)


# --- CSV -----------------------------------------------------------------------------------------------------------
def write_csv(board: dict[str, Any], folder: Path) -> list[Path]:
    """One file with a row an entry, one with a row an image; the set-up is in their names."""
    setup = _setup_name(board)
    figures = [(s, m) for row in board['entries'] for s, values in row['sets'].items() for m in values]
    keys = [(s, m) for s, m in dict.fromkeys(figures) if m not in v.NO_METRICS]
    years = list(dict.fromkeys(year for row in board['entries'] for year in row.get('ntire_scores', {})))
    header = ['name', 'scale', 'type', 'source', 'weights_sha256', 'weights_state', 'params', 'conv_macs_hr720']
    header += ['ntire_flops', 'ntire_activations', 'ntire_convs', 'mmengine_flops', 'mmengine_activations']
    header += ['latency_ms_median', 'latency_ms_min', 'latency_ms_p10', 'latency_ms_p90', 'peak_memory_mb']
    header += [f'ntire_{year}_{key}' for year in years for key in ('score', 'complete')]
    header += [f'{set_name}_{metric}' for set_name, metric in keys]
    infinite = [key for key in keys if any(v.infinite_images(row, *key) for row in board['entries'])]
    header += [f'{set_name}_{metric}_infinite' for set_name, metric in infinite] + ['citation', 'error']
    lines = []
    for row in board['entries']:
        flat = dict(row)
        for key in ('ntire', 'mmengine', 'latency_ms'):
            flat |= {f'{key}_{name}': value for name, value in (row.get(key) or {}).items()}
        for year, score in (row.get('ntire_scores') or {}).items():
            flat |= {f'ntire_{year}_{key}': value for key, value in score.items()}
        flat |= {
            f'{s}_{m}': value
            for s, values in row['sets'].items()
            for m, value in values.items()
            if m not in v.NO_METRICS
        }
        flat |= {f'{s}_{m}_infinite': v.infinite_images(row, s, m) for s, m in infinite}
        lines.append([flat.get(key) for key in header])
    images = [
        [row['name'], row['scale'], set_name, image, metric, value]
        for row in board['entries']
        for set_name, values in row['sets'].items()
        for image, figures in values.get('images', {}).items()
        for metric, value in figures.items()
    ]
    summary, per_image = folder / f'leaderboard-{setup}.csv', folder / f'images-{setup}.csv'
    of_images = ['name', 'scale', 'set', 'image', 'metric', 'value']
    tables: list[tuple[Path, list[list[Any]]]] = [(summary, [header, *lines]), (per_image, [of_images, *images])]
    for path, content in tables:
        with atomic_write(path, 'w') as stream:
            csv.writer(stream, lineterminator='\n').writerows(content)
    return [summary, per_image]


def _setup_name(board: dict[str, Any]) -> str:
    parts = [board['name'], 'crop-scale', f'torch{board["environment"]["torch"]}', board['environment']['device']]
    timing = next((row['latency_ms'] for row in board['entries'] if row.get('latency_ms')), None)
    if timing:
        parts += [timing['precision'], f'{timing["threads"]}threads', timing['input']]
    return '-'.join(re.sub(r'[^A-Za-z0-9.]+', '_', part).strip('_') for part in parts)
