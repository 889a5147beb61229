"""What a training says about itself while it runs, and when it stops by itself: its progress line and its losses."""

from __future__ import annotations

import datetime
import math
import statistics
import sys
import time
from collections import deque
from typing import Any

import torch
from basicsr.utils.dist_util import master_only
from basicsr.utils.logger import MessageLogger
from torch import Tensor

from rfdn_plugin.utils.errors import RFDNError


class DivergedError(RFDNError):
    """A loss that is NaN, infinite or far above what it was."""


class LossWatch:
    """The losses of a training: kept where they are computed, read together now and then.

    Reading a number from a GPU waits for all that the GPU has to do yet; so the losses are read when a line is written
    or a checkpoint is due, not after each iteration.

    Args:
        limit: A total of so many times the median of the last `WINDOW` stops the training; None: only NaN and infinity.
        processes: How many train together; the losses are then their mean.
    """

    WINDOW = 200
    """Totals that the median is of."""
    FEWEST = 10
    """Totals that a median needs to be trusted."""
    MOST_UNREAD = 1000
    """Iterations after which the losses are read in any case."""

    def __init__(self, limit: float | None, processes: int = 1) -> None:
        self.limit = limit
        self.processes = processes
        self._names: tuple[str, ...] = ()
        self._unread: list[tuple[int, Tensor]] = []
        self._since_line: list[list[float]] = []
        self._totals: deque[float] = deque(maxlen=self.WINDOW)

    def add(self, iteration: int, losses: dict[str, Tensor]) -> None:
        """Note the losses of an iteration, scalars by name.

        Raises:
            DivergedError: As `check`, where many are unread.
        """
        self._names = tuple(losses)
        self._unread.append((iteration, torch.stack([loss.detach().float() for loss in losses.values()])))
        if len(self._unread) >= self.MOST_UNREAD:
            self.check()

    def check(self, together: bool = True) -> None:
        """Read what has not been read.

        Args:
            together: Average over the processes, which must all call this; else this process's own.

        Raises:
            DivergedError: A loss is NaN or infinite, or the total is above the limit; the message says where it stood.
        """
        if not self._unread:
            return
        iterations, losses = zip(*self._unread, strict=True)
        self._unread = []
        values = torch.stack(losses)
        if together and self.processes > 1:
            torch.distributed.all_reduce(values)
            values /= self.processes
        for iteration, row in zip(iterations, values.tolist(), strict=True):
            self._check_total(iteration, sum(row))
            self._totals.append(sum(row))
            self._since_line.append(row)

    def look(self) -> None:
        """Check this process's own losses that have not been read; they stay so, for `check` of all processes.

        Raises:
            DivergedError: As `check`.
        """
        for iteration, losses in self._unread:
            self._check_total(iteration, float(losses.sum()))

    def _check_total(self, iteration: int, total: float) -> None:
        median = statistics.median(self._totals) if len(self._totals) >= self.FEWEST else None
        usual = '' if median is None else f', {median:.3g} in the median of the {len(self._totals)} before'
        if not math.isfinite(total):
            raise DivergedError(f'the loss is {total} at iteration {iteration}{usual}')
        if self.limit is not None and median is not None and total > self.limit * median:
            raise DivergedError(f'the loss is {total:.3g} at iteration {iteration}{usual}')

    def means(self) -> dict[str, float]:
        """The mean of each loss over the iterations since the last call.

        Raises:
            DivergedError: As `check`.
        """
        self.check()
        columns, self._since_line = list(zip(*self._since_line, strict=True)), []
        return {name: statistics.fmean(column) for name, column in zip(self._names, columns, strict=False)}

    def state(self) -> dict[str, Any]:
        """State that a resumed training needs to watch on in the same way, in plain numbers."""
        return {'names': list(self._names), 'since_line': self._since_line, 'totals': list(self._totals)}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned in the training that was interrupted."""
        self._names, self._since_line = tuple(state['names']), [list(row) for row in state['since_line']]
        self._totals = deque(state['totals'], maxlen=self.WINDOW)


class ProgressLogger(MessageLogger):
    """BasicSR's line, with the iterations per second, the time that is left as it has been so far, and the memory."""

    def __init__(self, opt: dict[str, Any], start_iter: int = 1, tb_logger: Any = None) -> None:
        super().__init__(opt, start_iter, tb_logger)
        self._on_gpu = opt['num_gpu'] != 0 and torch.cuda.is_available()

    @master_only
    def __call__(self, log_vars: dict[str, Any]) -> None:
        """Write the line, and what else is watched to TensorBoard.

        Args:
            log_vars: `epoch`, `iter`, `lrs` (learning rates), `time` and `data_time` (seconds an iteration took and
                waited for its data, averaged), and the losses by name.
        """
        rest = dict(log_vars)
        epoch, iteration, rates = rest.pop('epoch'), rest.pop('iter'), rest.pop('lrs')
        seconds, waited = rest.pop('time'), rest.pop('data_time')
        done = iteration - max(self.start_iter, 1)  # the clock starts after the first iteration, or when it is resumed
        pace = (time.time() - self.start_time) / done if done > 0 else seconds
        left = pace * (self.max_iters - iteration)
        memory = peak_memory(self._on_gpu) / 1e9
        speed = 1 / max(seconds, 1e-9)
        shown_rates = ''.join(f'{rate:.3e},' for rate in rates)
        self.logger.info(
            f'[{self.exp_name[:5]}..][epoch:{epoch:3d}, iter:{iteration:8,d}, lr:({shown_rates})] '
            f'[eta: {datetime.timedelta(seconds=int(left))}, {speed:.3g} it/s, time (data): {seconds:.3f} ({waited:.3f}), '
            f'{memory:.1f} GB] ' + ''.join(f'{name}: {value:.4e} ' for name, value in rest.items())
        )
        if self.tb_logger is None:
            return
        watched = {f'losses/{name}' if name.startswith('l_') else name: value for name, value in rest.items()}
        watched |= {'lr': rates[0], 'speed/iterations_per_second': speed, 'speed/data_wait_seconds': waited}
        for name, value in watched.items():
            self.tb_logger.add_scalar(name, value, iteration)


def peak_memory(on_gpu: bool) -> int:
    """Bytes that this process has held at most, on the card or in main memory; 0 where that cannot be known."""
    if on_gpu:
        return torch.cuda.max_memory_reserved()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
