"""Checks of the weights that a run starts from: do they fit, and are they of the network that the options describe?"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from rfdn_plugin.archs import NETWORKS, full_arguments
from rfdn_plugin.options.datasets import SINGLE, is_described
from rfdn_plugin.options.yaml_io import as_yaml
from rfdn_plugin.training.preflight.findings import Note
from rfdn_plugin.training.preflight.samples import Sample, read_sample
from rfdn_plugin.utils.errors import RFDNError, describe
from rfdn_plugin.weights.checkpoint import WRAPPERS, Checkpoint, read_checkpoint
from rfdn_plugin.weights.identify.contradiction import COLOUR_ORDER, contradictions, unstated_arguments
from rfdn_plugin.weights.matching import starting_state
from rfdn_plugin.weights.transfer.resample import scale_of

if TYPE_CHECKING:
    from torch import Tensor, nn

WHERE = 'path.pretrain_network_g'
BELOW_BICUBIC = 1.0
"""So many dB below bicubic a trained network never is; a wrong range costs 6, which is 2 to 3 below bicubic."""
FLAT = 60.0
"""Of an image that bicubic enlarges to so many dB and more nothing can be said: it is flat."""
CLEARLY_BETTER = 2.0
"""By so many dB another setting must be better to be named."""
OTHER_COLOURS = 0.02
"""So many dB the other order of colours must be better to be asked about: official networks lose 0.03 to 0.2 by it."""
SIDE = 96
"""Largest side of the piece of an LR image that the network is tried on, in pixels."""

_CHOICES = {'img_range': (1.0, 255.0), 'block_residual': (False, True), 'shallow_residual': (False, True)}
"""The values that are tried of what shapes do not show."""


def check_weights(options: dict[str, Any], net: nn.Module, usable: Collection[str]) -> Iterator[str]:
    """Compare the file of `path.pretrain_network_g` with the network: its shapes, and what it says of itself.

    Where the file does not say everything that its shapes do not show, the network is tried on an image; being worse than
    bicubic is a note, with the setting that makes it better where there is one.

    Args:
        options: Options of a training that starts from weights, or of a test.
        net: Built from them; its weights are replaced.
        usable: The sections of `datasets` without a problem, on whose images it may be tried.
    """
    path = options['path']
    weights = path.get('pretrain_network_g')
    if not weights:
        return
    key, strict = path.get('param_key_g', 'params'), path.get('strict_load_g', True)
    resample = options.get('train', {}).get('upsampler_start') == 'resampled'
    try:  # of the usual keys one stands for the other: the file may be flat, or trained without an average
        checkpoint = read_checkpoint(Path(weights).expanduser(), key, only_this_key=key not in WRAPPERS)
        state, others = starting_state(net, checkpoint, strict=strict, resample=resample)
        problems = list(_contradictions(options, checkpoint, state)) if _is_ours(options) else []
    except RFDNError as error:
        yield f'{WHERE}: {error}'
        return
    if strict and _is_ours(options):  # of an IDN the shapes are the same at every scale
        scale = scale_of(checkpoint)
        if scale not in (None, options['scale']):
            problems.append(
                f'{WHERE}: {checkpoint.path} is of scale {scale}, the options say {options["scale"]}: name weights of that '
                'scale, or set path.strict_load_g to false to fine-tune from these.'
            )
    yield from problems
    net.load_state_dict(state, strict=False)  # starting_state has seen to it that nothing else differs
    if not problems and (resample or not others):
        yield from _probe(options, checkpoint, net, usable)


def _is_ours(options: dict[str, Any]) -> bool:
    return options['network_g']['type'] in NETWORKS


def _contradictions(options: dict[str, Any], checkpoint: Checkpoint, state: dict[str, Tensor]) -> Iterator[str]:
    network = dict(options['network_g'])
    for found in contradictions(checkpoint, network.pop('type'), network, state):
        said = f'{checkpoint.path} has {found.key} {as_yaml(found.stated)} ({found.source})'
        if found.key == COLOUR_ORDER:
            yield f'{WHERE}: {said}, and BasicSR gives networks RGB: reorder the channels of its first and last layer.'
        else:
            yield (
                f'network_g.{found.key}: {said}, the options have {as_yaml(found.wanted)}: write '
                f'`{found.key}: {as_yaml(found.stated)}` below network_g.'
            )


# --- trying --------------------------------------------------------------------------------------------------------
def _probe(options: dict[str, Any], checkpoint: Checkpoint, net: nn.Module, usable: Collection[str]) -> Iterator[str]:
    try:
        unstated = unstated_arguments(checkpoint) if _is_ours(options) else []
    except RFDNError:  # its card makes no sense, which the check of the shapes did not need
        unstated = []
    if _is_ours(options) and not unstated:
        return
    try:
        sample = _trial_sample(options, usable)
        if sample is None:
            return
        own, bicubic = _psnr(net, sample), _psnr(None, sample)
    except Exception as error:  # another package's network may want other images: only a note depends on it
        yield Note(f'network_g: it could not be tried on an image ({describe(error)}).')
        return
    if bicubic > FLAT:
        return
    if own >= bicubic - BELOW_BICUBIC:
        exchanged = _psnr(lambda lr: net(lr.flip(1)).flip(1), sample)
        if sample.lr.shape[1] == 3 and exchanged > own + OTHER_COLOURS:
            yield Note(
                f'{WHERE}: on {sample.name} the network gives {own:.2f} dB, and {exchanged:.2f} with red and blue exchanged: '
                'was it trained on BGR? The file does not say it, and BasicSR gives it RGB.'
            )
        return
    below = f'{WHERE}: on {sample.name} the network gives {own:.2f} dB, {bicubic - own:.2f} below bicubic'
    better, setting = max(_other_settings(options, net, sample, unstated), default=(0.0, ''))
    if better > own + CLEARLY_BETTER:
        yield Note(f'{below}; with {setting} it would be {better:.2f} dB. The file does not say which is right.')
    else:
        silent = f' The file says nothing about {", ".join(unstated)}.' if unstated else ''
        yield Note(f'{below}: are they half-trained, or of another network?{silent}')


def _trial_sample(options: dict[str, Any], usable: Collection[str]) -> Sample | None:
    """A piece of the first image to validate or test on; None where no section has HR and LR as the network gets them."""
    for phase, section in sorted(options['datasets'].items(), key=lambda item: item[0] == 'train'):
        normalised = section.get('mean') or section.get('std')
        if phase in usable and is_described(section) and section['type'] != SINGLE and not normalised:
            return read_sample(section, phase, options['scale']).piece(SIDE)
    return None


def _other_settings(
    options: dict[str, Any], net: nn.Module, sample: Sample, unstated: list[str]
) -> Iterator[tuple[float, str]]:
    """PSNR with each other combination of what the file does not say, and how to write it."""
    network = dict(options['network_g'])
    name = network.pop('type')
    keys = [key for key in _CHOICES if key in unstated and name in NETWORKS]
    for values in itertools.product(*(_CHOICES[key] for key in keys)) if keys else ():
        own, other = full_arguments(name, network), dict(zip(keys, values, strict=True))
        changed = [f'{key}: {as_yaml(value)}' for key, value in other.items() if own[key] != value]
        candidate = NETWORKS[name](**{**network, **other})
        candidate.load_state_dict(net.state_dict())
        yield _psnr(candidate, sample), ', '.join(changed)
    if sample.lr.shape[1] == 3:
        yield _psnr(lambda lr: net(lr).flip(1), sample), 'red and blue of its output exchanged'


def _psnr(network: Any, sample: Sample) -> float:
    """PSNR in dB of a network's output, or of bicubic where it is None, over all colours without a border."""
    with torch.no_grad():
        if network is None:
            output = F.interpolate(sample.lr, scale_factor=sample.scale, mode='bicubic')
        else:
            output = (network.eval() if isinstance(network, torch.nn.Module) else network)(sample.lr)
    border = slice(sample.scale, -sample.scale)
    difference = (output.clamp(0, 1) - sample.hr)[..., border, border]
    return float(-10 * torch.log10(difference.double().square().mean().clamp(min=1e-10)))
