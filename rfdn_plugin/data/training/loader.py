"""The DataLoader of a training, without its pauses: started once, when it is needed, and read ahead over the epochs.

A batch that a worker has made must still be taken over by the process that trains, which takes milliseconds: `ReadAhead`
does that in a thread while the training computes.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import functools
import itertools
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from rfdn_plugin.data.workers import are_forked, uninterrupted

if TYPE_CHECKING:
    from rfdn_plugin.data.training.dataset import EpochSampler


STOPPING = [getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name)]
"""The signals that a terminal or SLURM sends to a training and all its processes; Windows has no SIGHUP."""
WORKER_GRACE_SECONDS = 5
"""How long a worker may take to leave by itself after the training has said that it is over."""


class ReadAhead:
    """An iterator whose next items are fetched by a thread; an error of it is raised where the item is asked for.

    Args:
        source: What is iterated over, by the thread, which lets go of it at the end.
        most: Items that wait at most.
    """

    def __init__(self, source: Iterable, most: int = 2) -> None:
        self._items: queue.Queue = queue.Queue(most)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fetch, args=(iter(source),), daemon=True, name=type(self).__name__)
        self._thread.start()

    def _fetch(self, source: Iterator) -> None:
        try:
            for item in source:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except BaseException as error:  # it belongs to who asks for the item
            self._put((None, error))

    def _put(self, item: tuple) -> bool:
        while not self._stopped.is_set():
            try:
                self._items.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> ReadAhead:
        return self

    def __next__(self) -> Any:
        item, error = self._items.get()
        if error is not None:
            self._items.put((None, error))  # asked again, it says the same
            raise error
        return item

    def close(self) -> None:
        """End the thread, and with it the workers of a DataLoader that it reads from; nobody asks any more."""
        self._stopped.set()
        self._thread.join(timeout=2)  # it may be waiting for a worker that is gone


class _Loader:
    """What BasicSR's loop sees of a loader, and an end for what the loader has started.

    The workers ignore the signals that a terminal or SLURM sends to a whole group of processes: the training still wants
    its batch, saves, and then ends them. They leave when it says so, and when it dies.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._loader, self.batch_size = loader, loader.batch_size or 1
        self._ahead: ReadAhead | None = None
        is_over, self._say_over = multiprocessing.Pipe(duplex=False)
        if loader.num_workers and loader.multiprocessing_context is None:
            loader.multiprocessing_context = _way_to_start()
        loader.worker_init_fn = functools.partial(_start_worker, loader.worker_init_fn, is_over)
        atexit.register(self.end)

    def end(self) -> None:
        """The training is over: end the workers, also those of an iterator that somebody still holds."""
        with contextlib.suppress(OSError):  # said already
            self._say_over.send_bytes(b'over')
        self.close()

    def _read_ahead(self, loader: DataLoader) -> Iterator[dict[str, Any]]:
        """Its batches; those of workers are fetched by a thread."""
        self.close()
        if not loader.num_workers:  # what it reads in this process draws random numbers that others draw too
            return DataLoader.__iter__(loader)
        # Under torchrun a worker is a new interpreter: for seconds a signal to the whole group would end it.
        with uninterrupted(STOPPING):
            batches = DataLoader.__iter__(loader)
        self._ahead = ReadAhead(batches)
        return self._ahead

    def close(self) -> None:
        """End the workers."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None


def _way_to_start() -> str | None:
    """How workers start: 'fork' where that is safe, or what Python takes (None).

    Python 3.14 takes 'forkserver' on Linux. Such workers are children of another process, so that the training would not
    learn how they died, and get a copy of the data each. Under torchrun BasicSR asks for 'spawn'.
    """
    if not are_forked() or multiprocessing.get_start_method(allow_none=True) == 'spawn':
        return None
    return 'fork'


def _start_worker(start: Callable[[int], None] | None, is_over: connection.Connection, number: int) -> None:
    """In a worker: see to its end.

    Args:
        start: Function that is called first in a worker, with its number, or None.
        is_over: Becomes readable when the training is over.
        number: Number of the worker.
    """
    if start is not None:
        start(number)
    for stopping in STOPPING:
        signal.signal(stopping, signal.SIG_IGN)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    threading.Thread(target=_end_in_time, args=(is_over,), daemon=True, name='end with the training').start()


def _end_in_time(is_over: connection.Connection) -> None:
    """End this worker when its training has died, or is over and the worker has not left by itself."""
    parent = multiprocessing.parent_process()
    if parent is None:  # called by hand, in no worker
        return
    if parent.sentinel not in connection.wait([parent.sentinel, is_over]):
        time.sleep(WORKER_GRACE_SECONDS)
    os._exit(1)


class LateLoader(_Loader):
    """A DataLoader that starts at the first batch.

    BasicSR's prefetcher asks for an iterator when it is made and for another when the epoch begins: with a DataLoader
    of its own that starts all workers twice. The thread of its `prefetch_mode: cpu` is left out: it ends at an error of a
    worker without a word, and the training would wait for ever.
    """

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self._read_ahead(self._loader)


class ContinuousLoader(_Loader):
    """The batches of a DataLoader, epoch by epoch, from workers that never stop.

    A DataLoader ends its workers with the epoch, and the training waits for new ones and for their first batch. Here
    they go on with the next epoch's samples while the training is busy with the last ones of this. For a dataset whose
    samples depend on what the sampler gives alone: `FastPairedImageDataset` with `sample_seed`.

    Args:
        loader: Its dataset, batch size, workers and so on are taken over.
        sampler: Sampler that names the samples of an epoch; BasicSR's loop tells it the epoch.
    """

    def __init__(self, loader: DataLoader, sampler: EpochSampler) -> None:
        super().__init__(loader)
        self._sampler = sampler
        self._batches: Iterator[dict[str, Any]] = iter(())
        self._at: tuple[int, int] | None = None  # the epoch and the batch of it that come next

    def __len__(self) -> int:
        return len(self._sampler) // self.batch_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch = self._sampler.epoch
        if self._at != (epoch, 0):
            self._start(epoch)
        for number in range(_whole_batches(self._sampler, self.batch_size)):
            self._at = (epoch, number + 1)
            yield next(self._batches)
        self._at = (epoch + 1, 0)

    def _start(self, epoch: int) -> None:
        loader = self._loader
        self._batches = self._read_ahead(
            DataLoader(
                loader.dataset,
                batch_sampler=_endless(copy.copy(self._sampler), self.batch_size, epoch),
                num_workers=loader.num_workers,
                multiprocessing_context=loader.multiprocessing_context,
                pin_memory=loader.pin_memory,
                worker_init_fn=loader.worker_init_fn,
            )
        )


def _whole_batches(sampler: EpochSampler, batch_size: int) -> int:
    """Of the present epoch, of what a resumed training has left of it."""
    return sampler.samples_left() // batch_size


def _endless(sampler: EpochSampler, batch_size: int, epoch: int) -> Iterator[list[int]]:
    """The batches of an epoch and of all that follow; the last, smaller one of each is dropped."""
    for number in itertools.count(epoch):
        sampler.set_epoch(number)
        indices = iter(sampler)
        for _ in range(_whole_batches(sampler, batch_size)):
            yield list(itertools.islice(indices, batch_size))
