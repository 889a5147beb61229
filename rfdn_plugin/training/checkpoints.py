"""The files of a training: written whole or not at all, with what they are inside, and no more of them than wanted."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import torch

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_torch_save
from rfdn_plugin.utils.version import __version__
from rfdn_plugin.weights.card import model_card


def write(content: Any, path: str | os.PathLike) -> None:
    """Write a checkpoint or a training state.

    Raises:
        RFDNError: It cannot be written; what was there before is as it was.
    """
    try:
        atomic_torch_save(content, path)
    except OSError as error:
        raise RFDNError(
            f'cannot write {path} ({error.strerror}): the checkpoints before it are whole; make room and go on with '
            '--auto_resume.'
        ) from error


def numbered(folder: str | os.PathLike, prefix: str, suffix: str) -> list[int]:
    """The iterations of the files `{prefix}{iteration}{suffix}` of a folder, ascending."""
    names = [path.name for path in Path(folder).glob(f'{prefix}*{suffix}')]
    iterations = [name.removeprefix(prefix).removesuffix(suffix) for name in names]
    return sorted(int(iteration) for iteration in iterations if iteration.isdigit())


def keep_newest(models: str | os.PathLike, states: str | os.PathLike, count: int) -> None:
    """Remove the numbered weights and training states of all but the newest `count` iterations.

    The state of an iteration goes before its weights: what has a state can be resumed from at any moment.
    """
    for folder, prefix, suffix in ((states, '', '.state'), (models, 'net_g_', '.pth')):
        for iteration in numbered(folder, prefix, suffix)[:-count]:
            with contextlib.suppress(FileNotFoundError):  # somebody tidied up meanwhile
                Path(folder, f'{prefix}{iteration}{suffix}').unlink()


def card(
    opt: dict[str, Any], iteration: int, optimizer: torch.optim.Optimizer, best_results: dict[str, Any]
) -> dict[str, str]:
    """Model card as plain text: what weights alone do not say, for `weights.identify` to read.

    Args:
        opt: BasicSR's options of the training.
        iteration: Iterations that the weights have been trained for.
        optimizer: Optimizer that trained them.
        best_results: Best results of the validations so far, by set and metric.
    """
    arguments = dict(opt['network_g'])
    name = arguments.pop('type')
    train, data = opt['train'], opt.get('datasets', {}).get('train', {})
    losses = {key: train[key] for key in ('pixel_opt', 'perceptual_opt', 'fft_opt') if train.get(key)}
    details = {
        'iterations': str(iteration),
        'training_data': data.get('name', ''),
        'losses': json.dumps(losses),
        'optimizer': json.dumps({'type': type(optimizer).__name__, **train['optim_g']}),
    }
    if 'batch_size_per_gpu' in data:
        side = data.get('gt_size')  # a dataset of another package may have none
        size = f' of {side}x{side} HR pixels' if side else ' images'
        details['batch'] = f'{data["batch_size_per_gpu"] * opt.get("world_size", 1)}{size}'
    if best_results:
        details['best_results'] = json.dumps(best_results)
    if name in NETWORKS:
        return model_card(name, arguments, **details)
    network = {'network': name, 'arguments': json.dumps(arguments), 'upscale': str(opt['scale'])}
    return {**network, **details, 'written_by': f'rfdn_plugin {__version__}'}
