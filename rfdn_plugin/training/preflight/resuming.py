"""Checks of the experiment folder before a run: the iteration to resume from, and whether its checkpoints match the options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfdn_plugin.options.yaml_io import as_yaml
from rfdn_plugin.training.resume import newest_whole_state, read_state
from rfdn_plugin.utils.errors import RFDNError


@dataclass(frozen=True)
class Start:
    """Iteration that a training goes on after, or the problems that keep it from beginning.

    Attributes:
        iteration: After which it goes on; None where it begins anew, or cannot go on for the problems.
        problems: Lines; also that the training would push aside an experiment.
    """

    iteration: int | None = None
    problems: tuple[str, ...] = ()


def find_start(folder: Path, options: dict[str, Any], auto_resume: bool) -> Start:
    """Find the checkpoint that a training goes on from.

    Args:
        folder: Path of the experiment folder.
        options: As `options.load_training_options` gives them.
        auto_resume: Whether `--auto_resume` was given.
    """
    named = options['path'].get('resume_state')
    if named and auto_resume:
        return _refused('path.resume_state: --auto_resume finds the newest state by itself: leave one of the two out.')
    if named:
        return _start_of(Path(named).expanduser(), folder)
    newest = newest_whole_state(folder / 'training_states', folder / 'models') if auto_resume else None
    if newest is not None:
        return Start(int(Path(newest).stem))
    checkpoints = sorted((folder / 'models').glob('net_g_*.pth'))
    if checkpoints:
        cure = (
            'none has a training state that can be read: name another, start from one by path.pretrain_network_g'
            if auto_resume
            else 'go on with it by --auto_resume, choose another name'
        )
        return _refused(
            f'name: {folder} holds {len(checkpoints)} checkpoints of an earlier run: {cure}, or move it away.'
        )
    return Start()


def _start_of(state_file: Path, folder: Path) -> Start:
    """That of a training state which was named: BasicSR loads with it the networks of its own experiment."""
    where = 'path.resume_state'
    if not state_file.is_file():
        return _refused(f'{where}: no file {state_file}: check the path, or leave it out and use --auto_resume.')
    try:
        state = read_state(state_file)
    except RFDNError as error:
        return _refused(f'{where}: {error}')
    weights = _weights_of(folder, state['iter'])
    if not weights.is_file():
        return _refused(
            f'{where}: {state_file} goes on with {weights}, which is not there: take the name of its own experiment, or '
            'start from its weights by path.pretrain_network_g.'
        )
    return Start(state['iter'])


def _refused(problem: str) -> Start:
    return Start(problems=(problem,))


def check_same_network(folder: Path, iteration: int, options: dict[str, Any]) -> list[str]:
    """See that what a training goes on from was trained as the network of the options, as far as its card says."""
    from rfdn_plugin.archs import NETWORKS, full_arguments
    from rfdn_plugin.weights.checkpoint import read_checkpoint
    from rfdn_plugin.weights.identify import stated_network

    weights, wanted = _weights_of(folder, iteration), dict(options['network_g'])
    try:
        stated = stated_network(read_checkpoint(weights))
    except RFDNError as error:
        return [f'name: {error}']
    name = wanted.pop('type')
    if name not in NETWORKS or not stated:
        return []
    before, now = {'type': stated['type'], **stated['arguments']}, {'type': name, **full_arguments(name, wanted)}
    changed = [key for key in now if before.get(key, now[key]) != now[key]]
    if not changed:
        return []
    was = ', '.join(f'{key}={as_yaml(before[key])}' for key in changed)
    are = ', '.join(f'{key}={as_yaml(now[key])}' for key in changed)
    return [f'network_g: {weights} was trained with {was}, the options say {are}: restore it, or choose another name.']


def _weights_of(folder: Path, iteration: int) -> Path:
    return folder / 'models' / f'net_g_{iteration}.pth'
