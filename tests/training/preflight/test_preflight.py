"""What is found before a training starts, beyond what tests/test_train.py shows from the command line."""

from __future__ import annotations

import shutil
import urllib.error
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from helpers.training import option_file, rfdn, small

import rfdn_plugin  # noqa: F401 (basicsr imports after it only)
from rfdn_plugin.options.load import load_training_options
from rfdn_plugin.training import preflight
from rfdn_plugin.training.preflight import resources
from rfdn_plugin.training.preflight.findings import Note
from rfdn_plugin.utils import machine

Usage = namedtuple('Usage', 'total used free')


def check(tmp_path: Path, tiny_data: Path, photographs: Path, **changes: object) -> list[str]:
    options = load_training_options(option_file(), small(tiny_data, photographs, **changes))
    return preflight.check_training(options, tmp_path, world_size=1, auto_resume=False).problems


def test_a_sound_training_has_no_problems(tmp_path, tiny_data, photographs):
    assert check(tmp_path, tiny_data, photographs) == []


def test_a_disk_without_room_for_the_checkpoints(tmp_path, tiny_data, photographs, monkeypatch):
    """As many as will be kept at one time, with optimizer and average, and the files at the end."""
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: Usage(10**9, 10**9 - 10**6, 10**6))
    (problem,) = check(tmp_path, tiny_data, photographs, **{'train:total_iter': 1000, 'logger:keep_checkpoints': '~'})
    assert 'logger.save_checkpoint_freq' in problem and '200 checkpoints' in problem and 'keep_checkpoints' in problem
    assert check(tmp_path, tiny_data, photographs, **{'train:total_iter': 1000, 'logger:keep_checkpoints': 1}) == []


def test_a_training_that_goes_on_needs_room_for_the_rest_alone(tmp_path, monkeypatch):
    """After a full disk some room was made: what is written already must not be asked for again."""
    import torch

    net = torch.nn.Conv2d(3, 100, 3)
    options = {'logger': {'save_checkpoint_freq': 10}, 'train': {'total_iter': 1000}}
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: Usage(0, 0, 4 * 2800 * 3 * 20))
    (problem,) = resources.check_disk(options, net, tmp_path, 0)
    assert '100 checkpoints' in problem
    assert list(resources.check_disk(options, net, tmp_path, 900)) == []


def test_the_disk_of_the_experiments_counts(tmp_path, tiny_data, photographs, monkeypatch):
    asked = []
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: asked.append(path) or Usage(0, 0, 10**12))
    check(tmp_path, tiny_data, photographs)
    (tmp_path / 'experiments').mkdir()
    check(tmp_path, tiny_data, photographs)
    assert asked == [tmp_path, tmp_path / 'experiments']


def test_the_estimate_of_the_disk_is_what_the_files_take(tmp_path, tiny_data, photographs, monkeypatch):

    changes = {'network_g:num_feat': 48, 'logger:keep_checkpoints': 2, 'train:total_iter': 4}
    changes |= {'logger:save_checkpoint_freq': 1, 'val:val_freq': 4}
    (tmp_path / 'run').mkdir()
    entries = small(tiny_data, photographs, **changes)
    assert rfdn('train', '-opt', option_file(), '--force_yml', *entries, cwd=tmp_path / 'run').returncode == 0
    files = [path for path in (tmp_path / 'run').rglob('*') if path.suffix in ('.pth', '.state')]
    assert len(files) == 6  # two states and their weights, the last, the best
    written = sum(path.stat().st_size for path in files)
    bounds = [1.8 * written, 0.9 * written]  # one more checkpoint is there while the oldest is still kept
    for free, expected in zip(bounds, (0, 1), strict=True):
        monkeypatch.setattr(shutil, 'disk_usage', lambda path, free=free: Usage(0, 0, int(free)))
        assert len(check(tmp_path, tiny_data, photographs, **changes)) == expected


def test_a_gpu_without_room_for_a_step(tmp_path, tiny_data, photographs, monkeypatch):
    monkeypatch.setattr(preflight, '_gpus', lambda: 1)
    monkeypatch.setattr(resources, 'gpu_memory', lambda: 10**9)
    large = {'num_gpu': 1, 'network_g:num_feat': 48, 'network_g:num_block': 6, 'datasets:train:gt_size': 96}
    large |= {'datasets:train:batch_size_per_gpu': 32, 'datasets:train:dataset_enlarge_ratio': 10}
    (problem,) = check(tmp_path, tiny_data, photographs, **large)
    assert 'batch_size_per_gpu' in problem and 'train.accum_iter to 2' in problem and 'the GPU has 1.0 GB' in problem
    large |= {'train:accum_iter': 4}
    assert check(tmp_path, tiny_data, photographs, **large) == []
    monkeypatch.setattr(preflight, '_resident_bytes', lambda options, pairs: 10**9)
    (problem,) = check(tmp_path, tiny_data, photographs, **large)
    assert 'datasets.train.resident' in problem and 'the images take 1.0 GB' in problem


