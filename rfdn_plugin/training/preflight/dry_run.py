"""What the arguments of an option file show only when they are used: tried on a few pixels, before anything is created."""

from __future__ import annotations

import copy
import urllib.error
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from rfdn_plugin.options.datasets import is_described
from rfdn_plugin.options.registry import parameters, registered
from rfdn_plugin.options.whole import SCALE_ARGUMENTS
from rfdn_plugin.training.explain import cannot_fetch
from rfdn_plugin.training.preflight.findings import Note
from rfdn_plugin.utils.errors import describe
from rfdn_plugin.utils.text import counted

if TYPE_CHECKING:
    from torch import nn

SIDE = 16
"""Of the LR image that is tried."""


def try_network(options: dict[str, Any], net: nn.Module) -> list[str]:
    """See that a network of this package takes the images of the data and gives images of the wanted size.

    Args:
        options: Options of a training or a test.
        net: Built from them.
    """
    from rfdn_plugin.archs import NETWORKS

    is_ours = type(net) in NETWORKS.values()
    # Other networks may want more pixels: windows of 8 or 16, or pyramids.
    channels, lr_side = _channels(options), SIDE if is_ours else 4 * SIDE
    side = lr_side * options['scale']
    try:
        with torch.no_grad():
            shape = tuple(net.eval()(torch.zeros(1, channels, lr_side, lr_side)).shape[1:])
    except Exception as error:  # whatever it is, the training would end with it: the user is told here
        said = f'network_g: it fails on images of {counted(channels, "channel")} ({describe(error)})'
        return [f'{said}: see num_in_ch, num_block.' if is_ours else Note(f'{said} of {lr_side}x{lr_side} pixels.')]
    if shape != (channels, side, side):
        return [
            f'network_g: of {channels}x{lr_side}x{lr_side} it makes {"x".join(map(str, shape))}, not '
            f'{channels}x{side}x{side}: see num_out_ch and {_scale_argument(options)}.'
        ]
    return []


def _scale_argument(options: dict[str, Any]) -> str:
    taken = parameters(registered('ARCH', options['network_g']['type']))
    return next((name for name in SCALE_ARGUMENTS if name in taken), 'its scale')


def try_discriminator(options: dict[str, Any]) -> Iterator[str]:
    """See that the second network judges patches of the training's size, and the adversarial loss its judgement.

    Args:
        options: Options of a training.
    """
    section, patch = options.get('network_d'), options['datasets']['train'].get('gt_size')
    if not section or not isinstance(patch, int):
        return
    from basicsr.archs import build_network
    from basicsr.losses import build_loss

    try:
        with torch.no_grad():
            judged = build_network(copy.deepcopy(section)).eval()(torch.zeros(2, _channels(options), patch, patch))
    except Exception as error:  # the network may be anybody's
        yield f'network_d: {section["type"]} fails on patches of {patch}x{patch} ({describe(error)}): see datasets.train.gt_size.'
        return
    loss = options['train'].get('gan_opt')
    if loss:
        try:
            value = build_loss(copy.deepcopy(loss))(judged, True, is_disc=False)
        except Exception as error:
            yield f'train.gan_opt: {loss["type"]} fails with these arguments ({describe(error)}).'
            return
        if not torch.isfinite(value).all():
            yield f'train.gan_opt: its value for the judgement of network_d is {value}: see its arguments.'


def try_losses(options: dict[str, Any]) -> Iterator[str]:
    """See that each loss that costs nothing to build gives one number for two images, above 0 where they differ.

    Args:
        options: Options of a training.
    """
    from basicsr.losses import build_loss

    numbers = torch.Generator().manual_seed(0)
    output, target = (torch.rand(1, _channels(options), SIDE, SIDE, generator=numbers) for _ in range(2))
    for key in ('pixel_opt', 'fft_opt', 'ldl_opt'):
        section = options['train'].get(key)
        if not section:
            continue
        try:
            value = build_loss(copy.deepcopy(section))(output, target)
        except Exception as error:  # as above; a registered loss is anybody's
            yield f'train.{key}: {section["type"]} fails with these arguments ({describe(error)}).'
            continue
        if not isinstance(value, torch.Tensor):
            yield f'train.{key}: {section["type"]} gives a {type(value).__name__}, a loss is one number as a tensor.'
        elif value.dim() != 0:
            yield f'train.{key}: a loss is one number, this is one for each pixel: set reduction to mean.'
        elif not value > 0:
            yield f'train.{key}: its value for two different images is {value:g}: see loss_weight.'


def try_perceptual_loss(options: dict[str, Any]) -> Iterator[str]:
    """Build the perceptual loss, which fetches its network where that is missing: now, before anything is created.

    Args:
        options: Options of a training.
    """
    from basicsr.losses import build_loss

    section = options['train'].get('perceptual_opt')
    if not section:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # BasicSR asks torchvision in a way of before 0.13
            build_loss(copy.deepcopy(section))
    except urllib.error.URLError as error:
        yield cannot_fetch(error)
    except Exception as error:  # as above
        yield f'train.perceptual_opt: {section["type"]} fails with these arguments ({describe(error)}).'


def _channels(options: dict[str, Any]) -> int:
    """Of the images that the data gives."""
    datasets = options['datasets']
    first: dict[str, Any] = datasets.get('train') or next(iter(datasets.values()), {})
    if not is_described(first):  # another package's: what the network says of itself counts
        return options['network_g'].get('num_in_ch', 3)
    return 1 if first.get('color') == 'y' else 3
