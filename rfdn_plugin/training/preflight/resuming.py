"""The folder of an experiment before a training begins: what it goes on from, and whether that is its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rfdn_plugin.compat import newest_whole_state
from rfdn_plugin.utils.errors import RFDNError

_ONLY_AT_THE_START = {'interpolation_start'}
"""Arguments of networks that say how the weights begin, and nothing about what they compute."""


def resumed_iteration(folder: Path, options: dict[str, Any], auto_resume: bool, problems: list[str]) -> int | None:
    """The iteration after which a training goes on; None where it begins, or cannot go on for the problems that are added.

    Args:
        folder: Of the experiment.
        options: As `options.load_training_options` gives them.
        auto_resume: Whether `--auto_resume` was given.
        problems: What is found is added, a line each; also an experiment that the training would push aside.
    """
    named = options['path'].get('resume_state')
    if named and auto_resume:
        problems.append('path.resume_state: --auto_resume finds the newest state by itself: leave one of the two out.')
        return None
    if named:
        return _iteration_of(Path(named).expanduser(), folder, problems)
    newest = newest_whole_state(folder / 'training_states', folder / 'models') if auto_resume else None
    if newest is not None:
        return int(Path(newest).stem)
    checkpoints = sorted((folder / 'models').glob('net_g_*.pth'))
    if checkpoints:
        cure = (
            'none has a training state that can be read: name another, start from one by path.pretrain_network_g'
            if auto_resume
            else 'go on with it by --auto_resume, choose another name'
        )
        problems.append(
            f'name: {folder} holds {len(checkpoints)} checkpoints of an earlier run: {cure}, or move it away.'
        )
    return None


def _iteration_of(state_file: Path, folder: Path, problems: list[str]) -> int | None:
    """That of a training state which was named: BasicSR loads with it the networks of its own experiment."""
    from rfdn_plugin.weights.checkpoint import read_pickle

    where = 'path.resume_state'
    if not state_file.is_file():
        problems.append(f'{where}: no file {state_file}: check the path, or leave it out and use --auto_resume.')
        return None
    try:
        state = read_pickle(state_file)
    except RFDNError as error:
        problems.append(f'{where}: {error}')
        return None
    if not (isinstance(state, Mapping) and state.keys() >= {'iter', 'optimizers', 'schedulers'}):
        problems.append(f'{where}: {state_file} is no training state: name a file of training_states/.')
        return None
    weights = _weights_of(folder, state['iter'])
    if not weights.is_file():
        problems.append(
            f'{where}: {state_file} goes on with {weights}, which is not there: take the name of its own experiment, or '
            'start from its weights by path.pretrain_network_g.'
        )
        return None
    return state['iter']


def check_same_network(folder: Path, iteration: int, options: dict[str, Any], problems: list[str]) -> None:
    """See that what a training goes on from was trained as the network of the options, as far as its card says."""
    from rfdn_plugin.archs import NETWORKS, full_arguments
    from rfdn_plugin.weights.checkpoint import read_checkpoint
    from rfdn_plugin.weights.identify import stated_network

    weights, wanted = _weights_of(folder, iteration), dict(options['network_g'])
    try:
        stated = stated_network(read_checkpoint(weights))
    except RFDNError as error:
        problems.append(f'name: {error}')
        return
    name = wanted.pop('type')
    if name not in NETWORKS or not stated:
        return
    before, now = {'type': stated['type'], **stated['arguments']}, {'type': name, **full_arguments(name, wanted)}
    changed = [key for key in now if before.get(key, now[key]) != now[key] and key not in _ONLY_AT_THE_START]
    if changed:
        was = ', '.join(f'{key} {before[key]} (now {now[key]})' for key in changed)
        problems.append(f'network_g: {weights} was trained with {was}: give it back, or choose another name.')


def _weights_of(folder: Path, iteration: int) -> Path:
    return folder / 'models' / f'net_g_{iteration}.pth'