def test_images_in_memory_are_counted_as_they_will_lie_there(tiny_data, photographs):
    entries = small(tiny_data, photographs, **{'datasets:train:resident': 'true'})
    options = load_training_options(option_file(), entries)
    pairs, _ = preflight.find_pairs('datasets.train', options['datasets']['train'])
    assert preflight._resident_bytes(options, pairs) == 9 * 3 * (96 * 96 + 48 * 48)


def test_the_estimate_of_the_memory_is_what_the_backward_pass_keeps(tiny_data, photographs):
    """Counted again with a real step on this machine: every tensor that the backward pass needs, once."""
    import torch
    from basicsr.archs import build_network

    for name in ('RFDN', 'E_RFDN', 'IMDN'):
        options = load_training_options(option_file().parents[1] / name / f'train_{name}_x2_scratch.yml')
        options['datasets']['train'].update(gt_size=48, batch_size_per_gpu=2)
        net = build_network(dict(options['network_g']))
        own = {parameter.data_ptr() for parameter in net.parameters()}
        kept: dict[int, int] = {}
        alive = []

        def note(tensor, own=own, kept=kept, alive=alive):
            alive.append(tensor)
            if tensor.untyped_storage().data_ptr() not in own:
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            (net(torch.rand(2, 3, 24, 24)) - 1).abs().mean()
        parameters = sum(parameter.numel() for parameter in net.parameters())
        images = 4 * 2 * 3 * (24**2 + 48**2)
        estimate = resources.memory_of_a_step(options, net)
        assert estimate == sum(kept.values()) + 20 * parameters + images + resources.CONTEXT_BYTES
        halved = {**options, 'train': {**options['train'], 'accum_iter': 2}}
        assert resources.memory_of_a_step(halved, net) < estimate


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'train:precision': 'fp16'}, ['train.precision', 'fp16 needs a GPU', 'take auto']),
        ({'logger:use_tb_logger': 'true'}, ['logger.use_tb_logger', 'tensorboard is not installed']),
        (
            {'logger:use_tb_logger': 'true', 'logger:wandb:project': 'x'},
            ['logger.wandb.project', 'wandb is not installed'],
        ),
        ({'train:compile': 'true'}, ['train.compile', 'C++ compiler']),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_what_is_not_installed_is_said(tmp_path, tiny_data, photographs, monkeypatch, changes, words):
    absent = 'wandb' if 'wandb' in words[1] else 'tensorboard'
    found = preflight.importlib.util.find_spec
    monkeypatch.setattr(preflight.importlib.util, 'find_spec', lambda name: None if name == absent else found(name))
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    (problem,) = check(tmp_path, tiny_data, photographs, **changes)
    assert all(word in problem for word in words), problem


# --- images in folders ---------------------------------------------------------------------------------------------
def test_what_a_perceptual_loss_cannot_fetch_is_said(tmp_path, tiny_data, photographs, monkeypatch):
    def no_network(url: str, *_: object, **__: object) -> None:
        raise urllib.error.URLError(f'no way to {url}')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'empty'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', no_network)
    loss = {'type': 'PerceptualLoss', 'layer_weights': {'conv1_2': 1.0}}
    (problem,) = check(tmp_path, tiny_data, photographs, **{'train:perceptual_opt': loss})
    assert 'train.perceptual_opt' in problem and 'no way to https' in problem


