"""`resident: true`: the batches of the loader that it replaces, made from images in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.datasets import options

from rfdn_plugin.data.training.dataset import EpochSampler, FastPairedImageDataset
from rfdn_plugin.data.training.resident import ResidentLoader
from rfdn_plugin.utils.errors import RFDNError

CPU = torch.device('cpu')


def loaders(folder: Path, source: str, scale: int, *, processes: int = 1, process: int = 0, **changes) -> list:
    """The DataLoader of a dataset, and the resident one, over samplers of their own."""
    both = []
    for resident in (False, True):
        dataset = FastPairedImageDataset(options(folder, source, scale, sample_seed=3, **changes))
        sampler = EpochSampler(dataset, processes, process, 4)
        if resident:
            both.append(ResidentLoader(dataset, sampler, 3, CPU))
        else:
            both.append(torch.utils.data.DataLoader(dataset, 3, sampler=sampler, drop_last=True))
    return both


def batches(loader, epoch: int) -> list[dict]:
    loader.sampler.set_epoch(epoch)
    return list(loader)


def assert_same(stock: list[dict], resident: list[dict]) -> None:
    assert len(stock) == len(resident) > 0
    for first, second in zip(stock, resident, strict=True):
        for name in ('lq', 'gt'):
            assert torch.equal(first[name], second[name])


@pytest.mark.parametrize('changes', [{}, {'use_hflip': False}, {'use_rot': False}, {'gt_size': 96}], ids=str)
@pytest.mark.parametrize(('source', 'scale'), [('png', 2), ('bmp', 3), ('png', 4), ('files_bmp', 2)])
def test_batches_are_those_of_the_loader(data, source, scale, changes):
    stock, resident = loaders(data, source, scale, **changes)
    for epoch in (0, 1):
        assert_same(batches(stock, epoch), batches(resident, epoch))
    assert len(stock) == len(resident)


def test_processes_and_resumed_trainings_get_their_own(data):
    for process in (0, 1):
        stock, resident = loaders(data, 'bmp', 2, processes=2, process=process)
        for loader in (stock, resident):
            loader.sampler.go_on_after(1, 3)
        assert_same(batches(stock, 0), batches(resident, 0))
        assert len(batches(resident, 0)) == len(resident) - 1


def test_images_of_all_sizes_are_kept_whole(tmp_path):
    """Patches at every border of images of different shapes, against plain slicing."""
    import numpy as np

    from rfdn_plugin.data.training.resident import Store

    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (height, width, 3), np.uint8) for height, width in ((5, 9), (8, 5), (5, 5))]
    store = Store(images, CPU)
    for which, image in enumerate(images):
        for top in (0, image.shape[0] - 5):
            for left in (0, image.shape[1] - 5):
                place = [torch.tensor([value]) for value in (which, top, left)]
                patch = store.patches(*place, torch.zeros(1, 3, dtype=torch.long), 5)[0]
                expected = image[top : top + 5, left : left + 5].transpose(2, 0, 1).astype(np.float32) / 255
                assert (patch.numpy() == expected).all()


def test_a_lost_entry_is_named(data):
    dataset = FastPairedImageDataset(options(data, 'bmp', sample_seed=3))
    dataset.paths[2] = {'lq_path': 'nowhere', 'gt_path': 'nowhere'}
    with pytest.raises(RFDNError, match=r'HR_sub.lmdb lacks entry nowhere'):
        ResidentLoader(dataset, EpochSampler(dataset, 1, 0, 1), 2, CPU)
