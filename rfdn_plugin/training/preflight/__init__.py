"""What can be known to go wrong, before anything is created: every problem of a training or test at once."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfdn_plugin.training.preflight import dry_run, resources
from rfdn_plugin.training.preflight.datasets import Pairs, check_length, check_sizes, find_pairs
from rfdn_plugin.training.preflight.resuming import check_same_network, resumed_iteration
from rfdn_plugin.utils.errors import RFDNError

if TYPE_CHECKING:
    from torch import nn


def check_training(options: dict[str, Any], root: Path, *, world_size: int, auto_resume: bool) -> list[str]:
    """The problems of a training, one line each; an empty list where there are none.

    Args:
        options: As `options.load_training_options` gives them.
        root: The working directory, below which experiments/ lies.
        world_size: Processes that train together.
        auto_resume: Whether `--auto_resume` was given.
    """
    problems: list[str] = []
    train_pairs: Pairs = {}
    for phase, dataset in options['datasets'].items():
        pairs = find_pairs(f'datasets.{phase}', dataset, problems)
        if pairs is None:
            continue
        check_sizes(f'datasets.{phase}', dataset, pairs, options['scale'], problems)
        if phase == 'train':
            train_pairs = pairs
            check_length(dataset, len(pairs), _batches(options, world_size), problems)
    _check_devices(options, problems)
    _check_loggers(options, problems)
    dry_run.try_losses(options, problems)
    net = _build(options, problems)
    folder = root / 'experiments' / options['name']
    done = resumed_iteration(folder, options, auto_resume, problems)
    if done is not None:
        check_same_network(folder, done, options, problems)
    elif net is not None:
        _check_weights(options, net, problems)
    if net is not None:
        resources.check_disk(options, net, root, done or 0, problems)
        if options['num_gpu'] != 0 and _gpus():
            resources.check_memory(options, net, _resident_bytes(options, train_pairs), problems)
    return problems


def check_test(options: dict[str, Any]) -> list[str]:
    """The problems of a test, one line each; an empty list where there are none."""
    problems: list[str] = []
    for phase, dataset in options['datasets'].items():
        pairs = find_pairs(f'datasets.{phase}', dataset, problems)
        if pairs is not None:
            check_sizes(f'datasets.{phase}', dataset, pairs, options['scale'], problems)
    _check_devices(options, problems)
    net = _build(options, problems)
    if not options['path'].get('pretrain_network_g'):
        problems.append('path.pretrain_network_g: missing: without weights the test would report a random network.')
    elif net is not None:
        _check_weights(options, net, problems)
    return problems


def _batches(options: dict[str, Any], world_size: int) -> int:
    """How many times `batch_size_per_gpu` an iteration takes: one for each process or, in one process, for each GPU."""
    num_gpu = options['num_gpu']
    return world_size if world_size > 1 else max(_gpus() if num_gpu == 'auto' else min(num_gpu, _gpus()), 1)


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _check_devices(options: dict[str, Any], problems: list[str]) -> None:
    num_gpu, train = options['num_gpu'], options.get('train', {})
    if num_gpu != 'auto' and num_gpu > _gpus():
        problems.append(f'num_gpu: {num_gpu} are asked for, {_gpus()} are here: write auto, or 0 for the CPU.')
    on_cpu = num_gpu == 0 or not _gpus()
    if on_cpu and train.get('precision') == 'fp16':
        problems.append('train.precision: fp16 needs a GPU: take bf16, or fp32.')
    if on_cpu and train.get('compile') and not any(map(shutil.which, (os.environ.get('CXX', 'g++'), 'clang++'))):
        problems.append(
            'train.compile: torch.compile needs a C++ compiler on a CPU, none is on PATH: install g++, or false.'
        )


def _check_loggers(options: dict[str, Any], problems: list[str]) -> None:
    logger = options['logger']
    wanted = {'tensorboard': ('use_tb_logger', logger['use_tb_logger'])}
    wanted['wandb'] = ('wandb.project', (logger.get('wandb') or {}).get('project') is not None)
    for package, (key, asked) in wanted.items():
        if asked and importlib.util.find_spec(package) is None:
            problems.append(f'logger.{key}: {package} is not installed: pip install {package}, or turn it off.')


def _build(options: dict[str, Any], problems: list[str]) -> nn.Module | None:
    """The network, or None with the problem noted: some arguments are wrong only together."""
    from basicsr.utils.registry import ARCH_REGISTRY

    arguments = dict(options['network_g'])
    try:
        with warnings.catch_warnings():  # torch's about layers of no channels: what follows says it better
            warnings.simplefilter('ignore', UserWarning)
            net = ARCH_REGISTRY.get(arguments.pop('type'))(**arguments)
    except (ValueError, TypeError) as error:
        problems.append(f'network_g: {error}')
        return None
    before = len(problems)
    dry_run.try_network(options, net, problems)
    return net if len(problems) == before else None


def _check_weights(options: dict[str, Any], net: nn.Module, problems: list[str]) -> None:
    path = options['path']
    weights = path.get('pretrain_network_g')
    if not weights:
        return
    from rfdn_plugin.weights.checkpoint import WRAPPERS, read_checkpoint
    from rfdn_plugin.weights.matching import starting_state

    key = path.get('param_key_g', 'params')
    try:  # of the usual keys one stands for the other: the file may be flat, or trained without an average
        checkpoint = read_checkpoint(Path(weights).expanduser(), key, only_this_key=key not in WRAPPERS)
        resample = options.get('train', {}).get('upsampler_start') == 'resampled'
        starting_state(net, checkpoint, strict=path.get('strict_load_g', True), resample=resample)
    except RFDNError as error:
        problems.append(f'path.pretrain_network_g: {error}')


def _resident_bytes(options: dict[str, Any], pairs: Pairs) -> int:
    """What the images take in the memory of the device, as far as their sizes are known without decoding them."""
    if not options['datasets']['train'].get('resident'):
        return 0
    return sum(3 * height * width for pair in pairs.values() for height, width in filter(None, pair))