@pytest.fixture
def folders(tmp_path: Path, photographs: Path) -> Path:
    """HR of 96x96 pixels, and LR/2 and LR/3 under the same names."""
    import cv2

    (tmp_path / 'HR').mkdir()
    for image in photographs.iterdir():
        pixels = cv2.imread(str(image))
        cv2.imwrite(str(tmp_path / 'HR' / image.name), pixels)
        for scale in (2, 3):
            folder = tmp_path / 'LR' / str(scale)
            folder.mkdir(parents=True, exist_ok=True)
            small_one = cv2.resize(pixels, (96 // scale, 96 // scale), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / image.name), small_one)
    return tmp_path


def in_folders(phase: str, folders: Path, scale: int = 2) -> dict[str, object]:
    where = f'datasets:{phase}'
    changes = {f'{where}:io_backend:type': 'disk', f'{where}:dataroot_gt': folders / 'HR'}
    changes |= {f'{where}:dataroot_lq': folders / 'LR' / str(scale)}
    return changes | ({f'{where}:filename_tmpl': "'{}'"} if phase == 'val' else {})


@pytest.mark.parametrize('phase', ['train', 'val'])
def test_images_in_folders_are_of_the_scale(folders, tmp_path, tiny_data, photographs, phase):
    assert check(tmp_path, tiny_data, photographs, **in_folders(phase, folders)) == []
    (problem,) = check(tmp_path, tiny_data, photographs, **in_folders(phase, folders, scale=3))
    assert all(word in problem for word in (f'datasets.{phase}', '9 pairs are not of scale 2', 'HR 96x96, LR 32x32')), (
        problem
    )


@pytest.mark.parametrize(('phase', 'problems'), [('train', 1), ('val', 0)])
def test_what_a_crop_to_a_multiple_leaves_over_is_no_problem_in_validation(
    folders, tmp_path, tiny_data, photographs, phase, problems
):
    import cv2

    path = next((folders / 'HR').iterdir())
    cv2.imwrite(str(path), cv2.copyMakeBorder(cv2.imread(str(path)), 0, 11, 0, 1, cv2.BORDER_REPLICATE))
    assert len(check(tmp_path, tiny_data, photographs, **in_folders(phase, folders))) == problems


def test_small_images_in_folders(folders, tmp_path, tiny_data, photographs):
    (problem,) = check(
        tmp_path, tiny_data, photographs, **in_folders('train', folders), **{'datasets:train:gt_size': 98}
    )
    assert '9 images are smaller than gt_size 98' in problem


def test_files_that_are_no_images_are_named_with_their_set(folders, tmp_path, tiny_data, photographs):
    """BasicSR would end at the first validation, hours later; a training set is left to its reader."""
    for folder in ('HR', 'LR/2'):
        (folders / folder / 'notes.png').write_text('no image')
    found = check(tmp_path, tiny_data, photographs, **in_folders('val', folders))
    assert len(found) == 2 and all('1 image of' in line and 'notes.png (not an image)' in line for line in found)
    assert [line.partition(':')[0] for line in found] == ['datasets.val.dataroot_gt', 'datasets.val.dataroot_lq']
    assert check(tmp_path, tiny_data, photographs, **in_folders('train', folders)) == []


def test_what_was_decoded_is_remembered_until_it_changes(folders, tmp_path, tiny_data, photographs, monkeypatch):
    from rfdn_plugin.training.preflight import decoding

    decoded = []
    original = decoding._decode
    monkeypatch.setattr(decoding, '_decode', lambda data, suffix: decoded.append(len(data)) or original(data, suffix))
    changes = in_folders('val', folders)
    assert check(tmp_path, tiny_data, photographs, **changes) == [] and len(decoded) == 18
    assert check(tmp_path, tiny_data, photographs, **changes) == [] and len(decoded) == 18
    path = next((folders / 'HR').iterdir())
    path.write_bytes(path.read_bytes()[:2000])
    for _ in range(2):
        (problem,) = check(tmp_path, tiny_data, photographs, **changes)
        assert path.name in problem and 'damaged' in problem
    assert len(decoded) == 20


def test_what_another_package_does_not_tell_is_not_estimated(monkeypatch):
    """Neither its datasets, which need no gt_size, nor its networks, which may fail on meta tensors, end a run."""
    monkeypatch.setattr(resources, 'gpu_memory', lambda: 10**9)
    other = {'datasets': {'train': {'type': 'AnotherDataset', 'batch_size_per_gpu': 4}}}
    assert list(resources.check_memory(other, torch.nn.Identity(), 0)) == []

    class NotOnMeta(torch.nn.Module):
        def forward(self, lr):
            return lr * float(lr.mean())

    section = {'type': 'PairedImageDataset', 'gt_size': 32, 'batch_size_per_gpu': 4}
    options = {'datasets': {'train': section}, 'scale': 2, 'train': {}, 'network_g': {'type': 'NotOnMeta'}}
    (note,) = resources.check_memory(options, NotOnMeta(), 0)
    assert isinstance(note, Note) and 'could not be estimated' in note


@pytest.mark.parametrize(('flags', 'told'), [({'avx2'}, 1), ({'avx2', 'avx512_bf16'}, 0), (set(), 0)])
def test_bf16_that_the_processor_emulates_is_a_note(flags: set[str], told: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, 'processor_flags', lambda: flags)
    lines = preflight._check_devices(
        {'num_gpu': 0, 'model_type': 'RFDNModel', 'datasets': {}, 'train': {'precision': 'bf16'}}
    )
    assert len(lines) == told and all(isinstance(line, Note) and line.endswith(': take auto.') for line in lines)
