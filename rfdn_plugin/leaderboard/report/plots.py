"""Scatter plots as inline SVG: colours come from the page's CSS, so that they follow its dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

LEFT, RIGHT, TOP, BOTTOM = 66, 14, 12, 46
MANY = 12
"""More entries than this need large plots, as wide as the page."""
_FONT = 12
_LETTER = 7.1  # mean width of a letter at that size in DejaVu Sans, the widest of the usual fonts
_RADIUS = 5


class Point(NamedTuple):
    """One entry: `kind` is 'measured' or 'published', `colour` the number of its colour in the CSS (`--c0`, ...)."""

    x: float
    y: float
    label: str
    kind: str
    colour: int


class Frame(NamedTuple):
    """The drawing: its size in pixels, and the values at the ends of its axes (of x the logarithm)."""

    width: int
    height: int
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is drawn."""
        across = (math.log10(x) - self.x_low) / (self.x_high - self.x_low)
        up = (y - self.y_low) / (self.y_high - self.y_low)
        return LEFT + across * (self.width - LEFT - RIGHT), self.height - BOTTOM - up * (self.height - TOP - BOTTOM)


class Box(NamedTuple):
    """A rectangle, for keeping labels apart."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The area that both cover, in pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)


def scatter(points: Sequence[Point], x_title: str, y_title: str, *, large: bool = False) -> str:
    """An SVG element with a logarithmic cost axis; empty text without points.

    Args:
        points: With x above 0.
        x_title: Below the axis.
        y_title: Beside the axis.
        large: As wide as the page, for many points.
    """
    if not points:
        return ''
    x_ends = _padded([math.log10(point.x) for point in points], least=0.15)
    y_ends = _padded([point.y for point in points], least=0.05)
    frame = Frame(900, 520, *x_ends, *y_ends) if large else Frame(440, 300, *x_ends, *y_ends)
    name = f'{escape(y_title)} against {escape(x_title)}'
    kind = ' class="wide"' if large else ''
    parts = [f'<svg{kind} viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{name}">']
    parts += _axes(frame, x_title, y_title)
    centres = [frame.place(point.x, point.y) for point in points]
    taken = [Box(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in centres]
    for point, (x, y) in sorted(zip(points, centres, strict=True), key=lambda item: item[1][1]):
        parts.append(_mark(point, x, y))
        parts.append(_label(point, x, y, taken, frame))
    return '\n'.join([*parts, '</svg>'])


def _padded(values: Sequence[float], least: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    padding = max((high - low) * 0.1, least)
    return low - padding, high + padding


def _axes(frame: Frame, x_title: str, y_title: str) -> list[str]:
    right, bottom = frame.width - RIGHT, frame.height - BOTTOM
    parts = []
    for value in _log_ticks(frame.x_low, frame.x_high):
        x, _ = frame.place(value, frame.y_low)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_short(value)}</text>')
    step = _nice_step(frame.y_high - frame.y_low)
    for number in range(math.ceil(frame.y_low / step), math.floor(frame.y_high / step) + 1):
        value = number * step
        _, y = frame.place(10**frame.x_low, value)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.{decimals}f}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{frame.height - 8}" text-anchor="middle">{escape(x_title)}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>')
    return parts


_TICKS_IN_A_DECADE = (
    (1,),
    (1, 3),
    (1, 2, 5),
    tuple(range(1, 10)),
    tuple(n / 2 for n in range(2, 20)),
    tuple(n / 10 for n in range(10, 100)),
)
"""From coarse to fine: the first that puts three ticks on an axis is taken."""


def _log_ticks(low: float, high: float) -> list[float]:
    for steps in _TICKS_IN_A_DECADE:
        ticks = [s * 10**power for power in range(math.floor(low), math.ceil(high) + 1) for s in steps]
        ticks = [tick for tick in ticks if low <= math.log10(tick) <= high]
        if len(ticks) >= 3:
            return ticks if len(ticks) <= 7 else ticks[:: -(-len(ticks) // 7)]
    return ticks


def _nice_step(span: float) -> float:
    raw = span / 5
    power = 10 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)


def _short(value: float) -> str:
    for unit, factor in (('G', 1e9), ('M', 1e6), ('K', 1e3)):
        if value >= factor:
            return f'{value / factor:g}{unit}'
    return f'{value:g}'


def _mark(point: Point, x: float, y: float) -> str:
    title = f'<title>{escape(point.label)}: {point.y:.2f} dB</title>'
    style = f'style="--c: var(--c{point.colour})"'
    if point.kind == 'measured':
        return f'<circle class="measured" {style} cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}">{title}</circle>'
    r = _RADIUS + 1
    path = f'M{x:.1f} {y - r:.1f}L{x + r:.1f} {y:.1f}L{x:.1f} {y + r:.1f}L{x - r:.1f} {y:.1f}Z'
    return f'<path class="published" {style} d="{path}">{title}</path>'


def _label(point: Point, x: float, y: float, taken: list[Box], frame: Frame) -> str:
    """The name, where it covers least: beside its point, or further off at the end of a line; `taken` grows by its place."""
    text = point.label if len(point.label) <= 24 else point.label[:23] + '…'
    width = len(text) * _LETTER
    beside = _RADIUS + 4
    places = [
        (reach > beside, anchor, left, y + 4 + down * reach)
        for reach in (beside, 24, 40, 56, 72, 88)
        for anchor, left in (('start', x + reach), ('end', x - reach - width))
        for down in (0, -1, 1, -0.5, 0.5)
    ]
    places += [(False, 'middle', x - width / 2, y + down) for down in (-beside, beside + _FONT)]
    candidates = []
    for is_far, anchor, left, baseline in places:
        box = Box(left, baseline - _FONT + 2, left + width, baseline + 2)
        inside = box.left >= LEFT and box.right <= frame.width and box.top >= 0 and box.bottom <= frame.height - BOTTOM
        covered = sum(box.overlap(other) for other in taken) + (0 if inside else width * _FONT)
        candidates.append((covered, is_far, anchor, box, baseline))
    _, is_far, anchor, box, baseline = min(candidates, key=lambda candidate: candidate[:2])
    taken.append(box)
    at = {'start': box.left, 'end': box.right, 'middle': (box.left + box.right) / 2}[anchor]
    line = ''
    if is_far:
        end = box.left - 2 if anchor == 'start' else box.right + 2
        line = f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{baseline - 4:.1f}"/>'
    kind = 'label' if point.kind == 'measured' else 'label published-label'
    return line + f'<text class="{kind}" x="{at:.1f}" y="{baseline:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
