"""The loaders that take BasicSR's place: the same batches, with workers that are started once."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time

import pytest
import torch
from helpers.datasets import options

from rfdn_plugin.data.training.dataset import EpochSampler, FastPairedImageDataset
from rfdn_plugin.data.training.loader import STOPPING, ContinuousLoader, LateLoader, ReadAhead
from rfdn_plugin.data.workers import are_forked
from rfdn_plugin.utils.errors import RFDNError


class Signing(FastPairedImageDataset):
    """Says which process read a sample."""

    def __getitem__(self, index: int) -> dict:
        return {**super().__getitem__(index), 'process': os.getpid()}


def stock(folder, workers: int = 0, batch: int = 4) -> torch.utils.data.DataLoader:
    dataset = Signing(options(folder, 'files_bmp', sample_seed=3, gt_size=32))
    sampler = EpochSampler(dataset, 1, 0, 3)
    return torch.utils.data.DataLoader(dataset, batch, sampler=sampler, drop_last=True, num_workers=workers)


def continuous(folder, workers: int = 0) -> ContinuousLoader:
    loader = stock(folder, workers)
    return ContinuousLoader(loader, loader.sampler)


def epoch_of(loader, sampler: EpochSampler, epoch: int) -> list[dict]:
    sampler.set_epoch(epoch)
    return list(loader)


def assert_same(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second) > 0
    assert all(torch.equal(one['lq'], other['lq']) for one, other in zip(first, second, strict=True))


def signalled(_: int) -> None:
    """The start of a worker that is a new interpreter, as under torchrun, and gets the signals of its whole group."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


@pytest.mark.parametrize('kind', [ContinuousLoader, LateLoader])
def test_signals_to_the_group_do_not_end_workers_that_are_starting(data, kind):
    loader = stock(data, 1)
    loader.worker_init_fn = signalled
    made = ContinuousLoader(loader, loader.sampler) if kind is ContinuousLoader else LateLoader(loader)
    assert len(epoch_of(made, loader.sampler, 0)) == len(loader)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(STOPPING)


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_the_batches_of_every_epoch_are_those_of_the_loader(data, workers):
    reference, loader = stock(data), continuous(data, workers)
    processes = set()
    for epoch in (0, 1, 2, 5, 6):  # in turn, and after a leap
        batches = epoch_of(loader, loader._sampler, epoch)
        assert_same(batches, epoch_of(reference, reference.sampler, epoch))
        if epoch <= 2:
            processes.update(int(process) for batch in batches for process in batch['process'])
    assert len(loader) == len(reference)
    assert len(processes) == max(workers, 1)  # none was started for an epoch of its own


@pytest.mark.skipif(not are_forked(), reason='workers are forked on Linux only')
@pytest.mark.parametrize('default', ['forkserver', 'fork', None])
def test_workers_are_children_of_the_training_whatever_python_takes(data, monkeypatch, default):
    """Python 3.14 takes 'forkserver'; only 'spawn' is somebody's choice (BasicSR's, under torchrun)."""
    monkeypatch.setattr(multiprocessing, 'get_start_method', lambda allow_none=False: default)
    for loader in (continuous(data, 1), LateLoader(stock(data, 1))):
        assert loader._loader.multiprocessing_context.get_start_method() == 'fork'
        epoch_of(loader, loader._loader.sampler, 0)
        loader.close()
    monkeypatch.setattr(multiprocessing, 'get_start_method', lambda allow_none=False: 'spawn')
    assert continuous(data, 1)._loader.multiprocessing_context is None


def test_a_resumed_training_gets_what_is_left(data):
    loader = continuous(data, 1)
    loader._sampler.go_on_after(5, 4)  # one epoch of four batches, and one batch
    reference = stock(data)
    expected = epoch_of(reference, reference.sampler, 1)[1:]
    assert_same(epoch_of(loader, loader._sampler, 1), expected)
    assert_same(epoch_of(loader, loader._sampler, 2), epoch_of(reference, reference.sampler, 2))


