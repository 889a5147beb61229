"""Boards of published rows alone: they need no data, and still show quality against cost with every source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from helpers import REPOSITORY

from rfdn_plugin.cli import main
from rfdn_plugin.leaderboard.options import parse_options
from rfdn_plugin.leaderboard.report.plots import MANY, Point, scatter
from rfdn_plugin.leaderboard.report.published import published_names, published_row
from rfdn_plugin.utils.errors import RFDNError

BOARDS = {'history': 'PSNR-Y (dB) against Multi-adds', 'ntire_history': 'PSNR-RGB (dB) against NTIRE FLOPs'}


@pytest.mark.parametrize('name', BOARDS)
def test_a_board_without_data(name: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = REPOSITORY / f'options/leaderboard/{name}.yml'
    assert main(['leaderboard', '-opt', str(file)]) == 0
    folder = tmp_path / 'results/leaderboard' / name
    page, text = (folder / 'leaderboard.html').read_text(), (folder / 'leaderboard.md').read_text()
    assert BOARDS[name] in page and 'against Parameters' in page
    for plots in re.findall('<div class="plots".*?</div></div>', page, re.DOTALL):
        assert len(set(re.findall('viewBox="([^"]*)"', plots))) == 1  # beside each other, of one size
    rows = []
    for entry in yaml.safe_load(file.read_text())['entries']:
        scales = entry['scale'] if isinstance(entry['scale'], list) else [entry['scale']]
        assert entry.get('name', entry['published']).replace('_', '\\_') in text
        for scale in scales:
            row = published_row(entry['published'], scale)
            rows.append(row)
            assert row['citation'].split(':')[0].replace('_', '\\_') in text
            for figures in row['sets'].values():
                assert f'{next(iter(figures.values())):.2f}' in text
    out = capsys.readouterr().out
    table, written = out.split('Written to')
    assert max(map(len, table.splitlines())) <= 80 and '…' not in table
    heads = {word for line in table.splitlines() if line.startswith('Entry') for word in line.split()}
    hidden = set(''.join(re.findall('No room here for (.*): see', table)).split(', ')) - {''}
    sets = {name for row in rows for name in row['sets']}
    assert sets - hidden == heads - {'Entry', 'Params', 'M-adds'}  # no column is cut
    work = {'history': 'Multi-adds', 'ntire_history': 'NTIRE FLOPs'}[name]  # the one that is known
    assert work.replace('Multi', 'M') in heads | hidden and re.search(rf'^\| Entry \| Params \| {work} \|', text, re.M)
    assert f'>{work}</button>' in page and ('<h3>Cost' in page) == ('| Cost |' in text) == (name == 'ntire_history')
    assert not re.search(r'^\| :--.*\n\n', text, re.M)  # no table without rows
    shown = [next(iter(row['sets'][name].values())) for row in rows for name in row['sets'] if name not in hidden]
    assert all(f'{psnr:.2f}' in table for psnr in shown)
    assert ('‡' in table) == any(row['secondary'] for row in rows)
    assert ('on Y, as published' in table) == (name == 'history') and 'comparisons' not in written


def test_a_measured_entry_needs_a_set():
    with pytest.raises(RFDNError, match='sets is missing'):
        parse_options({'name': 'n', 'entries': [{'type': 'bicubic', 'scale': 2}]})


def test_every_row_has_a_figure_and_its_ratio_is_plausible():
    """A digit too many or few in a count would show: multiply-adds for each parameter lie in one range per scale."""
    for name in published_names():
        for scale in (2, 3, 4):
            if name not in published_names(scale):
                continue
            row = published_row(name, scale)
            assert row['sets'] or row.get('params'), name
            for figures in row['sets'].values():
                assert all(
                    20 < value < 45 if 'psnr' in metric else 0.6 < value < 1 for metric, value in figures.items()
                )
            if macs := row.get('conv_macs_hr720'):
                lr_pixels = 1280 * 720 / scale**2
                # From one use of each weight for each LR pixel (some layers work on fewer) to recursion on HR pixels.
                assert 0.1 < macs / row['params'] / lr_pixels < 1500, (name, scale)


def test_names_of_many_points_do_not_cover_each_other():
    points = [
        Point(1e5 * 1.01**n, 32 + (n % 3) / 100, f'network {n} of 2022', 'published', n % 8) for n in range(MANY + 6)
    ]
    svg = scatter(points, 'Parameters', 'PSNR-Y (dB)', large=True)
    assert 'class="wide"' in svg and 'class="leader"' in svg
    found = re.findall(r'<text class="[^"]*label" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]*)', svg)
    assert len(found) == len(points)
    boxes = []
    for x, y, anchor, label in found:
        width = len(label) * 6.4
        left = float(x) - {'start': 0, 'middle': width / 2, 'end': width}[anchor]
        boxes.append((left, float(y) - 10, left + width, float(y) + 2))
    covered = [
        (a, b)
        for i, a in enumerate(boxes)
        for b in boxes[:i]
        if min(a[2], b[2]) - max(a[0], b[0]) > 2 and min(a[3], b[3]) - max(a[1], b[1]) > 2
    ]
    assert len(covered) <= 2
