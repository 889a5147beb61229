"""The DataLoader of a training, without its pauses: started once, when it is needed, and read ahead over the epochs."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from rfdn_plugin.data.dataset import EpochSampler


class LateLoader:
    """A DataLoader that starts at the first batch.

    BasicSR's prefetcher asks for an iterator when it is made and for another when the epoch begins: with a DataLoader
    of its own that starts all workers twice.
    """

    def __init__(self, loader: DataLoader) -> None:
        self.loader, self.batch_size = loader, loader.batch_size

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self.loader


class ContinuousLoader:
    """The batches of a DataLoader, epoch by epoch, from workers that never stop.

    A DataLoader ends its workers with the epoch, and the training waits for new ones and for their first batch. Here
    they go on with the next epoch's samples while the training is busy with the last ones of this. For a dataset whose
    samples depend on what the sampler gives alone: `FastPairedImageDataset` with `sample_seed`.

    Args:
        loader: Its dataset, batch size, workers and so on are taken over.
        sampler: That names the samples of an epoch; BasicSR's loop tells it the epoch.
    """

    def __init__(self, loader: DataLoader, sampler: EpochSampler) -> None:
        self._loader, self._sampler, self.batch_size = loader, sampler, loader.batch_size
        self._batches: Iterator[dict[str, Any]] | None = None
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
        self._batches = iter(
            DataLoader(
                loader.dataset,
                batch_sampler=_endless(copy.copy(self._sampler), self.batch_size, epoch),
                num_workers=loader.num_workers,
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
