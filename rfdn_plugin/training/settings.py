"""What a training is made with, kept in its state: when it goes on with something else, a line says so."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from typing import Any

_TRAIN = (
    'total_iter',
    'warmup_iter',
    'ema_decay',
    'pixel_opt',
    'perceptual_opt',
    'fft_opt',
    'precision',
    'grad_clip',
)
_DATA = ('gt_size', 'use_hflip', 'use_rot', 'sample_seed', 'dataset_enlarge_ratio')


def settings_of(opt: dict[str, Any]) -> dict[str, Any]:
    """Settings of a training by their path, as plain values. The learning rate and its schedule are in `rates`.

    Args:
        opt: BasicSR's options of a training, before its model has taken parts out of them.
    """
    train, data = opt.get('train') or {}, opt.get('datasets', {}).get('train') or {}
    settings = {f'train.{key}': copy.deepcopy(train.get(key)) for key in _TRAIN}
    settings |= {f'datasets.train.{key}': copy.deepcopy(data.get(key)) for key in _DATA}
    if 'batch_size_per_gpu' in data:
        devices = opt.get('world_size', 1) if opt.get('dist') else max(opt['num_gpu'], 1)
        settings['the batch of all processes'] = data['batch_size_per_gpu'] * devices
    return settings


def images_of(dataset: Any) -> dict[str, Any]:
    """Identify the images of a training set, in plain values: where it says it, their number and a digest of their names."""
    opt = getattr(dataset, 'opt', {})
    found: dict[str, Any] = {'the number of training images': len(dataset)}
    roots = {key: opt[key] for key in ('dataroot_gt', 'dataroot_lq') if opt.get(key)}
    found |= {f'datasets.train.{key}': str(root) for key, root in roots.items()}
    paths = getattr(dataset, 'paths', None)
    if isinstance(paths, list):
        digest = hashlib.sha256()
        for path in paths:
            name = path.get('gt_path', '') if isinstance(path, dict) else str(path)
            digest.update(
                f'{os.path.relpath(name, roots["dataroot_gt"]) if os.path.isabs(name) and roots else name}\0'.encode()
            )
        found['the names of the training images'] = digest.hexdigest()[:16]
    return found


def describe_changes(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Describe in one line what has changed since the training state was written; None where nothing has.

    Args:
        before: Settings from `settings_of` and `images_of`, as the state has them; what it lacks has not changed.
        now: The same, of the options.
    """
    changes = [
        f'{key} {_text(now[key])} (was {_text(before[key])})'
        for key in now
        if key in before and before[key] != now[key]
    ]
    return f'Going on with other settings than before: {", ".join(changes)}.' if changes else None


def _text(value: Any) -> str:
    return '~' if value is None else value if isinstance(value, str) else json.dumps(value)
