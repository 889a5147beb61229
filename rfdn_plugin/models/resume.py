"""Going on exactly where a training stopped: the place in the epoch, the random numbers, and leaving on a signal.

BasicSR goes back to the first batch of the epoch and seeds its random numbers anew. Here a resumed run continues with the
next batch, and on a CPU ends with the same weights, bit for bit, as one that was never interrupted, where the samples do
not depend on the worker that reads them: with `FastPairedImageDataset` and `sample_seed`, or with any dataset and
`num_worker_per_gpu: 0` in one process.
"""

from __future__ import annotations

import functools
import math
import random
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rfdn_plugin.errors import RFDNError

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from rfdn_plugin.data.dataset import EpochSampler
    from rfdn_plugin.models.rfdn_model import RFDNModel

INTERRUPTED = 75
"""Exit code of a training that saved itself after SIGTERM or SIGINT: "try again later" (EX_TEMPFAIL of sysexits.h)."""

ITERATIONS_UNHEARD = 10
"""On GPUs, several processes ask each other for signals only so often: to ask is to wait for all work under way."""

WORKER_SECONDS = 20
"""How long a worker that was told to end may go on serving the training, which leaves by itself."""


class _Run:
    """What this process's training knows about itself; BasicSR's loop keeps its epoch in a local variable."""

    sampler: EpochSampler | None = None
    model: RFDNModel | None = None
    signal: int | None = None


def install() -> None:
    """Make BasicSR's `train_pipeline` use our sampler, told where to go on."""
    import basicsr.train

    original = getattr(basicsr.train.create_train_val_dataloader, 'original', basicsr.train.create_train_val_dataloader)

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple:
        loader, sampler, val_loaders, _, total_iters = original(opt, logger)
        done = opt.get('resumed_iteration', 0)
        sampler.go_on_after(done, loader.batch_size)
        loader.worker_init_fn = functools.partial(_start_worker, loader.worker_init_fn)
        loader = _without_pauses(loader, sampler, opt)
        logger.info(f'Batches of {loader.batch_size} from a {type(loader).__name__}.')
        _Run.sampler = sampler
        # BasicSR plans its epochs with the smaller batch that it drops, for one GPU, and from the beginning: it would
        # end early, with exit code 0, on several GPUs, with short epochs, or resumed with another batch. Its loop goes
        # through the epoch that it is told as well; one more would start workers for nothing.
        epoch = opt.get('resumed_epoch', 0)
        sampler.set_epoch(epoch)
        after_it = max(total_iters - done - sampler.samples_left() // loader.batch_size, 0)
        total_epochs = epoch + math.ceil(after_it / max(len(loader), 1))
        return loader, sampler, val_loaders, total_epochs, total_iters

    create_train_val_dataloader.original = original
    basicsr.train.create_train_val_dataloader = create_train_val_dataloader
    basicsr.train.EnlargedSampler = _sampler


def _sampler(*arguments: Any) -> EpochSampler:
    # Imported when a training begins: where the import of this module is what imported basicsr, it is under way yet.
    from rfdn_plugin.data.dataset import EpochSampler

    return EpochSampler(*arguments)


def _without_pauses(loader: DataLoader, sampler: EpochSampler, opt: dict[str, Any]) -> Any:
    """The loader of the same batches that makes a training wait least."""
    from rfdn_plugin.data.loader import ContinuousLoader, LateLoader
    from rfdn_plugin.data.resident import ResidentLoader

    data = opt['datasets']['train']
    if data.get('resident'):
        device = torch.device('cuda' if opt['num_gpu'] != 0 else 'cpu')
        return ResidentLoader(loader.dataset, sampler, loader.batch_size, device)
    if data.get('sample_seed') is not None and data.get('prefetch_mode') != 'cpu':
        return ContinuousLoader(loader, sampler)
    return LateLoader(loader)


def current_epoch() -> int:
    """The epoch that the training of this process is in."""
    return _Run.sampler.epoch if _Run.sampler is not None else 0


def catch_signals() -> None:
    """From now on SIGTERM and SIGINT ask the training to save and leave; a second one ends it at once."""
    _Run.signal = None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _note_signal)


def _note_signal(number: int, frame: FrameType | None) -> None:
    if _Run.signal is not None:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    _Run.signal = number


def _start_worker(start: Callable[[int], None] | None, number: int) -> None:
    """In a process that reads pictures: a terminal and SLURM signal it too, while the training still wants its batch."""
    if start is not None:
        start(number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKER_SECONDS))


def asked_to_leave(device: torch.device, iteration: int, together: bool) -> str | None:
    """The name of the signal that asked this process or, `together`, any process of the training; None without one."""
    number = _Run.signal or 0
    if together:  # all leave after the same iteration, or one would wait for the others for ever
        if device.type == 'cuda' and iteration % ITERATIONS_UNHEARD:
            return None
        shared = torch.tensor(number, device=device)
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        number = int(shared)
    return signal.Signals(number).name if number else None


def train_with(model: RFDNModel) -> None:
    """Name the model that this process trains, for `rescue`."""
    _Run.model = model


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
