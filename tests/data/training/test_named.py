"""An image that cannot be read, wherever BasicSR's datasets read: one line with the file and the set."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.training import rfdn

import rfdn_plugin  # noqa: F401
from rfdn_plugin.data.training import named
from rfdn_plugin.utils.errors import RFDNError

BROKEN = {
    'damaged': (lambda path: path.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(50)), 'cannot be decoded'),
    'empty': (lambda path: path.write_bytes(b''), 'cannot be decoded'),
    'gone': (Path.unlink, 'cannot be read'),
}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """Four pairs for x2."""
    generator = np.random.default_rng(0)
    for which, side in (('gt', 32), ('lq', 16)):
        (tmp_path / which).mkdir()
        for number in range(4):
            image = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
            assert cv2.imwrite(str(tmp_path / which / f'{number}.png'), image)
    return {f'dataroot_{which}': str(tmp_path / which) for which in ('gt', 'lq')}


def dataset(kind: str, phase: str, folders: dict[str, str]):
    import basicsr  # noqa: F401
    from basicsr.data import build_dataset

    patches = {'gt_size': 16, 'use_hflip': False, 'use_rot': False}
    opt = {'name': 'mine', 'type': kind, 'phase': phase, 'scale': 2, 'io_backend': {'type': 'disk'}, **folders}
    return named.naming(build_dataset({**opt, **(patches if phase == 'train' else {})}))


def number_of(data, name: str) -> int:
    """The files of a folder come in any order."""
    return next(number for number, paths in enumerate(data.paths) if name in str(paths))


CASES = [
    ('PairedImageDataset', 'train', 'gt'),
    ('PairedImageDataset', 'train', 'lq'),
    ('PairedImageDataset', 'val', 'lq'),
    ('FastPairedImageDataset', 'train', 'gt'),
    ('FastPairedImageDataset', 'val', 'gt'),
    ('SingleImageDataset', 'test', 'lq'),
]


@pytest.mark.parametrize('how', BROKEN)
@pytest.mark.parametrize(('kind', 'phase', 'which'), CASES)
def test_the_image_and_the_set_are_named(folders, kind, phase, which, how):
    data = dataset(kind, phase, folders)
    assert len(data) == 4 and data[1]['lq'].shape[0] == 3
    path = Path(folders[f'dataroot_{which}'], '2.png')
    breaks, words = BROKEN[how]
    breaks(path)
    with pytest.raises(RFDNError) as error:
        data[number_of(data, '/2.png')]
    message = str(error.value)
    assert 'set mine' in message and str(path) in message and '\n' not in message
    assert words in message or kind == 'FastPairedImageDataset'
    data[number_of(data, '/3.png')]


@pytest.mark.parametrize('kind', ['PairedImageDataset', 'FastPairedImageDataset', 'SingleImageDataset'])
def test_the_samples_are_those_of_the_dataset_and_workers_can_be_given_it(folders, kind):
    from basicsr.utils.registry import DATASET_REGISTRY

    data = dataset(kind, 'val', folders)
    assert isinstance(data, DATASET_REGISTRY.get(kind))
    again = pickle.loads(pickle.dumps(data))
    assert (again[0]['lq'] == data[0]['lq']).all()


def test_a_dataset_that_is_not_known_stays_as_it_is():
    assert type(named.naming([1, 2])) is list


def test_a_scale_that_does_not_fit_names_the_pair(folders):
    cv2.imwrite(f'{folders["dataroot_lq"]}/1.png', np.zeros((10, 16, 3), np.uint8))
    data = dataset('PairedImageDataset', 'train', folders)
    with pytest.raises(RFDNError, match=r'set mine: .*1\.png.*Scale mismatches'):
        data[number_of(data, '/1.png')]


def test_a_test_is_ended_by_one_line(folders, tmp_path):
    import torch

    from rfdn_plugin.archs import NETWORKS

    torch.save({'params': NETWORKS['RFDN'](upscale=2, num_feat=12, num_block=1).state_dict()}, tmp_path / 'w.pth')
    path = Path(folders['dataroot_lq'], '2.png')
    content = path.read_bytes()
    path.write_bytes(content[:33] + bytes(len(content) - 33))  # the header is whole, so that its size can be read
    (tmp_path / 'o.yml').write_text("""
name: one
model_type: RFDNModel
scale: 2
num_gpu: 0
datasets:
  test_1: {name: mine, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, io_backend: {type: disk}}
network_g: {type: RFDN, upscale: 2, num_feat: 12, num_block: 1}
path: {pretrain_network_g: w.pth}
val: {save_img: true}
""")
    outcome = rfdn('test', '-opt', 'o.yml', cwd=tmp_path)
    assert outcome.returncode == 1 and 'Traceback' not in outcome.stderr
    last = outcome.stderr.splitlines()[-1]
    assert '2.png' in last and 'test_1' in last  # the section of the set
