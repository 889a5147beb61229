"""What a training will take of the disk and of the GPU's memory, estimated before it starts."""

from __future__ import annotations

import copy
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfdn_plugin.options.datasets import is_described
from rfdn_plugin.training.preflight.findings import Note
from rfdn_plugin.utils.errors import describe
from rfdn_plugin.utils.machine import choose_precision

if TYPE_CHECKING:
    from torch import Tensor, nn

CONTEXT_BYTES = 600_000_000
"""What CUDA and its convolutions' work space take beside the tensors."""


def check_disk(options: dict[str, Any], net: nn.Module, root: Path, done: int) -> Iterator[str]:
    """A problem where the checkpoints that are yet to come do not fit: weights, their average, Adam's two moments.

    Args:
        options: As `options.load_training_options` gives them.
        net: The network.
        root: The working directory, below which experiments/ lies.
        done: The iteration that the training goes on from.
    """
    logger, train = options['logger'], options['train']
    parameters = sum(parameter.numel() for parameter in net.parameters())
    weights = 4 * parameters * (2 if train.get('ema_decay') else 1)
    frequency = logger['save_checkpoint_freq']
    numbered = train['total_iter'] // frequency - done // frequency
    keep = logger.get('keep_checkpoints')
    if keep is not None:
        there = min(done // frequency, keep)
        numbered = min(numbered, keep + 1 - there)  # the new one is written before the oldest goes
    needed = numbered * (weights + 8 * parameters) + weights * (2 if logger.get('save_best') else 1)
    place = root / 'experiments' if (root / 'experiments').is_dir() else root  # which may lie on another disk
    free = shutil.disk_usage(place).free
    if needed > free:
        yield (
            f'logger.save_checkpoint_freq: {numbered} checkpoints take {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB '
            f'are free below {place}: make room, save less often, or set logger.keep_checkpoints.'
        )


def check_memory(options: dict[str, Any], net: nn.Module, resident: int) -> Iterator[str]:
    """A problem where the GPU is too small for a step, or for `resident` bytes of images beside it."""
    if not is_described(options['datasets']['train']):  # another package's: the size of its patches is not known
        return
    memory = gpu_memory()
    try:
        needed = memory_of_a_step(options, net)
    except Exception as error:  # another package's network need not run on meta tensors: only an estimate is lost
        yield Note(f'network_g: the GPU memory of a step could not be estimated ({describe(error)}).')
        return
    if needed > memory:
        parts = options['train'].get('accum_iter', 1) * math.ceil(needed / memory)
        yield (
            f'datasets.train.batch_size_per_gpu: a step takes about {needed / 1e9:.1f} GB, and the GPU has '
            f'{memory / 1e9:.1f} GB: lower it, or set train.accum_iter to {parts} (the same gradients).'
        )
    elif needed + resident > memory:
        yield (
            f'datasets.train.resident: the images take {resident / 1e9:.1f} GB and a step about {needed / 1e9:.1f} GB, '
            f'and the GPU has {memory / 1e9:.1f} GB: set resident: false.'
        )


def gpu_memory() -> int:
    """Bytes of this process's GPU in all. To ask for the free ones would take some hundred MB of the first GPU."""
    import torch

    device = int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()
    return torch.cuda.get_device_properties(device).total_memory


def memory_of_a_step(options: dict[str, Any], net: nn.Module) -> int:
    """Bytes on a GPU that a training step takes, estimated without computing anything.

    What the backward pass needs is counted by running the network on `meta` tensors, which have shapes and no content.

    Args:
        options: As `options.load_training_options` gives them.
        net: The network, on any device; it is not changed.
    """
    import torch

    data, train = options['datasets']['train'], options['train']
    batch = math.ceil(data['batch_size_per_gpu'] / train.get('accum_iter', 1))
    side = data['gt_size'] // options['scale']
    channels = options['network_g'].get('num_in_ch', 3)
    shadow = copy.deepcopy(net).to('meta')
    own = {parameter.untyped_storage()._cdata for parameter in shadow.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        alive.append(tensor)  # a storage that is freed would give its place, and number, to another
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = shadow(torch.empty(batch, channels, side, side, device='meta'))
        (output - 1).abs().mean()
    activations = sum(kept.values()) // (
        1 if choose_precision(train.get('precision', 'fp32'), 'cuda')[0] == 'fp32' else 2
    )
    parameters = sum(parameter.numel() for parameter in net.parameters())
    copies = 4 + (1 if train.get('ema_decay') else 0)  # weights, gradients, Adam's two moments, the average
    images = 4 * data['batch_size_per_gpu'] * channels * (side**2 + data['gt_size'] ** 2)
    return activations + 4 * parameters * copies + images + CONTEXT_BYTES
