"""Names of earlier versions, which are still read."""

from __future__ import annotations

from typing import Any

from rfdn_plugin.utils.errors import RFDNError

KEYS = {'accumulate': 'accum_iter', 'frequency_opt': 'fft_opt'}
"""Keys of the section `train`: the name before, and the one now."""

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
    train = options.get('train')
    if not isinstance(train, dict):
        return []
    notes = []
    for before, now in KEYS.items():
        if before not in train:
            continue
        if now in train:
            raise RFDNError(f'train.{before} and train.{now} are two names of one key: leave train.{before} out.')
        # In its place: the order of a file is kept in the copy of it.
        items = [(now if key == before else key, value) for key, value in train.items()]
        train.clear()
        train.update(items)
        notes.append(f'train.{before} is called train.{now} now; it is read as that.')
    for key, section in train.items():
        name = section.get('type') if isinstance(section, dict) else None
        if isinstance(name, str) and name in LOSSES:
            section['type'] = LOSSES[name]
            notes.append(f'train.{key}.type: {name} is called {LOSSES[name]} now; it is read as that.')
    return notes
