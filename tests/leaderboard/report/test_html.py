"""The HTML report, in a real browser where one is installed (Debian: apt-get install chromium)."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.small_sets import make_set, make_weights, network_entry, photograph

import rfdn_plugin  # noqa: F401
from rfdn_plugin.leaderboard.board import run
from rfdn_plugin.leaderboard.options import parse_options
from rfdn_plugin.leaderboard.report.comparison import error_map, most_different_crop, write_comparison
from rfdn_plugin.leaderboard.report.plots import Point, scatter

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason='no chromium: apt-get install chromium')
DARK = '--blink-settings=preferredColorScheme=0'


@pytest.fixture(scope='module')
def report(tmp_path_factory) -> Path:
    """A board of three measured entries (one with a hostile name) and one published row at x2, bicubic alone at x3."""
    folder = tmp_path_factory.mktemp('report')
    section = make_set(folder / 'set')
    make_set(folder / 'set', 3)
    entries = [
        {'type': 'bicubic', 'scale': [2, 3]},
        network_entry('net', make_weights(folder / 'a.pth')),
        network_entry('<script>document.title="hacked"</script>', make_weights(folder / 'b.pth', seed=3, num_feat=12)),
        {'published': 'RFDN', 'scale': 2},
    ]
    content = {
        'name': 'small',
        'sets': {'Small': section, 'Set5': section},
        'entries': entries,
        'complexity': {'mmengine': False},
        'latency': {'runs': 3, 'warmup': 0, 'input': [16, 16], 'memory': False},
        'report': {'images': 2, 'crop': 32, 'notes': 'A note & more.'},
        'significance': {'resamples': 1000},
    }
    run(parse_options(content), folder / 'out', 1)
    return folder / 'out'


def in_browser(page: Path, script: str, *flags: str) -> object:
    """What `script` (a function body) returns in the loaded page."""
    text = page.read_text(encoding='utf-8')
    answer = f'<script>document.body.innerHTML = `<pre id="answer">${{JSON.stringify((() => {{ {script} }})())}}</pre>`;</script>'
    copy = page.with_name('probe.html')
    copy.write_text(text.replace('</body>', f'{answer}</body>'), encoding='utf-8')
    command = [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--dump-dom', *flags, copy.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(html.unescape(re.search(r'<pre id="answer">(.*?)</pre>', dom, re.DOTALL).group(1)))


def test_the_page_needs_nothing_else(report):
    text = (report / 'leaderboard.html').read_text(encoding='utf-8')
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and '@import' not in text and 'url(' not in text
    assert text.count('src="data:image/png;base64,') >= 2 * (1 + 1 + 3)
    assert 'A note &amp; more.' in text and '2009.11551' in text and 'secondary' in text
    assert '<script>document.title' not in text


def test_images_are_written_side_by_side(report):
    files = sorted((report / 'comparisons').glob('*.png'))
    assert [file.stem[-2:] for file in files] == ['x2', 'x2']  # at x3 there is nothing to compare
    assert all(cv2.imread(str(file)) is not None for file in files)


@needs_browser
def test_the_browser_shows_tables_plots_and_images(report):
    found = in_browser(
        report / 'leaderboard.html',
        """
        const visible = (node) => node.getClientRects().length > 0;
        return {
          title: document.title,
          rows: [...document.querySelectorAll('#x2 table.quality tbody tr')].map((row) => row.cells[0].dataset.value),
          plots: [...document.querySelectorAll('#x2 .plots svg')].filter(visible).length,
          points: document.querySelectorAll('#x2 .scatter circle').length,
          broken: [...document.images].filter((image) => !image.naturalWidth).length,
          said: document.querySelector('#x2 .scatter output').textContent,
        };
        """,
    )
    assert found['title'] == 'small'
    assert found['rows'] == ['Bicubic', 'net', '<script>document.title="hacked"</script>', 'RFDN']
    assert found['plots'] == 3 and found['points'] == 4 and found['broken'] == 0
    assert 'of 4 images' in found['said']


@needs_browser
def test_a_click_sorts_and_a_choice_changes_the_plots(report):
    found = in_browser(
        report / 'leaderboard.html',
        """
        const table = document.querySelector('#x2 table.quality');
        const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].dataset.value);
        const values = (column) => [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.value);
        const click = (column) => table.querySelector(`th[data-column="${column}"] button`).click();
        click(3);
        const falling = values(3);
        click(3);
        const rising = values(3), byScore = names();
        click(0);
        const byName = names(), sorted = table.querySelector('th[aria-sort]').dataset.column;
        const select = document.querySelector('#x2 select.set-choice');
        select.value = 'Set5';
        select.dispatchEvent(new Event('change'));
        const visible = [...document.querySelectorAll('#x2 .plots')].filter((plots) => !plots.hidden);
        const shown = visible.map((plots) => plots.dataset.set);
        return {falling, rising, byScore, byName, sorted, shown};
        """,
    )
    measured = [float(value) for value in found['falling'][:3]]
    assert measured == sorted(measured, reverse=True)
    assert [float(value) for value in found['rising'][:3]] == sorted(measured)
    assert found['byScore'][-1] == found['byName'][-1] == 'RFDN'  # published rows stay below
    assert found['byName'][1:3] == ['Bicubic', 'net'] and 'script' in found['byName'][0]
    assert found['sorted'] == '0' and found['shown'] == ['Set5']


@needs_browser
@pytest.mark.parametrize('width', [500, 1400])
def test_no_screen_scrolls_sideways(report, width):
    script = 'return [document.documentElement.scrollWidth, window.innerWidth];'
    content, window = in_browser(report / 'leaderboard.html', script, f'--window-size={width},900')
    assert content <= window


@needs_browser
def test_dark_mode_changes_paper_and_ink(report):
    script = """
        const style = getComputedStyle(document.body);
        return [style.backgroundColor, style.color].map((colour) => colour.match(/\\d+/g).map(Number).reduce((a, b) => a + b));
    """
    light, dark = (in_browser(report / 'leaderboard.html', script, *flags) for flags in ((), (DARK,)))
    assert light[0] > 700 and light[1] < 150
    assert dark[0] < 150 and dark[1] > 600


# --- drawing -------------------------------------------------------------------------------------------------------
def test_plots_stay_inside_and_are_well_formed():
    from xml.etree import ElementTree

    points = [
        Point(1e5 * 2**n, 30 + n / 3, f'network <{n}> & more', 'measured' if n % 2 else 'published', n)
        for n in range(7)
    ]
    root = ElementTree.fromstring(scatter(points, 'Parameters', 'PSNR'))
    assert len(root.findall('circle')) == 3 and len(root.findall('path')) == 4
    for circle in root.findall('circle'):
        assert 66 <= float(circle.get('cx')) <= 426 and 12 <= float(circle.get('cy')) <= 254
    assert [text.text for text in root.findall("text[@class='label']")] == [f'network <{n}> & more' for n in (5, 3, 1)]
    assert scatter([], 'x', 'y') == ''
    assert scatter(points[:1], 'x', 'y').count('<path') == 1  # one point alone still has axes


def test_the_crop_is_where_the_entries_differ():
    base = photograph('coffee', (120, 160))
    other = base.copy()
    other[70:90, 100:130] = 255 - other[70:90, 100:130]
    crop = most_different_crop({'Bicubic': 255 - base, 'a': base, 'b': other}, 24)
    assert 50 <= crop.top <= 90 and 80 <= crop.left <= 130 and crop.size == 24
    assert most_different_crop({'a': base, 'b': other}, 500).size == 120


def test_an_error_map_is_dark_where_all_is_right():
    hr = photograph('coffee')
    wrong = hr.copy()
    wrong[:10, :10] = 255 - wrong[:10, :10]
    drawn = error_map(wrong, hr)
    assert drawn.shape == hr.shape and drawn[20:, 20:].max() < 10 and drawn[:10, :10].max() > 200


@pytest.mark.parametrize('count', [1, 3, 9])
def test_a_comparison_shows_every_image_with_its_label(tmp_path, count):
    hr = photograph('astronaut', (100, 140))
    noise = np.random.default_rng(0)
    images = {f'entry {n}': (hr + noise.integers(0, 9, hr.shape)).clip(0, 255).astype(np.uint8) for n in range(count)}
    captions = {'entry 0': '30.00 dB'}
    crop = write_comparison(tmp_path / 'c.png', hr, images, captions=captions, title='Small / astronaut', size=48)
    drawn = cv2.imread(str(tmp_path / 'c.png'))[..., ::-1]
    side = 192
    patch = cv2.resize(np.ascontiguousarray(crop.of(hr)), (side, side), interpolation=cv2.INTER_NEAREST)
    distance = cv2.matchTemplate(np.ascontiguousarray(drawn), patch, cv2.TM_SQDIFF)
    y, x = np.unravel_index(distance.argmin(), distance.shape)
    assert (drawn[y : y + side, x : x + side] == patch).all()
    ink = (drawn.reshape(-1, 3) == (24, 24, 27)).all(axis=1).sum()
    assert ink > 30 * (count + 1)  # of the labels


def test_a_comparison_of_other_sizes_is_refused(tmp_path):
    hr = photograph('coffee')
    with pytest.raises(ValueError, match='small is'):
        write_comparison(tmp_path / 'c.png', hr, {'small': hr[:-1]})
    assert not (tmp_path / 'c.png').exists()
