"""What lies in the folders of a set and is no image never stops a check: it is named, or left aside."""

from __future__ import annotations

import os
import shutil

import pytest
from helpers.small_sets import make_weights
from helpers.training import option_file, small

import rfdn_plugin  # noqa: F401 (basicsr imports after it only)
from rfdn_plugin.options.load import load_training_options
from rfdn_plugin.training import preflight


@pytest.fixture
def folders(photographs, tmp_path):
    """A validation on files, whose sizes nobody gets to look at."""
    for name in ('hr', 'lr'):
        (tmp_path / name).mkdir()
        shutil.copy(photographs / 'photo0.png', tmp_path / name / 'a.png')
    return {
        'datasets:val:dataroot_gt': tmp_path / 'hr',
        'datasets:val:dataroot_lq': tmp_path / 'lr',
        'datasets:val:io_backend:type': 'disk',
    }


def problems(tiny_data, photographs, tmp_path, changes):
    options = load_training_options(option_file(), small(tiny_data, photographs, **changes))
    return preflight.check_training(options, tmp_path, world_size=1, auto_resume=False).problems


def test_a_list_that_is_a_fifo_is_told_and_never_read(tiny_data, photographs, tmp_path, folders):
    os.mkfifo(tmp_path / 'list.txt')
    weights = {'path:pretrain_network_g': make_weights(tmp_path / 'w.pth', num_feat=12, num_block=2)}
    changes = {**folders, **weights, 'datasets:val:meta_info_file': tmp_path / 'list.txt'}
    told = problems(tiny_data, photographs, tmp_path, changes)
    assert any(line.startswith('datasets.val.meta_info_file: no file') for line in told)


@pytest.mark.parametrize('root', ['dataroot_gt', 'dataroot_lq'])
def test_a_loop_of_links_is_named_with_its_section(tiny_data, photographs, tmp_path, folders, root):
    (folders[f'datasets:val:{root}'] / 'loop.png').symlink_to('loop.png')
    told = problems(tiny_data, photographs, tmp_path, folders)
    assert [line.partition(':')[0] for line in told] == [f'datasets.val.{root}']
    assert 'loop.png: remove it' in told[0]
