"""What BasicSR's `train_pipeline` is made to use: our sampler, the loaders that do not pause, our progress line."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from rfdn_plugin.training import resume
from rfdn_plugin.training.monitor import ProgressLogger

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from rfdn_plugin.data.training.dataset import EpochSampler


def install() -> None:
    """Make BasicSR's `train_pipeline` use our sampler, told where to go on, our loaders and our progress line."""
    import basicsr.train

    original = getattr(basicsr.train.create_train_val_dataloader, 'original', basicsr.train.create_train_val_dataloader)

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple:
        loader, sampler, val_loaders, _, total_iters = original(opt, logger)
        done = opt.get('resumed_iteration', 0)
        sampler.go_on_after(done, loader.batch_size)
        loader = without_pauses(loader, sampler, opt)
        logger.info(f'Batches of {loader.batch_size} from a {type(loader).__name__}.')
        resume.read_with(sampler, val_loaders)
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
    basicsr.train.MessageLogger = _message_logger


@contextlib.contextmanager
def results_in_one_folder() -> Iterator[None]:
    """BasicSR renames the results of a test at each further one, images and all: here they are written over."""
    import basicsr.test

    original = basicsr.test.make_exp_dirs
    basicsr.test.make_exp_dirs = _make_result_folders
    try:
        yield
    finally:
        basicsr.test.make_exp_dirs = original


def _make_result_folders(opt: dict[str, Any]) -> None:
    if opt['rank'] == 0:
        for key in ('results_root', 'log', 'visualization'):
            os.makedirs(opt['path'][key], exist_ok=True)
        print(f'Results: {os.path.relpath(opt["path"]["results_root"])}, in the place of those of an earlier test.')
    if opt['dist']:
        torch.distributed.barrier()  # the others write their images there


def _sampler(*arguments: Any) -> EpochSampler:
    # Imported when a training begins: where the import of this module is what imported basicsr, it is under way yet.
    from rfdn_plugin.data.training.dataset import EpochSampler

    return EpochSampler(*arguments)


def _message_logger(opt: dict[str, Any], start_iter: int, tb_logger: Any) -> ProgressLogger:
    # The last that BasicSR builds: model, states and loggers are ready, no iteration is made yet.
    resume.catch_up(opt.get('val'), tb_logger)
    return ProgressLogger(opt, start_iter, tb_logger)


def without_pauses(loader: DataLoader, sampler: EpochSampler, opt: dict[str, Any]) -> Any:
    """The loader of the same batches that makes a training wait least."""
    from rfdn_plugin.data.training.loader import ContinuousLoader, LateLoader
    from rfdn_plugin.data.training.resident import ResidentLoader

    data = opt['datasets']['train']
    if data.get('resident'):
        device = torch.device('cuda' if opt['num_gpu'] != 0 else 'cpu')
        return ResidentLoader(loader.dataset, sampler, loader.batch_size, device)
    if data.get('sample_seed') is not None:
        return ContinuousLoader(loader, sampler)
    return LateLoader(loader)
