"""Errors that end a training, as a line that says what happened and what to do; and what was trained is saved first."""

from __future__ import annotations

import contextlib
import re
import sys
import urllib.error
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rfdn_plugin.utils.errors import RFDNError

if TYPE_CHECKING:
    from rfdn_plugin.training.session import Session


@contextlib.contextmanager
def nothing_lost(session: Session, options: dict[str, Any], launcher: str) -> Iterator[None]:
    """After an error in the block, save what was trained since the last checkpoint, and say what happened in a line.

    Args:
        session: The training.
        options: Its options.
        launcher: What started its processes, `none` where nothing did.

    Raises:
        RFDNError: For the errors that a user can do something about; others stay what they are.
    """
    import torch

    try:
        yield
    except Exception as error:
        message = explanation(error, options, launcher, torch.cuda.OutOfMemoryError)
        iteration = session.rescue()
        saved = f'saved iteration {iteration}: --auto_resume goes on from there.' if iteration is not None else ''
        if message is None:
            if saved:
                print(f'rfdn train: {saved}', file=sys.stderr)
            raise
        raise RFDNError(f'{message.rstrip(".")}. {saved}'.rstrip()) from error


def explanation(error: Exception, options: dict[str, Any], launcher: str, out_of_memory: type) -> str | None:
    """Explain an error of a training in one line: what happened and what to do; None where that is not known."""
    import lmdb

    if isinstance(error, RFDNError):
        text = str(error).strip()
        # From a worker it comes as the text of its traceback, whose last line is the message.
        return text.rpartition(f'{RFDNError.__name__}: ')[2] if 'Traceback' in text else text
    if isinstance(error, out_of_memory):
        parts = options['train'].get('accum_iter', 1) * 2
        return (
            f'the memory of the GPU is full: set train.accum_iter to {parts} (the same gradients with less memory), '
            'or lower datasets.train.batch_size_per_gpu.'
        )
    text = str(error).strip()
    if 'in DataLoader worker process' in text:  # the text is the traceback in the worker, its end the error itself
        lines = [line for line in text.splitlines() if re.match(r'[A-Za-z_][\w.]*(: |$)', line)]
        reason = (lines or text.splitlines())[-1].rstrip('.')
        return f'reading the training data failed in a worker ({reason}): see datasets.train.'
    if isinstance(error, lmdb.Error):
        return f'cannot read the training data ({text.splitlines()[-1]}): is it still where the options say?'
    if isinstance(error, RuntimeError) and 'DataLoader worker' in text:
        reason = text.splitlines()[0].partition('killed by signal: ')[2].partition('.')[0] or text.splitlines()[0]
        return (
            f'a process that reads the training data ended ({reason}): see that the data is whole (rfdn verify) and that '
            'neither the memory nor /dev/shm is full.'
        )
    if isinstance(error, urllib.error.URLError):
        return cannot_fetch(error)
    if type(error).__module__.partition('.')[0] == 'wandb':
        return f'W&B: {text.splitlines()[0].rstrip(".")}: see to that, or set WANDB_MODE=offline, or logger.wandb.project: ~.'
    if launcher != 'none' and isinstance(error, RuntimeError) and 'peer' in text:
        return 'another process of this training has ended, its own output says why.'
    return None


def cannot_fetch(error: urllib.error.URLError) -> str:
    """Say that the network of a perceptual loss, the only thing that a training downloads, could not be had."""
    return (
        f'cannot fetch what train.perceptual_opt needs ({error.reason}): put it into the folder that '
        'torch.hub.get_dir() names, or leave perceptual_opt out.'
    )
