"""Going on exactly where a training stopped: the newest whole checkpoint, and the state of the random numbers.

BasicSR goes back to the first batch of the epoch and seeds its random numbers anew. Here a resumed run continues with the
next batch, and on a CPU ends with the same weights, bit for bit, as one that was never interrupted, where the samples do
not depend on the worker that reads them: with `FastPairedImageDataset` and `sample_seed`, or with any dataset and
`num_worker_per_gpu: 0` in one process.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfdn_plugin.training.checkpoints import numbered
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.pickles import read_pickle


def load_resume_state(opt: dict[str, Any], *, is_named: bool = False) -> dict[str, Any] | None:
    """The training state to go on from, on the CPU: the optimizers copy it to where their weights are.

    BasicSR's function of this name needs a GPU, looks below the working directory only, and takes a torn file. Here it
    is, with `--auto_resume`, the newest whole one in the experiment's own `training_states` folder.

    Args:
        opt: BasicSR's options; `path` is changed so that the networks of the same iteration are loaded, and
            `resumed_iteration` and `resumed_epoch` are set.
        is_named: Whether `path.resume_state` holds also with `--auto_resume`: it has been looked for already.

    Raises:
        RFDNError: `path.resume_state` cannot be read.
    """
    from basicsr.utils import check_resume

    path = opt['path']
    if opt['auto_resume'] and not is_named:
        path['resume_state'] = newest_whole_state(path['training_states'], path['models'])
    if not path.get('resume_state'):
        return None
    state = read_state(Path(path['resume_state']))
    opt['resumed_iteration'], opt['resumed_epoch'] = state['iter'], state['epoch']
    check_resume(opt, state['iter'])
    return state


def read_state(path: Path) -> dict[str, Any]:
    """What a `.state` file of BasicSR or of this package holds.

    Raises:
        RFDNError: It cannot be read, or is something else.
    """
    state = read_pickle(path)
    is_state = isinstance(state, dict) and all(isinstance(state.get(key), int) for key in ('iter', 'epoch'))
    if is_state:
        parts = [state.get('optimizers'), state.get('schedulers')]
        is_state = all(isinstance(part, list) and all(isinstance(one, dict) for one in part) for part in parts)
    if not is_state or not state['optimizers']:
        raise RFDNError(f'{path} is not the state of a training: name a file of its folder training_states.')
    return state


def newest_whole_state(states: str | os.PathLike, models: str | os.PathLike) -> str | None:
    """The newest `.state` file of a folder that can be read, as can the networks of its iteration; None without one.

    A file that was torn by a kill or a full disk is passed over with a line that says so.
    """
    for iteration in reversed(numbered(states, '', '.state')):
        path = Path(states, f'{iteration}.state')
        try:
            read_state(path)
            read_pickle(Path(models, f'net_g_{iteration}.pth'))
        except (RFDNError, OSError) as error:
            print(f'Cannot resume from iteration {iteration}: {error}', flush=True)
            continue
        return str(path)
    return None


def random_state() -> dict[str, Any]:
    """The state of Python's, NumPy's and torch's random numbers, as plain values and tensors."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        'python': random.getstate(),
        'numpy': [name, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        'torch': torch.get_rng_state(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Set what `random_state` gave."""
    version, keys, gauss = state['python']
    random.setstate((version, tuple(keys), gauss))
    name, keys, *rest = state['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state['torch'])
