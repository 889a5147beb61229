"""Signals that ask a training to leave: the first is remembered until its iteration is saved, the third one kills."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import FrameType
from typing import Any

import torch

INTERRUPTED = 75
"""Exit code of a training that saved itself after a signal: "try again later" (EX_TEMPFAIL of sysexits.h)."""

SIGNAL_POLL_INTERVAL = 10
"""On GPUs, several processes ask each other for signals only so often: to ask is to wait for all work under way."""


class StopSignals:
    """SIGTERM (SLURM, torchrun), SIGINT (Ctrl+C) and SIGHUP (a terminal that is gone), caught and counted.

    The second one changes nothing: SLURM signals every process of a job, and torchrun, signalled itself, then signals
    its processes once more. The third and any later one end the process at once, for a training that hangs.
    """

    KILLING = 3
    """The signal that is not waited with any more, counted from 1."""
    BURST_SECONDS = 1.0
    """Under torchrun, signals that come so close together are one: sent to all, and passed on by torchrun."""

    def __init__(self) -> None:
        self.first: int | None = None
        """The first signal that came; None before."""
        self._before: dict[int, Any] = {}
        self._merges = False
        self._count = 0
        self._last = -float('inf')

    def catch(self, launched: bool) -> None:
        """Catch SIGTERM, SIGINT and SIGHUP from now on.

        Args:
            launched: Whether torchrun or SLURM started this process. Without them a SIGHUP that nohup had ignored
                stays so; torchrun passes it on even then, and kills the processes that do not leave.
        """
        self._merges = 'TORCHELASTIC_RUN_ID' in os.environ
        for name in ('SIGTERM', 'SIGINT', 'SIGHUP'):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None or (name == 'SIGHUP' and not launched and signal.getsignal(number) is signal.SIG_IGN):
                continue
            self._before[number] = signal.signal(number, self._note)

    def release(self) -> None:
        """Handle them as before `catch`."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not (self._merges and now - self._last < self.BURST_SECONDS):
            self._count += 1
        self._last = now
        if self._count >= self.KILLING:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if self.first is None:
            self.first = number
            if os.environ.get('RANK', '0') == '0':  # one speaks for all
                text = f'{signal.Signals(number).name}: ends after this iteration and saves it; a third signal ends at once'
                with contextlib.suppress(OSError):  # the terminal may be gone; print() may be what was interrupted
                    os.write(2, f'\n{text}\n'.encode())

    def stop_requested(self, device: torch.device, iteration: int, together: bool) -> str | None:
        """The name of the signal that asked to leave; None without one.

        Args:
            device: Device of the training.
            iteration: Number of the iteration that is done.
            together: Whether this is one of several processes, which all must call this after each iteration: a signal
                to one of them counts for all, so that none waits for another that has left.
        """
        number = self.first or 0
        if together:
            if device.type == 'cuda' and iteration % SIGNAL_POLL_INTERVAL:
                return None
            shared = torch.tensor(number, device=device)
            torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
            number = int(shared)
        return signal.Signals(number).name if number else None
