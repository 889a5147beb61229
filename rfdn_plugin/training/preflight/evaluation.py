"""Each set to validate or test on, with the network and each metric, on one image: what fails there fails after hours."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rfdn_plugin.options.datasets import SINGLE
from rfdn_plugin.options.registry import needs_reference, parameters, registered
from rfdn_plugin.options.yaml_io import as_yaml
from rfdn_plugin.training.preflight.findings import Note
from rfdn_plugin.training.preflight.samples import Sample, read_sample
from rfdn_plugin.utils.errors import describe
from rfdn_plugin.utils.text import counted

if TYPE_CHECKING:
    from torch import nn

SIDE = 64
"""Largest side of the piece of an LR image that a network is tried on: a multiple of what windows want."""


def check_set(options: dict[str, Any], net: nn.Module | None, phase: str, smallest: str | None) -> Iterator[str]:
    """Try a set of pairs with the network and every metric.

    Args:
        options: As `options.load` gives them.
        net: The network; None where it has problems of its own.
        phase: The key of the section in `datasets`.
        smallest: The HR image that is tried, by its name; the first where it is not known.
    """
    section, where = options['datasets'][phase], f'datasets.{phase}'
    if section.get('mean') is not None:
        yield Note(
            f'{where}: with mean and std the network works on other numbers, and PSNR is measured on these, cut to 0..1: '
            'its figures compare with no others.'
        )
    metrics = (options.get('val') or {}).get('metrics') or {}
    if section.get('color') == 'y' and metrics:
        yield Note(
            f'{where}.color: Y is rounded to 8 bits before it is measured, of HR too: PSNR comes out below that of rfdn '
            'leaderboard, by 0.07 dB at 38 dB.'
        )
    sample = read_sample(section, phase, options['scale'], smallest)
    if net is not None:
        yield from _try_network(where, net, sample.piece(SIDE))
    for name, metric in metrics.items():
        yield from _try_metric(f'val.metrics.{name}', metric, sample)


def _try_network(where: str, net: nn.Module, sample: Sample) -> Iterator[str]:
    channels = sample.lr.shape[1]
    try:
        with torch.no_grad():
            output = net.eval()(sample.lr)
    except Exception as error:  # the network may be anybody's; it would fail in the first validation as well
        yield (
            f'{where}: the network fails on its images of {counted(channels, "channel")} ({describe(error)}): make color and '
            'network_g.num_in_ch fit.'
        )
        return
    if not isinstance(output, torch.Tensor):
        yield f'{where}: the network gives a {type(output).__name__}, BasicSR wants an image: let its forward give that alone.'
    elif output.shape != sample.hr.shape:
        yield (
            f'{where}: of {_size(sample.lr)} the network makes {_size(output)}, and HR is {_size(sample.hr)}: make color '
            'and network_g.num_out_ch fit.'
        )


def _try_metric(where: str, metric: dict[str, Any], sample: Sample) -> Iterator[str]:
    """A metric on HR and a slightly different image of its size, as SRModel calls it."""
    from basicsr.metrics import calculate_metric
    from basicsr.utils import tensor2img

    taken = parameters(registered('METRIC', metric['type']))
    if metric.get('input_order', 'HWC') != 'HWC' and 'input_order' in taken:
        yield f'{where}.input_order: images come as HWC, not {metric["input_order"]}: leave it out.'
        return
    hr = np.ascontiguousarray(tensor2img([sample.hr.clone()]))
    pixels = f'{hr.shape[1]}x{hr.shape[0]} pixels'
    noise = np.random.default_rng(0).integers(-3, 4, hr.shape)
    other = np.clip(hr.astype(np.int64) + noise, 0, 255).astype(np.uint8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', RuntimeWarning)  # the mean of nothing, which is told below
            value = float(calculate_metric({'img': other, 'img2': hr}, dict(metric)))
    except Exception as error:  # a registered metric is anybody's
        arguments = ', '.join(f'{key}: {as_yaml(value)}' for key, value in metric.items() if key != 'type')
        said = f'with {arguments or "no arguments"} ({describe(error)})'
        cure = 'correct its arguments, or leave the metric or the image out'
        if 'unexpected keyword argument' in str(error):
            cure = 'BasicSR calls a metric with img, img2 and all keys of its section: let it take **kwargs'
        yield f'{where}: {metric["type"]} fails on {sample.name} of {pixels} {said}: {cure}.'
        return
    if not math.isfinite(value):
        yield (
            f'{where}: {metric["type"]} gives {value} for {sample.name}, {pixels} with crop_border '
            f'{metric.get("crop_border", 0)}: lower crop_border, or leave the metric or the image out.'
        )


def check_singles(options: dict[str, Any], net: nn.Module | None) -> Iterator[str]:
    """Check a set of images without HR: they can be saved, and measured by metrics that need no HR."""
    singles = [phase for phase, section in options['datasets'].items() if section['type'] == SINGLE]
    if not singles:
        return
    val = options.get('val') or {}
    metrics = val.get('metrics') or {}
    needs_hr = [name for name, metric in metrics.items() if needs_reference(metric)]
    others = len(options['datasets']) - len(singles)
    where = f'datasets.{singles[0]}'
    if not val.get('save_img') and len(metrics) == len(needs_hr):
        yield f'{where}: without HR there is nothing to measure, and val.save_img is false: set it to true.'
    if needs_hr and options['model_type'] != 'RFDNModel':
        yield (
            f'{where}: {options["model_type"]} would measure {", ".join(needs_hr)} against HR, which it has not: take '
            'model_type RFDNModel, or leave val.metrics out.'
        )
    elif needs_hr and not others:
        yield Note(f'{where}: there is no HR: the images are saved, {", ".join(needs_hr)} not measured.')
    for phase in singles:
        section = options['datasets'][phase]
        if section.get('color') == 'y':
            yield (
                f'datasets.{phase}.color: {SINGLE} takes red for blue when it makes Y: use PairedImageDataset, with the LR as '
                'HR at scale 1, or rfdn upscale.'
            )
        elif net is not None:
            yield from _try_single(f'datasets.{phase}', options, section, net)


def _try_single(where: str, options: dict[str, Any], section: dict[str, Any], net: nn.Module) -> Iterator[str]:
    from basicsr.data import build_dataset

    scale = options['scale']
    dataset = build_dataset({**copy.deepcopy(section), 'phase': 'test', 'scale': scale})
    lr = dataset[0]['lq'][None, :, :SIDE, :SIDE]
    hr = torch.zeros(1, lr.shape[1], lr.shape[2] * scale, lr.shape[3] * scale)
    yield from _try_network(where, net, Sample(where, scale, lr, hr))


def _size(image: torch.Tensor) -> str:
    return 'x'.join(map(str, image.shape[1:]))
