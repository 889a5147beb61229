"""What the arguments of an option file show only when they are used: tried on a few pixels, before anything is created."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from rfdn_plugin.training.preflight.findings import describe

if TYPE_CHECKING:
    from torch import nn

SIDE = 16
"""Of the LR image that is tried."""


def try_network(options: dict[str, Any], net: nn.Module) -> list[str]:
    """See that a network of this package takes the images of the data and gives images of the wanted size.

    Args:
        options: Of a training or a test.
        net: Built from them.
    """
    from rfdn_plugin.archs import NETWORKS

    if type(net) not in NETWORKS.values():
        return []  # others may want more pixels, or more images
    channels, side = _channels(options), SIDE * options['scale']
    try:
        with torch.no_grad():
            shape = tuple(net.eval()(torch.zeros(1, channels, SIDE, SIDE)).shape[1:])
    except Exception as error:  # whatever it is, the training would end with it: the user is told here
        return [f'network_g: it fails on images of {channels} channels ({describe(error)}): see num_in_ch, num_block.']
    if shape != (channels, side, side):
        return [
            f'network_g: of {channels}x{SIDE}x{SIDE} it makes {"x".join(map(str, shape))}, not {channels}x{side}x{side}: '
            'see num_out_ch and upscale.'
        ]
    return []


def try_losses(options: dict[str, Any]) -> Iterator[str]:
    """See that each loss that costs nothing to build gives one number for two images, above 0 where they differ.

    Args:
        options: Of a training.
    """
    from basicsr.losses import build_loss

    numbers = torch.Generator().manual_seed(0)
    output, target = (torch.rand(1, _channels(options), SIDE, SIDE, generator=numbers) for _ in range(2))
    for key in ('pixel_opt', 'fft_opt'):
        section = options['train'].get(key)
        if not section:
            continue
        try:
            value = build_loss(copy.deepcopy(section))(output, target)
        except Exception as error:  # as above; a registered loss is anybody's
            yield f'train.{key}: {section["type"]} fails with these arguments ({describe(error)}).'
            continue
        if value.dim() != 0:
            yield f'train.{key}: a loss is one number, this is one for each pixel: set reduction to mean.'
        elif not value > 0:
            yield f'train.{key}: its value for two different images is {value:g}: see loss_weight.'


def _channels(options: dict[str, Any]) -> int:
    """Of the images that the data gives."""
    datasets = options['datasets']
    first = datasets.get('train') or next(iter(datasets.values()), {})
    return 1 if first.get('color') == 'y' else 3
