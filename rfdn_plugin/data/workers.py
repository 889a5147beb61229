"""Worker processes for the work on images, which neither hang nor outlive the process that started them."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2

from rfdn_plugin.utils.errors import RFDNError


def are_forked() -> bool:
    """Whether workers share the memory of their parent, as it is when they start. On Linux: elsewhere it is not safe."""
    return sys.platform == 'linux'


@contextlib.contextmanager
def worker_pool(workers: int, initialize: Callable | None = None, *arguments: object) -> Iterator[ProcessPoolExecutor]:
    """A pool of `workers` processes, each of which has called `initialize(*arguments)`; ended when the block is left.

    Raises:
        RFDNError: A worker died.
    """
    threads = cv2.getNumThreads()
    # A forked worker would wait for ever for OpenCV's threads, which are the parent's: let there be none.
    cv2.setNumThreads(1)
    context = multiprocessing.get_context('fork' if are_forked() else 'spawn')
    pool = ProcessPoolExecutor(workers, context, _start_worker, (initialize, arguments))
    try:
        with uninterrupted({signal.SIGINT}):
            pool.submit(int)  # the first job starts all processes
        yield pool
    except BrokenProcessPool as error:
        raise RFDNError(
            'a worker process died (killed, as a rule for want of memory): run the same command again, with fewer --workers; '
            'what is finished is kept'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)


@contextlib.contextmanager
def uninterrupted(numbers: Iterable[int]) -> Iterator[None]:
    """Let signals wait for the end of the block: what is raised in the midst of a fork Python prints and forgets.

    Processes that are started inside begin with these signals blocked.
    """
    if not hasattr(signal, 'pthread_sigmask'):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def in_order(
    pool: ProcessPoolExecutor, function: Callable, jobs: Iterable[tuple], ahead: int
) -> Iterator[tuple[tuple, Any]]:
    """Each job (the arguments of `function`) with its result, in the order of the jobs.

    `ahead` jobs at most are handed out or finished and not asked for: enough to keep the workers busy, few enough to
    bound the memory.
    """
    waiting: deque[tuple[tuple, Future]] = deque()
    for job in jobs:
        waiting.append((job, pool.submit(function, *job)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for job, future in waiting:
        yield job, future.result()


def _start_worker(initialize: Callable | None, arguments: tuple) -> None:
    cv2.setNumThreads(1)  # the processes are the parallelism
    # What OpenCV would print about a damaged image is in the records.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initialize is not None:
        initialize(*arguments)


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is None:
        return  # called outside of a worker
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)  # a killed parent cannot end its workers
