"""Going on exactly where a training stopped: the place in the epoch and the random numbers.

BasicSR goes back to the first batch of the epoch and seeds its random numbers anew. Here a resumed run continues with the
next batch, and on a CPU ends with the same weights, bit for bit, as one that was never interrupted, where the samples do
not depend on the worker that reads them: with `FastPairedImageDataset` and `sample_seed`, or with any dataset and
`num_worker_per_gpu: 0` in one process.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rfdn_plugin.training.signals import StopSignals
from rfdn_plugin.utils.errors import RFDNError

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from rfdn_plugin.data.training.dataset import EpochSampler
    from rfdn_plugin.models.rfdn_model import RFDNModel


class _Run:
    """What this process's training knows about itself; BasicSR's loop keeps its epoch in a local variable."""

    sampler: EpochSampler | None = None
    validation_loaders: Sequence[DataLoader] = ()
    model: RFDNModel | None = None
    signals = StopSignals()


def current_epoch() -> int:
    """The epoch that the training of this process is in."""
    return _Run.sampler.epoch if _Run.sampler is not None else 0


def catch_signals(launched: bool) -> None:
    """From now on signals ask the training of this process to save and leave; `launched` as in `StopSignals.catch`."""
    _Run.signals = StopSignals()
    _Run.signals.catch(launched)


def signals() -> StopSignals:
    """The signals that this process's training has had."""
    return _Run.signals


def read_with(sampler: EpochSampler, validation_loaders: Sequence[DataLoader]) -> None:
    """A training begins in this process: name what it reads, for `current_epoch` and `catch_up`."""
    _Run.sampler, _Run.validation_loaders, _Run.model = sampler, validation_loaders, None


def train_with(model: RFDNModel) -> None:
    """Name the model that this process trains, for `catch_up` and `rescue`."""
    _Run.model = model


def catch_up(val: dict[str, Any] | None, tb_logger: Any) -> None:
    """Validate what an interruption kept from it: BasicSR saves an iteration first and validates it then.

    Args:
        val: The option section of that name.
        tb_logger: TensorBoard's writer, or None.
    """
    model = _Run.model
    if model is None or val is None or model.iteration == 0 or model.iteration % val['val_freq']:
        return
    for loader in _Run.validation_loaders:  # the model leaves out what it has validated
        model.validation(loader, model.iteration, tb_logger, val['save_img'])


def rescue() -> int | None:
    """After an error that is not the model's (its data, another process): save what has been trained since.

    Returns:
        The iteration that was saved; None where there was nothing new, or nothing worth saving.

    Raises:
        RFDNError: It cannot be written.
    """
    model, _Run.model = _Run.model, None
    if model is None or not model.intact or model.iteration <= model.saved_iteration or model.opt['rank'] != 0:
        return None
    try:
        model.loss_watch.check(together=False)  # the other processes may not answer any more
    except RFDNError:
        return None
    model.save(current_epoch(), model.iteration)
    return model.iteration


def random_state() -> dict[str, Any]:
    """The state of Python's, NumPy's and torch's random numbers, as plain values and tensors."""
    name, keys, *rest = np.random.get_state()
    return {
        'python': random.getstate(),
        'numpy': [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        'torch': torch.get_rng_state(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Set what `random_state` gave."""
    version, keys, gauss = state['python']
    random.setstate((version, tuple(keys), gauss))
    name, keys, *rest = state['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state['torch'])
