"""The HTML report: one file that needs nothing else, for wide and narrow screens, light and dark."""

from __future__ import annotations

import base64
from importlib import resources
from typing import Any

import cv2
import jinja2
import numpy as np

from rfdn_plugin.leaderboard.report import view as v
from rfdn_plugin.leaderboard.report.comparison import error_map
from rfdn_plugin.leaderboard.report.plots import MANY, Point, scatter

COLOURS = 8
"""`--c0` to `--c7` in report.css."""
_COSTS = {
    'Parameters': v.at('params'),
    'Multi-adds at 1280x720 output': v.at('conv_macs_hr720'),
    'NTIRE FLOPs at 256x256 input': v.at('ntire', 'flops'),
    'Latency (ms)': v.at('latency_ms', 'median'),
}


def render(board: dict[str, Any], images: list[dict[str, Any]], captions: dict[int, dict[str, str]]) -> str:
    """Render the board as one HTML page that needs no other file.

    Args:
        board: The content of leaderboard.json.
        images: As `report.write_outputs` takes them, with `crop`.
        captions: Captions by index in `images`, then by entry name.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.ChainableUndefined
    )
    template = environment.from_string(_file('report.html.j2'))
    sections = [_section(board, scale, images, captions) for scale in v.scales(board)]
    warnings = [
        ('', f'{row["name"]} x{row["scale"]}: {text}') for row in board['entries'] for text in row.get('warnings', ())
    ]
    warnings += [
        ('failed', f'{r["name"]} x{r["scale"]} failed: {r["error"]}') for r in board['entries'] if 'error' in r
    ]
    return template.render(
        board=board,
        sections=sections,
        warnings=warnings,
        setup=v.setup(board),
        confidence=f'{board["confidence"]:.0%}',
        scores=_scores(board),
        css=_file('report.css'),
        js=_file('report.js'),
        format=v,
    )


def _file(name: str) -> str:
    return resources.files('rfdn_plugin.leaderboard.report').joinpath(name).read_text(encoding='utf-8')


def _scores(board: dict[str, Any]) -> dict[str, Any]:
    """PSNR-Y by scale, set, entry and image, for the page's script."""
    scores: dict[str, Any] = {}
    for row in board['entries']:
        for set_name, values in row['sets'].items() if row['source'] == 'measured' else ():
            by_image = {
                name: None if f['psnr_y'] is None else round(f['psnr_y'], 4) for name, f in values['images'].items()
            }
            scores.setdefault(str(row['scale']), {}).setdefault(set_name, {})[row['name']] = by_image
    return scores


def _section(
    board: dict[str, Any], scale: int, images: list[dict[str, Any]], captions: dict[int, dict[str, str]]
) -> dict:
    view = v.view(board, scale)
    titles, costs = view.costs()
    pairs = v.pairs_of(board, scale)
    pair_counts = {name: pair['images'] for by_set in pairs.values() for name, pair in by_set.items()}
    pair_sets = [name for name in view.sets if name in pair_counts]
    further_titles = list(dict.fromkeys((s, m) for _, s, m in view.quality if m not in view.metrics(s)))
    infos = {info['name']: info['images'] for info in board['sets'].values() if info['scale'] == scale}
    # A board of published rows alone has measured no set: then all that were published, the fullest one first.
    drawn = {name: _plots(view, name) for name in infos or view.sets}
    plots = {name: drawings for name, (drawings, _) in drawn.items() if drawings}
    # The set with most images says most.
    default_set = max(infos or plots, key=lambda name: infos.get(name, drawn[name][1]), default=None)
    names = [row['name'] for row in view.rows if row['source'] == 'measured' and 'error' not in row]
    return {
        'view': view,
        'cost_titles': titles,
        'costs': costs,
        'further_titles': further_titles,
        'further': [
            (row, [view.quality.get((i, s, m), v.Cell('–')) for s, m in further_titles])
            for i, row in enumerate(view.rows)
        ]
        if further_titles
        else [],
        'plots': plots,
        'default_set': default_set,
        'pair_sets': pair_sets,
        'pair_counts': pair_counts,
        'pairs': [(key, [found.get(name) for name in pair_sets]) for key, found in pairs.items()],
        'names': names,
        'best': _two_best(view, names, default_set),
        'images': [_shown(p, captions[i]) for i, p in enumerate(images) if p['scale'] == scale],
        'citations': v.citations(view.rows),
    }


def _two_best(view: v.ScaleView, names: list[str], set_name: str | None) -> list[str]:
    values = {
        view.rows[i]['name']: view.quality[i, s, m].value for i, s, m in view.quality if (s, m) == (set_name, 'psnr_y')
    }
    ranked = sorted(names, key=lambda name: -(values.get(name) or 0))
    return (ranked + ranked)[:2]


def _plots(view: v.ScaleView, set_name: str) -> tuple[list[str], int]:
    """A drawing for each cost that two entries have, and how many entries have a quality on this set."""
    metric = view.metrics(set_name)[0]
    cells = [view.quality.get((index, set_name, metric), v.Cell('–')) for index in range(len(view.rows))]
    found: dict[str, list[Point]] = {}
    for title, cost in _COSTS.items():
        points = [
            Point(x, cell.value, row['name'], row['source'], index % COLOURS)
            for index, (row, cell) in enumerate(zip(view.rows, cells, strict=True))
            if cell.value is not None and (x := cost(row))
        ]
        if title.startswith('NTIRE') and any(view.rows[i].get('conv_macs_hr720') for i in view.measured):
            continue  # multi-adds say the same
        if len(points) > 1 or any(point.kind == 'measured' for point in points):
            found[title] = points
    large = any(len(points) > MANY for points in found.values())
    y_title = f'PSNR-{"Y" if metric == "psnr_y" else "RGB"} (dB)'
    drawings = [scatter(points, title, y_title, large=large) for title, points in found.items()]
    return drawings, sum(cell.value is not None for cell in cells)


def _shown(image: dict[str, Any], captions: dict[str, str]) -> dict[str, Any]:
    crop, hr = image['crop'], image['hr']
    panels = [{'name': 'HR', 'caption': '', 'crop': _data_uri(crop.of(hr)), 'error': None}]
    for name, sr in image['images'].items():
        error = _data_uri(crop.of(error_map(sr, hr)))
        panels.append({'name': name, 'caption': captions.get(name, ''), 'crop': _data_uri(crop.of(sr)), 'error': error})
    return {'set': image['set'], 'name': image['name'], 'whole': _whole(hr, crop), 'panels': panels}


def _whole(hr: np.ndarray, crop: Any, longest: int = 360) -> str:
    ratio = min(1.0, longest / max(hr.shape[:2]))
    small = cv2.resize(hr, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    first = (round(crop.left * ratio), round(crop.top * ratio))
    last = (round((crop.left + crop.size) * ratio), round((crop.top + crop.size) * ratio))
    return _data_uri(cv2.rectangle(small.copy(), first, last, (220, 38, 38), 2))


def _data_uri(rgb: np.ndarray) -> str:
    encoded = cv2.imencode('.png', cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR))[1]
    return 'data:image/png;base64,' + base64.b64encode(encoded.tobytes()).decode()
