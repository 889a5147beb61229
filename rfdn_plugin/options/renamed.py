"""Names of earlier versions, which are still read."""

from __future__ import annotations

from typing import Any

from rfdn_plugin.utils.errors import RFDNError

KEYS = {
    'train': {'accumulate': 'accum_iter', 'frequency_opt': 'fft_opt'},
    'path': {
        'pretrain_model_g': 'pretrain_network_g',
        'pretrain_model_d': 'pretrain_network_d',
        'strict_load': 'strict_load_g',
    },
    'datasets.train': {'use_flip': 'use_hflip'},
}
"""By section the names before, and the ones now: of `train` this package's own, the others BasicSR's before 1.4."""

LOSSES = {'FrequencyL1Loss': 'FFTLoss'}
"""Types of losses: the name before, and the one now."""


def use_new_names(options: dict[str, Any]) -> list[str]:
    """Give options that use earlier names the present ones, in place.

    Args:
        options: Content of an option file, not checked yet.

    Returns:
        A line for each name that was replaced.

    Raises:
        RFDNError: A key stands there under both names.
    """
    notes = []
    for where, names in KEYS.items():
        section: Any = options
        for key in where.split('.'):
            section = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict):
            notes += _renamed(where, section, names)
    train = options.get('train')
    if not isinstance(train, dict):
        return notes
    for key, section in train.items():
        name = section.get('type') if isinstance(section, dict) else None
        if isinstance(name, str) and name in LOSSES:
            section['type'] = LOSSES[name]
            notes.append(f'train.{key}.type: {name} is called {LOSSES[name]} now; it is read as that.')
    return notes


def _renamed(where: str, section: dict[str, Any], names: dict[str, str]) -> list[str]:
    notes = []
    for before, now in names.items():
        if before not in section:
            continue
        if now in section:
            raise RFDNError(f'{where}.{before} and {where}.{now} are two names of one key: leave {where}.{before} out.')
        # In its place: the order of a file is kept in the copy of it.
        items = [(now if key == before else key, value) for key, value in section.items()]
        section.clear()
        section.update(items)
        notes.append(f'{where}.{before} is called {where}.{now} now; it is read as that.')
    return notes
