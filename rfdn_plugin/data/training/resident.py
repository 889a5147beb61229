"""All training images decoded in the memory of one device, and patches cut there: for trainings that outrun a loader.

With `resident: true` in the options of a `FastPairedImageDataset` with `sample_seed`, `ResidentLoader` takes the place of
the DataLoader. Its batches are those of the dataset, patch by patch: the same sampler names the images, the same
random numbers place, flip and turn the crops. What is random is drawn by Python, a few numbers a sample; the pixels never
leave the device. No worker is started.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from basicsr.data.transforms import augment, paired_random_crop
from torch import Tensor

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.progress import progress

if TYPE_CHECKING:
    from rfdn_plugin.data.training.dataset import EpochSampler, FastPairedImageDataset


class Store:
    """Images of many sizes, 8-bit RGB, one behind the other in one tensor.

    Args:
        images: H x W x 3, uint8.
        device: Where they are kept.
    """

    def __init__(self, images: list[np.ndarray], device: torch.device) -> None:
        sizes = [image.shape[:2] for image in images]
        starts = np.cumsum([0] + [height * width for height, width in sizes])
        self.pixels = torch.empty(int(starts[-1]), 3, dtype=torch.uint8, device=device)
        for start, image in zip(starts, images, strict=False):
            flat = torch.from_numpy(np.ascontiguousarray(image)).reshape(-1, 3)
            self.pixels[int(start) : int(start) + len(flat)] = flat.to(device)
        self._starts = torch.from_numpy(starts[:-1]).to(device)
        self._widths = torch.tensor([width for _, width in sizes], device=device)

    def patches(self, which: Tensor, top: Tensor, left: Tensor, turns: Tensor, size: int) -> Tensor:
        """Square patches, float32 RGB from 0 to 1, N x 3 x size x size.

        Args:
            which: The number of each patch's image, N.
            top, left: Its corner in the image, N.
            turns: N x 3 of 0 and 1: mirror left and right, mirror up and down, exchange rows and columns, in this order.
            size: Side of the patch in pixels.
        """
        ramp = torch.arange(size, device=which.device)
        horizontally, vertically, exchanged = (flag[:, None, None] for flag in turns.bool().unbind(1))
        # Where the pixel (row, column) of the result comes from, the steps taken backwards.
        row, column = ramp[None, :, None], ramp[None, None, :]
        row, column = torch.where(exchanged, column, row), torch.where(exchanged, row, column)
        row = torch.where(vertically, size - 1 - row, row) + top[:, None, None]
        column = torch.where(horizontally, size - 1 - column, column) + left[:, None, None]
        places = self._starts[which][:, None, None] + row * self._widths[which][:, None, None] + column
        return (self.pixels[places].permute(0, 3, 1, 2).float() / 255).contiguous()


class ResidentLoader:
    """Batches of a `FastPairedImageDataset` from the memory of a device, in place of its DataLoader.

    Args:
        dataset: With a `sample_seed`, in its training phase.
        sampler: Sampler that names the samples of an epoch.
        batch_size: Samples in the batch of each process.
        device: Where the images are kept and the batches are made.

    Raises:
        RFDNError: An image cannot be read, or the memory is too small.
    """

    def __init__(
        self, dataset: FastPairedImageDataset, sampler: EpochSampler, batch_size: int, device: torch.device
    ) -> None:
        self.dataset, self.sampler, self.batch_size, self.device = dataset, sampler, batch_size, device
        indices = progress(range(len(dataset)), description='images into memory', unit='images')
        try:
            pairs = [dataset.whole_pair(index) for index in indices]
        except RFDNError as error:
            raise RFDNError(f'set {dataset.opt.get("name")}: {error}') from error
        self._shapes = [(gt.shape, lq.shape) for gt, lq in pairs]
        try:
            self._gt, self._lq = (Store([pair[side] for pair in pairs], device) for side in (0, 1))
        except torch.OutOfMemoryError as error:
            bytes_needed = sum(image.nbytes for pair in pairs for image in pair)
            raise RFDNError(
                f'datasets.train.resident: the images take {bytes_needed / 1e9:.1f} GB, more than {device} has free: '
                'set resident: false.'
            ) from error

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        batch: list[tuple[int, ...]] = []
        for index in self.sampler:
            batch.append(self._place(index))
            if len(batch) == self.batch_size:  # the last, smaller one of an epoch is dropped, as by BasicSR's loader
                yield self._cut(batch)
                batch = []

    def _place(self, index: int) -> tuple[int, ...]:
        """The image of a sample, the corner of its LR patch, and how it is turned, from the dataset's random numbers."""
        opt = self.dataset.opt
        draw, index = divmod(index, len(self.dataset))
        gt, lq = (_Shape(shape) for shape in self._shapes[index])
        with self.dataset.random_numbers(draw, index):
            paired_random_crop(gt, lq, opt['gt_size'], opt['scale'], self.dataset.paths[index]['gt_path'])
            _, turns = augment(np.zeros((1, 1, 1)), opt['use_hflip'], opt['use_rot'], return_status=True)
        return (index, *lq.corner, *map(int, turns))

    def _cut(self, batch: list[tuple[int, ...]]) -> dict[str, Tensor]:
        numbers = torch.tensor(batch)
        if self.device.type == 'cuda':
            numbers = numbers.pin_memory().to(self.device, non_blocking=True)
        which, top, left, turns = numbers[:, 0], numbers[:, 1], numbers[:, 2], numbers[:, 3:]
        scale, gt_size = self.dataset.opt['scale'], self.dataset.opt['gt_size']
        return {
            'lq': self._lq.patches(which, top, left, turns, gt_size // scale),
            'gt': self._gt.patches(which, top * scale, left * scale, turns, gt_size),
        }


class _Shape:
    """Stands for an image whose crop is asked for: it remembers where, so that BasicSR's own functions draw it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.corner = (0, 0)

    def __getitem__(self, slices: tuple) -> _Shape:
        self.corner = (slices[0].start, slices[1].start)
        return self