def test_the_stock_prefetcher_still_hides_the_error_of_a_worker(data):
    """The problem for which its thread is left out; when this fails, `LateLoader` may use it again."""
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    def source():
        yield 1
        raise RFDNError('the disk is gone')

    original, threading.excepthook = threading.excepthook, lambda *_: None
    try:
        generator = PrefetchGenerator(source(), 1)
        assert next(generator) == 1
        generator.join(10)
        with pytest.raises(queue.Empty):  # where next(generator) would wait
            generator.queue.get(timeout=0.5)
    finally:
        threading.excepthook = original


def test_with_the_prefetch_of_basicsr_an_error_of_a_worker_is_raised(data):
    from basicsr.data.prefetch_dataloader import PrefetchDataLoader

    plain = stock(data)
    settings = {'batch_size': 4, 'sampler': plain.sampler, 'drop_last': True, 'num_workers': 1}
    loader = LateLoader(PrefetchDataLoader(1, dataset=plain.dataset, **settings))
    assert len(epoch_of(loader, plain.sampler, 0)) == len(plain)
    plain.dataset.paths[2] = {'lq_path': str(data / 'nowhere.bmp'), 'gt_path': str(data / 'nowhere.bmp')}
    with pytest.raises(Exception, match=r'nowhere\.bmp'):
        epoch_of(loader, plain.sampler, 1)


def test_an_iterator_that_was_given_up_leaves_nothing_out(data):
    """BasicSR's CUDA prefetcher takes a batch from one iterator and begins anew with another."""
    loader, reference = continuous(data), stock(data)
    loader._sampler.set_epoch(0)
    next(iter(loader))
    assert_same(list(loader), epoch_of(reference, reference.sampler, 0))


def test_no_worker_is_started_for_an_iterator_that_is_not_used(data):
    started = []
    loader = stock(data)
    loader.worker_init_fn = None
    type(loader).__iter__, original = lambda self: started.append(1) or original(self), type(loader).__iter__
    try:
        late = LateLoader(loader)
        iter(late)
        assert not started
        assert len(list(iter(late))) == len(late) and started == [1]
    finally:
        type(loader).__iter__ = original


def readers() -> set[threading.Thread]:
    """The threads that read ahead; those of multiprocessing's own queues end when they like."""
    return {thread for thread in threading.enumerate() if thread.name == ReadAhead.__name__}


def test_items_are_fetched_before_they_are_asked_for_and_not_without_end():
    fetched = []

    def source():
        for number in range(10):
            fetched.append(number)
            yield number

    ahead = ReadAhead(source(), most=2)
    deadline = time.monotonic() + 10
    while len(fetched) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(fetched) == 3  # two wait, one is held
    assert list(ahead) == list(range(10)) and list(ahead) == []


def test_an_error_of_the_source_is_raised_where_the_item_is_asked_for():
    def source():
        yield 1
        raise RFDNError('the disk is gone')

    ahead = ReadAhead(source())
    assert next(ahead) == 1
    for _ in range(2):
        with pytest.raises(RFDNError, match='the disk is gone'):
            next(ahead)


@pytest.mark.parametrize('workers', [1, 2])
@pytest.mark.parametrize('make', [continuous, lambda folder, workers: LateLoader(stock(folder, workers))])
def test_a_closed_loader_leaves_no_worker_and_no_thread(data, make, workers):
    threads, others = readers(), set(multiprocessing.active_children())
    loader = make(data, workers)
    loader._loader.sampler.set_epoch(0)
    batches = iter(loader)
    next(batches)
    assert len(set(multiprocessing.active_children()) - others) == workers
    loader.close()
    assert set(multiprocessing.active_children()) <= others and readers() == threads


def test_a_closed_one_leaves_no_thread():
    before = readers()
    ahead = ReadAhead(iter(int, 1))
    assert len(readers() - before) == 1
    ahead.close()
    assert readers() == before


@pytest.mark.parametrize('workers', [1, 2])
def test_a_image_that_cannot_be_read_stops_the_training_with_its_name(data, workers):
    for loader in (continuous(data, workers), LateLoader(stock(data, workers))):
        inner = loader._loader
        inner.dataset.paths[2] = {'lq_path': str(data / 'nowhere.bmp'), 'gt_path': str(data / 'nowhere.bmp')}
        inner.sampler.set_epoch(0)
        with pytest.raises(Exception, match=r'nowhere\.bmp'):
            list(loader)
