"""The reading side: BasicSR's `PairedImageDataset` for trainings that wait for their data.

`type: FastPairedImageDataset` in an option file takes every option of `PairedImageDataset` and gives, pixel for pixel,
the samples that it gives for the same random numbers. It crops before it converts to float, and from values that are
BMPs (`rfdn prepare --encoding bmp`) it reads only the rows of the crop, without decoding the rest.

BasicSR seeds its workers anew with the same numbers at each epoch, so the crops and flips of epoch 2 are those of
epoch 1 as far as the order of the images allows. With `sample_seed: 0` (any whole number) in the dataset's options
each sample has random numbers of its own, made from that seed, the epoch and the place of the sample in the epoch: they
do not repeat, and do not depend on the number of workers. `EpochSampler`, which `rfdn train` uses, tells the dataset
both; a loop of one's own calls `set_epoch`.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from typing import Any

import cv2
import lmdb
import numpy as np
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import FileClient, bgr2ycbcr, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torchvision.transforms.functional import normalize

from rfdn_plugin.compat import register
from rfdn_plugin.data.prepare.encoding import BmpView, is_plain_bmp
from rfdn_plugin.utils.errors import RFDNError


class FastPairedImageDataset(PairedImageDataset):
    """`PairedImageDataset`, faster in training; see there for the options.

    Further option:
        sample_seed (int): Random numbers for each sample, as the module describes. Left out, they come from Python's
            `random` as in `PairedImageDataset`.

    In validation it is `PairedImageDataset`.
    """

    file_client: FileClient | None

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self._sample_seed = opt.get('sample_seed')
        self._epoch: int | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random numbers follow; call it before the loader starts its workers."""
        self._epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Tensor | str]:
        """A sample: `lq` and `gt`, float32 RGB (3, H, W) in 0..1, `lq_path` and `gt_path`.

        Args:
            index: Index of the image; or, from `EpochSampler`, that plus the length of the dataset times the number of
                the draw since the training began.

        Raises:
            RFDNError: An entry is missing or cannot be decoded, or `sample_seed` is set and the epoch is unknown.
        """
        if self.opt['phase'] != 'train':
            return super().__getitem__(index)
        draw, index = divmod(index, len(self))
        paths = self.paths[index]
        with self.random_numbers(draw, index), contextlib.ExitStack() as stack:
            gt = self._open(paths['gt_path'], 'gt', stack)
            lq = self._open(paths['lq_path'], 'lq', stack)
            gt, lq = paired_random_crop(gt, lq, self.opt['gt_size'], self.opt['scale'], paths['gt_path'])
            gt, lq = augment([gt, lq], self.opt['use_hflip'], self.opt['use_rot'])
        gt, lq = (image.astype(np.float32) / 255.0 for image in (gt, lq))
        if self.opt.get('color') == 'y':
            gt, lq = (bgr2ycbcr(image, y_only=True)[..., None] for image in (gt, lq))
        gt, lq = img2tensor([gt, lq], bgr2rgb=True, float32=True)
        if self.mean is not None or self.std is not None:
            normalize(lq, self.mean, self.std, inplace=True)
            normalize(gt, self.mean, self.std, inplace=True)
        return {'lq': lq, 'gt': gt, **paths}

    def _open(self, path: str, which: str, stack: contextlib.ExitStack) -> BmpView | np.ndarray:
        """The image as something that can be sliced, BGR, valid until `stack` is closed."""
        folder = self.gt_folder if which == 'gt' else self.lq_folder
        if self.file_client is None:
            self.file_client = self._connect()
        if self.file_client.backend == 'lmdb':
            # A buffer in the mapped file instead of the copy that the client would make of the whole value.
            environment = self.file_client.client._client[which]
            value = stack.enter_context(environment.begin(buffers=True)).get(path.encode('ascii'))
        else:
            value = self.file_client.get(path, which)
        if value is None:
            raise RFDNError(f'{folder} lacks entry {path}, which its meta_info.txt names: see `rfdn verify {folder}`')
        if is_plain_bmp(value):
            return BmpView(value)
        image = cv2.imdecode(np.frombuffer(value, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise RFDNError(f'{path} in {folder} cannot be decoded: see `rfdn verify {folder}`')
        return image

    def _connect(self) -> FileClient:
        settings = dict(self.io_backend_opt)
        try:
            return FileClient(settings.pop('type'), **settings)
        except lmdb.Error as error:  # found when the dataset was made, and gone or damaged since
            raise RFDNError(
                f'cannot open {self.gt_folder} and {self.lq_folder} ({error}): are they still there?'
            ) from error

    def whole_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The whole HR and LR image of a number, H x W x 3, uint8 RGB.

        Raises:
            RFDNError: An entry is missing or cannot be decoded.
        """
        paths = self.paths[index]
        with contextlib.ExitStack() as stack:
            pair = [self._open(paths[f'{which}_path'], which, stack)[:, :, ...] for which in ('gt', 'lq')]
            hr, lr = (np.ascontiguousarray(image[..., ::-1]) for image in pair)
            return hr, lr

    @contextlib.contextmanager
    def random_numbers(self, draw: int, index: int) -> Iterator[None]:
        """BasicSR's functions take theirs from the module `random`: seed it for this sample, and put it back.

        Args:
            draw: Number of the sample since the training began, 0 where it is not counted.
            index: Index of the image.

        Raises:
            RFDNError: `sample_seed` is set, the draw is not counted, and the epoch is unknown.
        """
        if self._sample_seed is None:
            yield
            return
        if draw == 0 and self._epoch is None:
            raise RFDNError(
                'sample_seed needs the epoch: train with `rfdn train`, or call set_epoch() of the dataset '
                'before each epoch'
            )
        # A draw is counted since the training began; a worker that lives on may know only an older epoch.
        which = f'draw {draw}' if draw else f'epoch {self._epoch}'
        state = random.getstate()
        # The words are part of the seed: other words would give a training that goes on other samples.
        random.seed(f'{self._sample_seed}, {which}, picture {index}')
        try:
            yield
        finally:
            random.setstate(state)


class EpochSampler(EnlargedSampler):
    """BasicSR's sampler, which also tells a `FastPairedImageDataset` which epoch it is and which draw of it.

    An image that `dataset_enlarge_ratio` draws many times in an epoch is thus another sample each time, and nothing
    depends on when the workers were started (`persistent_workers`). The order of the images is BasicSR's; another
    dataset gets BasicSR's indices. After `go_on_after` it leaves out what a resumed training has seen already.
    """

    _iterations = 0
    _batch_size = 1

    def __init__(self, dataset: Any, num_replicas: int, rank: int, ratio: int = 1) -> None:
        # One order for any number of processes: BasicSR's would change with what it adds to share evenly.
        super().__init__(dataset, 1, 0, ratio)
        self._processes, self._process = num_replicas, rank

    def __len__(self) -> int:
        """Samples of an epoch for each process."""
        return self.total_size // self._processes

    def go_on_after(self, iterations: int, batch_size: int) -> None:
        """Start behind the batches of a training that has done `iterations` with this `batch_size` in each process."""
        self._iterations, self._batch_size = iterations, batch_size

    def samples_left(self) -> int:
        """Samples of the present epoch that are yet to come for a training that was resumed."""
        return len(self) - self._seen()

    def _seen(self) -> int:
        """Samples of the present epoch that the training had before it was resumed."""
        batches = len(self) // self._batch_size  # the last, smaller one is dropped
        return min(max(self._iterations - self.epoch * batches, 0), batches) * self._batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch: the order of the images and, for our dataset, the random numbers."""
        super().set_epoch(epoch)
        if isinstance(self.dataset, FastPairedImageDataset):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        shared_out = len(self) * self._processes
        indices = itertools.islice(super().__iter__(), self._process, shared_out, self._processes)
        seen = self._seen()
        if not isinstance(self.dataset, FastPairedImageDataset):
            return itertools.islice(indices, seen, None)
        # Draws are counted over all processes and epochs, from 1: 0 stands for an index without a draw.
        before = self.epoch * self.total_size + self._process + 1
        length = len(self.dataset)
        draws = (index + length * (before + position * self._processes) for position, index in enumerate(indices))
        return itertools.islice(draws, seen, None)


register(DATASET_REGISTRY, FastPairedImageDataset)
