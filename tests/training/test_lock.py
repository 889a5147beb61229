"""One training of a name at a time, and one folder of results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.training import OURS, long_run, option_file, rfdn, small, start, wait_for_iteration

EXPERIMENT = 'experiments/train_RFDN_x2_scratch'


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_second_start_is_refused_before_anything_is_touched_and_a_killed_one_is_no_obstacle(
    tmp_path, tiny_data, photographs
):
    """The first has no checkpoint yet: BasicSR would rename its folder."""
    changes = long_run(tiny_data, photographs, 100000, 0, **OURS, **{'logger:save_checkpoint_freq': 100000})
    process = start(tmp_path, changes)
    assert wait_for_iteration(process, tmp_path, 2)
    before = names(tmp_path / 'experiments')
    assert before == ['.train_RFDN_x2_scratch.lock', 'train_RFDN_x2_scratch']
    for flags in ([], ['--auto_resume']):
        outcome = rfdn('train', '-opt', option_file(), *flags, '--force_yml', *changes, cwd=tmp_path)
        assert outcome.returncode == 1
        (line,) = outcome.stderr.strip().splitlines()
        assert f'{EXPERIMENT} is in use by process {process.pid} on {os.uname().nodename} since' in line
        assert 'choose another name' in line
        assert names(tmp_path / 'experiments') == before and process.poll() is None
    process.kill()
    process.wait()
    outcome = rfdn('train', '-opt', option_file(), '--force_yml', *changes, 'train:total_iter=2', cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    assert '.train_RFDN_x2_scratch.lock' not in names(tmp_path / 'experiments')


REFUSED = {
    'no data': ({'datasets:train:dataroot_gt': 'nowhere.lmdb'}, 'nowhere.lmdb'),
    'a prefetcher for GPUs': (
        {'datasets:train:prefetch_mode': 'cuda', 'datasets:train:pin_memory': 'true'},
        'datasets.train.prefetch_mode: cuda needs a GPU',
    ),
    'workers that persist': ({'datasets:train:persistent_workers': 'true'}, 'persistent_workers needs workers'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_a_refused_training_leaves_no_folder(case, tmp_path, tiny_data, photographs, monkeypatch, capsys):
    from rfdn_plugin.cli import main

    changes, words = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    entries = small(tiny_data, photographs, **{'datasets:train:resident': 'false', **changes})
    assert main(['train', '-opt', str(option_file()), '--force_yml', *entries]) == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope='module')
def tested(tmp_path_factory, tiny_data: Path) -> tuple[Path, list[str]]:
    """A folder with weights, and the command that tests them."""
    import torch

    from rfdn_plugin.archs import NETWORKS

    folder = tmp_path_factory.mktemp('test')
    torch.manual_seed(0)
    net = NETWORKS['RFDN'](upscale=2, num_feat=12, num_block=2)
    torch.save({'params': net.state_dict()}, folder / 'start.pth')
    options = folder / 'options.yml'
    options.write_text(f"""
name: one
model_type: RFDNModel
scale: 2
num_gpu: 0
datasets:
  test_1:
    name: photographs
    type: PairedImageDataset
    dataroot_gt: {tiny_data / 'HR_sub.lmdb'}
    dataroot_lq: {tiny_data / 'LR_bicubic_X2_sub.lmdb'}
    io_backend: {{type: lmdb}}
network_g: {{type: RFDN, upscale: 2, num_feat: 12, num_block: 2}}
path: {{pretrain_network_g: start.pth}}
val: {{save_img: true, suffix: ~, metrics: {{psnr: {{type: calculate_psnr, crop_border: 2, test_y_channel: true}}}}}}
""")
    return folder, ['test', '-opt', 'options.yml']


def test_a_test_keeps_one_folder_and_says_where(tested):
    folder, command = tested
    for count in (1, 2):
        outcome = rfdn(*command, cwd=folder)
        assert outcome.returncode == 0, outcome.stderr[-2000:]
        assert 'Results: results/one' in outcome.stdout
        assert names(folder / 'results') == ['one']
        logs = list((folder / 'results/one').glob('test_one_*.log'))
        assert len(logs) in (1, count)  # two in the same second are one
    assert len(list((folder / 'results/one/visualization/photographs').iterdir())) == 9
