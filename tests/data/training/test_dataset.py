"""`FastPairedImageDataset`: the stock dataset's samples, and random numbers that do not repeat."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from helpers.datasets import options
from helpers.images import photograph

from rfdn_plugin.data.prepare.encoding import BmpView, encode, is_plain_bmp
from rfdn_plugin.data.training.dataset import EpochSampler, FastPairedImageDataset
from rfdn_plugin.utils.errors import RFDNError

paired_image_dataset = pytest.importorskip('basicsr.data.paired_image_dataset')
PairedImageDataset = paired_image_dataset.PairedImageDataset


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) if torch.is_tensor(first[name]) else first[name] == second[name]
        for name in first
    )


VARIANTS = [
    {},
    {'use_hflip': False},
    {'use_rot': False},
    {'color': 'y'},
    {'mean': [0.4, 0.4, 0.4], 'std': [1, 1, 1]},
    {'phase': 'val'},
    {'gt_size': 96},
]


@pytest.mark.parametrize('changes', VARIANTS, ids=str)
@pytest.mark.parametrize(
    ('source', 'scale'),
    [('png', 2), ('bmp', 2), ('png', 3), ('bmp', 3), ('png', 4), ('bmp', 4), ('files_png', 2), ('files_bmp', 2)],
)
def test_samples_are_those_of_the_stock_dataset(data, source, scale, changes):
    stock = PairedImageDataset(options(data, source, scale, **changes))
    ours = FastPairedImageDataset(options(data, source, scale, **changes))
    assert len(stock) == len(ours) > 0
    for index in range(len(stock)):
        random.seed(index)
        expected = stock[index]
        after = random.getstate()
        random.seed(index)
        assert equal(ours[index], expected)
        assert random.getstate() == after
    assert ours[0]['gt'].is_contiguous() == expected['gt'].is_contiguous()


@pytest.mark.parametrize('width', [1, 2, 3, 4, 5, 96])
def test_a_bmp_is_read_where_it_is_sliced(width):
    rgb = photograph(1, 50, width)
    value = encode(rgb, 'bmp')
    assert is_plain_bmp(value)
    view = BmpView(memoryview(value))
    assert view.shape == rgb.shape
    for top, bottom, left, right in ((0, 50, 0, width), (3, 20, 0, 1), (49, 50, width - 1, width)):
        assert (view[top:bottom, left:right, ...] == rgb[top:bottom, left:right, ::-1]).all()
    # Rows from the top down: the height is negative.
    flipped = bytearray(encode(rgb[::-1], 'bmp'))
    flipped[22:26] = (-50).to_bytes(4, 'little', signed=True)
    assert (BmpView(bytes(flipped))[0:50, 0:width] == rgb[..., ::-1]).all()
    for broken in (value[:-1], value[:20], b'', value.replace(b'BM', b'XX', 1), encode(rgb, 'png')):
        assert not is_plain_bmp(broken)


def test_a_lost_or_broken_entry_is_named(data):
    dataset = FastPairedImageDataset(options(data, 'bmp'))
    dataset.paths[0] = {'lq_path': 'nowhere', 'gt_path': 'nowhere'}
    with pytest.raises(RFDNError, match=r'HR_sub.lmdb lacks entry nowhere'):
        dataset[0]


def test_the_registry_has_it(data):
    from basicsr.data import build_dataset

    built = build_dataset(options(data, 'bmp', type='FastPairedImageDataset'))
    assert isinstance(built, FastPairedImageDataset)


# --- random numbers ------------------------------------------------------------------------------------------------
def epoch_of(dataset, epoch: int, workers: int, *, sampler=None, persistent=None, loader=None) -> list[torch.Tensor]:
    from basicsr.data import build_dataloader

    sampler = sampler or EpochSampler(dataset, 1, 0, 3)
    sampler.set_epoch(epoch)
    if loader is None:
        settings = {'phase': 'train', 'batch_size_per_gpu': 2, 'num_worker_per_gpu': workers}
        loader = build_dataloader(dataset, settings, num_gpu=0, sampler=sampler, seed=5)
        if workers:  # the processes that Python 3.14 starts by default cannot import BasicSR's own datasets
            loader.multiprocessing_context = 'fork'
    return [batch['lq'] for batch in loader]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) > 0 and all(map(torch.equal, first, second))


def seeded(data: Path, seed: int | None = 10) -> FastPairedImageDataset:
    return FastPairedImageDataset(options(data, 'files_bmp', sample_seed=seed, gt_size=32))


def test_the_stock_numbers_repeat_each_epoch(data):
    """The problem that `sample_seed` answers; the order is held, as two epochs order the images differently."""

    class InOrder(EpochSampler):
        def __iter__(self):
            return iter(range(len(self.dataset)))

    stock = PairedImageDataset(options(data, 'files_bmp', gt_size=32))
    epochs = [epoch_of(stock, epoch, workers=1, sampler=InOrder(stock, 1, 0, 1)) for epoch in (0, 1)]
    assert same(*epochs)


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_samples_depend_on_the_epoch_alone(data, workers):
    first, second = (epoch_of(seeded(data), epoch, workers) for epoch in (0, 1))
    assert not same(first, second)
    assert same(first, epoch_of(seeded(data), 0, workers=0))
    assert same(second, epoch_of(seeded(data), 1, workers=0))  # a resumed run asks for epoch 1 at once
    assert not same(first, epoch_of(seeded(data, seed=11), 0, workers=0))


def test_a_image_drawn_again_in_an_epoch_is_another_sample(data):
    dataset = seeded(data)
    sampler = EpochSampler(dataset, 1, 0, 3)
    sampler.set_epoch(0)
    indices = list(sampler)
    assert sorted(index % 6 for index in indices) == sorted([*range(6)] * 3)
    crops = {dataset[index]['lq'].numpy().tobytes() for index in indices}
    assert len(crops) > 14  # two of eighteen may meet by chance


def test_processes_draw_different_numbers(data):
    dataset = seeded(data)
    draws = []
    for rank in (0, 1):
        for epoch in (0, 1):
            sampler = EpochSampler(dataset, 2, rank, 4)
            sampler.set_epoch(epoch)
            draws += [index // 6 for index in sampler]
    assert len(set(draws)) == len(draws)


def test_workers_that_live_on_get_new_numbers(data):
    dataset = seeded(data)
    sampler = EpochSampler(dataset, 1, 0, 3)
    loader = torch.utils.data.DataLoader(dataset, 2, sampler=sampler, num_workers=1, persistent_workers=True)
    first = epoch_of(dataset, 0, 1, sampler=sampler, loader=loader)
    second = epoch_of(dataset, 1, 1, sampler=sampler, loader=loader)
    assert same(first, epoch_of(seeded(data), 0, workers=0))
    assert same(second, epoch_of(seeded(data), 1, workers=0))


def test_the_order_of_the_images_is_that_of_basicsr(data):
    from basicsr.data.data_sampler import EnlargedSampler

    stock, ours = PairedImageDataset(options(data, 'files_bmp')), seeded(data)
    for epoch in (0, 3):
        theirs = EnlargedSampler(stock, 2, 1, 4)
        theirs.set_epoch(epoch)
        for dataset in (stock, ours):
            sampler = EpochSampler(dataset, 2, 1, 4)
            sampler.set_epoch(epoch)
            indices = list(sampler)
            assert [index % 6 for index in indices] == list(theirs)
            assert dataset is ours or indices == list(theirs)


def test_without_a_sampler_the_epoch_must_be_told(data):
    dataset = seeded(data)
    with pytest.raises(RFDNError, match='sample_seed needs the epoch'):
        dataset[0]
    crops = []
    for epoch in range(4):
        dataset.set_epoch(epoch)
        state = random.getstate()
        crops.append(dataset[0]['lq'])
        assert random.getstate() == state
        assert torch.equal(crops[-1], dataset[0]['lq'])
    assert any(not torch.equal(crops[0], crop) for crop in crops[1:])


@pytest.mark.parametrize('ratio', [1, 3, 4])
@pytest.mark.parametrize('processes', [2, 4])
def test_several_processes_share_out_the_samples_of_one(data, processes, ratio):
    """Each batch of all processes together holds the samples that one process would have in a batch as large."""
    dataset = seeded(data)
    dataset.paths = dataset.paths[:5]  # a number that does not divide
    alone = EpochSampler(dataset, 1, 0, ratio)
    together = [EpochSampler(dataset, processes, process, ratio) for process in range(processes)]
    for epoch in (0, 1):
        for sampler in (alone, *together):
            sampler.set_epoch(epoch)
        parts = [list(sampler) for sampler in together]
        assert {len(part) for part in parts} == {len(sampler) for sampler in together}
        mixed = [index for position in zip(*parts, strict=True) for index in position]
        assert mixed == list(alone)[: len(mixed)] and len(mixed) > len(alone) - processes
