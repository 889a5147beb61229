"""What the names and shapes of weights show of their network."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.prefixes import SIGNS

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Reading:
    """Type and arguments of a network as far as the shapes of its tensors show them.

    Attributes:
        types: The networks that they fit, keys of `archs.NETWORKS`.
        candidates: The likely ones of these types.
        meant: The one that they mean where nobody says more; None where that is open.
        arguments: What the shapes show of the constructor's arguments.
        undetermined: The arguments that they do not show and that change what the network computes.
        description: In words.
    """

    types: tuple[str, ...]
    candidates: tuple[str, ...]
    meant: str | None
    arguments: dict[str, Any]
    undetermined: tuple[str, ...]
    description: str


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a state dict."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def read_shapes(shapes: Shapes, where: str = 'this file') -> Reading:
    """The networks that names and shapes fit, and the arguments that they show.

    Raises:
        RFDNError: No network here has such names.
    """
    for sign, read in _READERS.items():
        if sign in shapes:
            try:
                return read(shapes)
            except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
                raise RFDNError(f'{where} has {sign} as networks here do, but is none of them ({error}).') from error
    names = ', '.join(list(shapes)[:4])
    raise RFDNError(f'{where} fits no network here: it has {names}, ...; one of {", ".join(_READERS)} would be in it.')


def _read_rfdn(shapes: Shapes) -> Reading:
    num_feat, num_in_ch = shapes['fea_conv.weight'][:2]
    arguments: dict[str, Any] = {'num_in_ch': num_in_ch, 'num_feat': num_feat}
    arguments['num_block'] = _count(shapes, r'B(\d+)\.c1_r\.weight')
    arguments |= _pixel_shuffle(shapes['upsampler.0.weight'], num_in_ch)
    arguments['attention'] = next(
        (kind for kind in ('esa', 'cca') if any(f'.{kind}.' in name for name in shapes)), None
    )
    arguments['feature_distillation'] = 'B1.c1_d.weight' in shapes
    if arguments['feature_distillation']:
        num_distilled, num_last = shapes['B1.c1_d.weight'][0], shapes['B1.c4.weight'][0]
        arguments['distillation_rate'] = _rate(num_distilled, num_feat)
        remaining = num_last != num_distilled and num_last == num_feat - 3 * num_distilled
        arguments['last_branch'] = 'remaining' if remaining else 'distilled'
    attention = {'esa': 'ESA', 'cca': 'CCA', None: 'no attention'}[arguments['attention']]
    types = ('RFDN', 'E_RFDN', 'RFDN_L')
    candidates = types if num_feat == 52 else types[:2]
    description = (
        f'an RFDN of {num_feat} channels and {arguments["num_block"]} blocks with {attention}, x{arguments["upscale"]}'
    )
    return Reading(types, candidates, None, arguments, ('block_residual', 'shallow_residual', 'img_range'), description)


def _read_imdn(shapes: Shapes) -> Reading:
    num_feat, num_in_ch = shapes['fea_conv.weight'][:2]
    split = 'IMDB1.c1_d.weight' in shapes
    first = 'IMDB1.c1_r.weight' if split else 'IMDB1.c1.weight'
    arguments = {
        'num_in_ch': num_in_ch,
        'num_feat': num_feat,
        'num_block': _count(shapes, rf'IMDB(\d+){re.escape(first[5:])}'),
        'distillation_rate': _rate(shapes['IMDB1.c4.weight'][0], num_feat),
        **_pixel_shuffle(shapes['upsampler.0.weight'], num_in_ch),
    }
    description = f'an IMDN of {num_feat} channels and {arguments["num_block"]} blocks, x{arguments["upscale"]}'
    types = ('IMDN_R',) if split else ('IMDN', 'IMDN_R')  # IMDN_R takes the weights of IMDN too
    return Reading(types, types, types[0], arguments, ('img_range',), description)


def _read_idn(shapes: Shapes) -> Reading:
    num_feat, num_in_ch = shapes['conv1.weight'][:2]
    arguments = {
        'num_in_ch': num_in_ch,
        'num_out_ch': shapes['upsample.weight'][1],
        'num_feat': num_feat,
        'num_block': _count(shapes, r'block(\d+)\.conv1\.weight'),
    }
    description = f'an IDN of {num_feat} channels and {arguments["num_block"]} blocks'
    return Reading(('IDN',), ('IDN',), 'IDN', arguments, ('img_range', 'upscale'), description)


def _read_rfanet(shapes: Shapes) -> Reading:
    num_feat, num_in_ch = shapes['head.weight'][:2]
    steps = [
        math.isqrt(shapes[name][0] // num_feat) for name in shapes if re.fullmatch(r'upsampler\.\d+\.weight', name)
    ]
    arguments = {
        'num_in_ch': num_in_ch,
        'num_out_ch': shapes['tail.weight'][0],
        'num_feat': num_feat,
        'num_block': _count(shapes, r'body\.(\d+)\.fuse\.weight'),
        'upscale': math.prod(steps),
    }
    description = f'an RFANet of {num_feat} channels and {arguments["num_block"]} modules, x{arguments["upscale"]}'
    return Reading(('RFANet',), ('RFANet',), 'RFANet', arguments, ('img_range',), description)


# The reader of a family by the tensor that only its members have.
_READERS: dict[str, Callable[[Shapes], Reading]] = dict(
    zip(SIGNS, (_read_rfdn, _read_imdn, _read_imdn, _read_idn, _read_rfanet), strict=True)
)


def _count(shapes: Shapes, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in shapes)


def _pixel_shuffle(shape: tuple[int, ...], num_in_ch: int) -> dict[str, int]:
    """Output channels and scale of an upsampler: as many colours as go in where that is a square, else 1, 3 or 4."""
    for num_out_ch in (num_in_ch, 3, 1, 4):
        upscale = math.isqrt(shape[0] // num_out_ch)
        if upscale >= 1 and upscale**2 * num_out_ch == shape[0]:
            return {'num_out_ch': num_out_ch, 'upscale': upscale}
    raise RFDNError(f'an upsampler of {shape[0]} channels fits no scale.')


def _rate(num_distilled: int, num_feat: int) -> float:
    """A rate that gives `num_distilled` channels: the usual one where it does, else the plain quotient."""
    candidates = (0.5, 0.25, 0.75, 0.125, num_distilled / num_feat, (num_distilled + 0.5) / num_feat)
    return next(rate for rate in candidates if int(num_feat * rate) == num_distilled)
