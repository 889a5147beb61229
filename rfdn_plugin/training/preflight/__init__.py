"""What can be known to go wrong, before anything is created: every problem of a training or test at once."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfdn_plugin.options.datasets import PAIRED, SINGLE, is_described
from rfdn_plugin.options.ignored import ignored_parts
from rfdn_plugin.options.load import unchecked_parts
from rfdn_plugin.options.models import needs_gpu
from rfdn_plugin.training.preflight import dry_run, resources
from rfdn_plugin.training.preflight.datasets import (
    Pairs,
    check_length,
    check_sizes,
    count_other_samples,
    find_pairs,
    lr_names,
)
from rfdn_plugin.training.preflight.decoding import check_decodes
from rfdn_plugin.training.preflight.evaluation import check_set, check_singles
from rfdn_plugin.training.preflight.findings import Findings, Note
from rfdn_plugin.training.preflight.resuming import check_same_network, find_start
from rfdn_plugin.training.preflight.weights import check_weights
from rfdn_plugin.utils.machine import slow_bf16

if TYPE_CHECKING:
    from torch import nn


def check_training(options: dict[str, Any], root: Path, *, world_size: int, auto_resume: bool) -> Findings:
    """Check a training before anything is created.

    Args:
        options: As `options.load_training_options` gives them.
        root: The working directory, below which experiments/ lies.
        world_size: Processes that train together.
        auto_resume: Whether `--auto_resume` was given.

    Returns:
        Every problem at once, and what is worth saying.
    """
    found = Findings(notes=[*unchecked_parts(options), *ignored_parts(options)])
    images = _check_datasets(options, found)
    if images.get('train'):
        found.run('datasets.train', check_length, options, images['train'].count, _batches(options, world_size))
    found.run('num_gpu', _check_devices, options)
    found.run('logger', _check_loggers, options)
    found.run('train', dry_run.try_losses, options)
    found.run('train.perceptual_opt', dry_run.try_perceptual_loss, options)
    found.run('network_d', dry_run.try_discriminator, options)
    net = found.search('network_g', _build_network, options)
    _check_evaluation(options, net, images, found)
    folder = root / 'experiments' / options['name']
    start = find_start(folder, options, auto_resume)
    found.problems += start.problems
    if start.iteration is not None:
        found.run('network_g', check_same_network, folder, start.iteration, options)
    elif net is not None:
        found.run('path.pretrain_network_g', check_weights, options, net, images)
    if net is not None:
        found.run('logger', resources.check_disk, options, net, root, start.iteration or 0)
        if options['num_gpu'] != 0 and _gpus():
            resident = _resident_bytes(options, images['train'].pairs) if 'train' in images else 0
            found.run('datasets.train', resources.check_memory, options, net, resident)
    return found


def check_test(options: dict[str, Any]) -> Findings:
    """Check all that a test needs before it begins; see `check_training`."""
    found = Findings(notes=[*unchecked_parts(options), *ignored_parts(options)])
    images = _check_datasets(options, found)
    found.run('num_gpu', _check_devices, options)
    net = found.search('network_g', _build_network, options)
    _check_evaluation(options, net, images, found)
    val = options['val']
    if not val.get('metrics') and not val.get('save_img'):
        found.problems.append('val: neither metrics nor save_img: the test would have no result: give val.metrics.')
    if not options['path'].get('pretrain_network_g'):
        found.problems.append(
            'path.pretrain_network_g: missing: without weights the test would report a random network.'
        )
    elif net is not None:
        found.run('path.pretrain_network_g', check_weights, options, net, images)
    return found


@dataclass
class _Images:
    """The images of a section: how many, and the sizes of the pairs by name where they are known."""

    count: int
    pairs: Pairs = field(default_factory=dict)


def _check_datasets(options: dict[str, Any], found: Findings) -> dict[str, _Images]:
    """The images of each section without a problem."""
    images: dict[str, _Images] = {}
    for phase, dataset in options['datasets'].items():
        where, scale = f'datasets.{phase}', options['scale']
        if not is_described(dataset):
            count = found.search(where, count_other_samples, where, dataset, scale)
            if count is not None:
                images[phase] = _Images(count)
            continue
        pairs = found.search(where, find_pairs, where, {**dataset, 'scale': scale})
        if pairs is None or (
            dataset['type'] != SINGLE and not found.run(where, check_sizes, where, dataset, pairs, scale)
        ):
            continue
        if phase == 'train' or found.run(where, check_decodes, where, dataset, _names(dataset, pairs)):
            images[phase] = _Images(len(pairs), pairs)
    return images


def _names(dataset: dict[str, Any], pairs: Pairs) -> dict[str, list[str]]:
    names = {'dataroot_lq': lr_names(dataset, pairs)}
    return names if dataset['type'] == SINGLE else {'dataroot_gt': list(pairs), **names}


def _check_evaluation(
    options: dict[str, Any], net: nn.Module | None, images: dict[str, _Images], found: Findings
) -> None:
    for phase, one in images.items():
        if phase != 'train' and options['datasets'][phase]['type'] in PAIRED:
            sizes = {name: hr for name, (hr, _) in one.pairs.items() if hr is not None}
            smallest = min(sizes, key=lambda name: min(sizes[name]), default=None)
            found.run(f'datasets.{phase}', check_set, options, net, phase, smallest)
    if all(phase in images for phase, section in options['datasets'].items() if section['type'] == SINGLE):
        found.run('datasets', check_singles, options, net)


def _batches(options: dict[str, Any], world_size: int) -> int:
    """How many times `batch_size_per_gpu` an iteration takes: one for each process or, in one process, for each GPU."""
    num_gpu = options['num_gpu']
    return world_size if world_size > 1 else max(_gpus() if num_gpu == 'auto' else min(num_gpu, _gpus()), 1)


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _check_devices(options: dict[str, Any]) -> list[str]:
    problems = []
    num_gpu, train = options['num_gpu'], options.get('train', {})
    if num_gpu != 'auto' and num_gpu > _gpus():
        problems.append(f'num_gpu: {num_gpu} are asked for, {_gpus()} are here: write auto, or 0 for the CPU.')
    on_cpu = num_gpu == 0 or not _gpus()
    if on_cpu and needs_gpu(options['model_type']):
        problems.append(
            f'model_type: {options["model_type"]} works on a GPU only, and none is used: take another model.'
        )
    if on_cpu and (options['datasets'].get('train') or {}).get('prefetch_mode') == 'cuda':
        problems.append('datasets.train.prefetch_mode: cuda needs a GPU, and none is used: take cpu, or ~.')
    if on_cpu and train.get('precision') == 'fp16':
        problems.append('train.precision: fp16 needs a GPU: take auto, or fp32.')
    if on_cpu and train.get('precision') == 'bf16' and (slow := slow_bf16('cpu')):
        problems.append(Note(f'train.precision: bf16 is {slow}: take auto.'))
    if on_cpu and train.get('compile') and not any(map(shutil.which, (os.environ.get('CXX', 'g++'), 'clang++'))):
        problems.append(
            'train.compile: torch.compile needs a C++ compiler on a CPU, none is on PATH: install g++, or false.'
        )
    return problems


def _check_loggers(options: dict[str, Any]) -> list[str]:
    logger = options['logger']
    wanted = {'tensorboard': ('use_tb_logger', logger['use_tb_logger'])}
    wanted['wandb'] = ('wandb.project', (logger.get('wandb') or {}).get('project') is not None)
    return [
        f'logger.{key}: {package} is not installed: pip install {package}, or turn it off.'
        for package, (key, asked) in wanted.items()
        if asked and importlib.util.find_spec(package) is None
    ]


def _build_network(options: dict[str, Any]) -> tuple[nn.Module, list[str]]:
    """The network, and what is wrong with it: some arguments are wrong only together."""
    from basicsr.utils.registry import ARCH_REGISTRY

    arguments = dict(options['network_g'])
    with warnings.catch_warnings():  # torch's about layers of no channels: what follows says it better
        warnings.simplefilter('ignore', UserWarning)
        net = ARCH_REGISTRY.get(arguments.pop('type'))(**arguments)
    return net, dry_run.try_network(options, net)


def _resident_bytes(options: dict[str, Any], pairs: Pairs) -> int:
    """What the images take in the memory of the device, as far as their sizes are known without decoding them."""
    if not options['datasets']['train'].get('resident'):
        return 0
    return sum(3 * height * width for pair in pairs.values() for height, width in filter(None, pair))
