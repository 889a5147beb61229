"""Published figures, each with its citation; never mixed up with what was measured here."""

from __future__ import annotations

import difflib
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml

from rfdn_plugin.utils.errors import RFDNError


@lru_cache
def _content() -> dict[str, Any]:
    text = resources.files('rfdn_plugin.leaderboard.report').joinpath('published.yml').read_text(encoding='utf-8')
    return yaml.safe_load(text)


def published_names(scale: int | None = None) -> list[str]:
    """Networks with a published row (at a scale)."""
    return sorted({row['name'] for row in _content()['rows'] if scale in (None, row['scale'])})


def published_row(name: str, scale: int) -> dict[str, Any]:
    """The row of a network at a scale in the form of leaderboard.json: only figures that were published.

    Returns:
        `name`, `scale`, `source` ('published'), `sets`, `citation`, `secondary` (the figures were read in a work that
        cites the original), and where known `params`, `conv_macs_hr720`, `ntire`, `note`.

    Raises:
        RFDNError: There is none: the message lists those that there are.
    """
    content = _content()
    for row in content['rows']:
        if row['name'] == name and row['scale'] == scale:
            result = {key: value for key, value in row.items() if key not in ('cite', 'sets')}
            source = content['sources'][row['cite']]
            sets = {set_name: _figures(values) for set_name, values in row.get('sets', {}).items()}
            return {
                **result,
                'source': 'published',
                'sets': sets,
                'citation': source['text'],
                'secondary': source['secondary'],
            }
    known = published_names(scale) or published_names()
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f'did you mean {nearest[0]}? ' if nearest and nearest[0] != name else ''
    raise RFDNError(f'published: {name} has no row at x{scale}: {hint}Known there: {", ".join(known)}.')


def _figures(values: Any) -> dict[str, float]:
    """`[psnr, ssim]` on Y, or a mapping by metric."""
    return dict(values) if isinstance(values, dict) else dict(zip(('psnr_y', 'ssim_y'), values, strict=False))
