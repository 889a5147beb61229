"""Which network a checkpoint belongs to.

What names and shapes show is read from them alone. What they do not show (the input range, the identities, IDN's
scale) is taken from the file's metadata, from `known.KNOWN_WEIGHTS`, or from the user; where none of them says it, the
candidates are listed instead of guessed. At the end the network is built without memory ('meta') and every name and
shape compared, so that a look-alike is refused by the first tensor that differs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.errors import RFDNError
from rfdn_plugin.weights.checkpoint import Checkpoint
from rfdn_plugin.weights.known import KNOWN_WEIGHTS
from rfdn_plugin.weights.plausible import agreement

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is.

    Attributes:
        type: The network, a key of `archs.NETWORKS`.
        arguments: Of its constructor: everything that the weights and the sources below determine.
        sources: For each argument that the weights do not show: 'given', 'metadata', 'known weights', 'type', 'trial'.
        name: Title and origin of known weights, else None.
        checkpoint: The file's content.
    """

    type: str
    arguments: dict[str, Any]
    sources: dict[str, str]
    name: str | None
    checkpoint: Checkpoint

    @property
    def upscale(self) -> int:
        return self.arguments['upscale']

    @property
    def img_range(self) -> float:
        return self.arguments['img_range']


@dataclass(frozen=True)
class _Reading:
    """What the shapes show: the networks that they fit, those likely, the one that they mean alone, and arguments."""

    types: tuple[str, ...]
    candidates: tuple[str, ...]
    meant: str | None
    arguments: dict[str, Any]
    invisible: tuple[str, ...]
    description: str


def identify(
    checkpoint: Checkpoint,
    *,
    type: str | None = None,
    img_range: float | None = None,
    by_trial: bool = False,
    **overrides,
) -> Identity:
    """Find the network and its arguments.

    Args:
        checkpoint: The file's content.
        type: The network where the user names it; a key of `archs.NETWORKS`.
        img_range: The input range where the user names it: 1 or 255 as a rule.
        by_trial: Take what nobody says from a trial on a test pattern, where one candidate is clearly the best. It
            tells the range and the blocks' identity; for programs in which nobody can be asked.
        overrides: Further arguments of the constructor, for example `block_residual=False`.

    Raises:
        RFDNError: The weights belong to no network of this package (the message names the tensor), or something that
            they do not show is said by nobody (the message lists the candidates and how to name one).
    """
    path = checkpoint.path
    if type is not None and type not in NETWORKS:
        raise RFDNError(f'--type {type} is none of the networks here: take one of {", ".join(NETWORKS)}.')
    known = KNOWN_WEIGHTS.get(checkpoint.fingerprint)
    if known is not None and known.type is None:
        raise RFDNError(f'{path} is {known.name}, which no network here rebuilds: {known.refusal}.')
    reading = read_shapes(shapes_of(checkpoint.tensors), str(path))

    given = {key: value for key, value in {**overrides, 'img_range': img_range}.items() if value is not None}
    stated = _stated(checkpoint)
    chosen = type or stated.get('type') or (known.type if known else None) or reading.meant
    if chosen is not None and chosen not in reading.types:
        raise RFDNError(f'{path} holds {reading.description}: that is no {chosen} but {" or ".join(reading.types)}.')

    arguments, sources, unknown = dict(reading.arguments), {}, []
    for key in reading.invisible:
        said = {
            'given': given,
            'metadata': stated.get('arguments', {}),
            'known weights': known.invisible if known else {},
            'type': _MEANT_BY_TYPE.get(chosen, {}),
        }
        source = next((source for source, values in said.items() if key in values), None)
        if source is None:
            unknown.append(key)
        else:
            arguments[key], sources[key] = said[source][key], source
    if chosen is None or unknown:
        trials = _trials(checkpoint, reading.candidates if chosen is None else (chosen,), arguments, unknown)
        if not (by_trial and _is_clear(trials)):
            raise RFDNError(_question(path, reading, chosen, unknown, trials))
        chosen, found = trials[0].type, trials[0].arguments
        sources |= {key: 'trial' for key in reading.invisible if key not in arguments}
        arguments |= found
    arguments.update(given)
    refuse_lookalike(checkpoint, chosen, arguments)
    return Identity(chosen, arguments, sources, known.name if known else None, checkpoint)


def _stated(checkpoint: Checkpoint) -> dict[str, Any]:
    """Network and arguments as the file's own metadata says them."""
    metadata = checkpoint.metadata
    if metadata.get('network') not in NETWORKS:
        return {}
    try:
        arguments = json.loads(metadata.get('arguments', '{}'))
    except ValueError as error:
        raise RFDNError(
            f'{checkpoint.path}: its metadata "arguments" is no JSON ({error}); name --type yourself.'
        ) from error
    if not isinstance(arguments, dict):
        raise RFDNError(f'{checkpoint.path}: its metadata "arguments" is no JSON object; name --type yourself.')
    if 'upscale' in metadata and metadata['upscale'].isdigit():
        arguments.setdefault('upscale', int(metadata['upscale']))
    for key, (fits, wanted) in _STATED_VALUES.items():
        if key in arguments and not fits(arguments[key]):
            raise RFDNError(f'{checkpoint.path}: its metadata says {key} is {arguments[key]!r}, it must be {wanted}.')
    return {'type': metadata['network'], 'arguments': arguments}


_STATED_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    'img_range': (lambda value: isinstance(value, int | float) and 0 < value < math.inf, 'a number above 0'),
    'block_residual': (lambda value: isinstance(value, bool), 'true or false'),
    'shallow_residual': (lambda value: isinstance(value, bool), 'true or false'),
    'upscale': (lambda value: isinstance(value, int) and 1 <= value <= 64, 'a whole number from 1'),
}
"""What metadata may say of the arguments that are taken from it."""

# What a network means where its name alone is known. The input range is no part of a name, but for the networks whose
# public code has only ever used one.
_MEANT_BY_TYPE: dict[str, dict[str, Any]] = {
    'RFDN': {'block_residual': True, 'shallow_residual': True},
    'RFDN_L': {'block_residual': True, 'shallow_residual': True},
    'E_RFDN': {'block_residual': False, 'shallow_residual': True},
    'IMDN': {'img_range': 1.0},
    'IMDN_R': {'img_range': 1.0},
    'IDN': {'img_range': 1.0},
    'RFANet': {'img_range': 1.0},
}
_MEANING = {
    'RFDN': "each block's input added to its output",
    'RFDN_L': 'the same, 52 channels',
    'E_RFDN': 'not added',
    'IMDN': 'one convolution a split',
    'IMDN_R': 'two',
    'IDN': 'Y channel',
    'RFANet': 'residual feature aggregation',
}


@dataclass(frozen=True)
class _Trial:
    """A candidate that was tried, and how well its output agrees with its input, in dB."""

    type: str
    arguments: dict[str, Any]
    agreement: float


def _trials(
    checkpoint: Checkpoint, types: tuple[str, ...], arguments: dict[str, Any], unknown: list[str]
) -> list[_Trial]:
    """Every candidate, the best first; none where a scale is missing, which no trial tells."""
    if 'upscale' in unknown:
        return []
    trials = []
    for name in types:
        for img_range in (1.0, 255.0) if 'img_range' in unknown else (arguments['img_range'],):
            candidate = {**_MEANT_BY_TYPE[name], **arguments, 'img_range': img_range}
            refuse_lookalike(checkpoint, name, candidate)
            trials.append(_Trial(name, candidate, agreement(NETWORKS[name](**candidate), checkpoint.tensors)))
    return sorted(trials, key=lambda trial: -trial.agreement)


def _is_clear(trials: list[_Trial], least: float = 25.0, ahead: float = 5.0) -> bool:
    """Whether the best agrees at all, and better than every other: 37 and 12 dB in the least clear public weights."""
    rest = [trial.agreement for trial in trials[1:]]
    return bool(trials) and trials[0].agreement > least and all(trials[0].agreement > other + ahead for other in rest)


def _question(path: Path, reading: _Reading, chosen: str | None, unknown: list[str], trials: list[_Trial]) -> str:
    ways, missing = [], unknown
    if chosen is None:
        missing = ['network', *(key for key in unknown if key == 'img_range')]  # the network says the identities
        ways.append(' or '.join(f'--type {name} ({_MEANING[name]})' for name in reading.candidates))
    if 'img_range' in unknown:
        ways.append('--img-range 1 (values 0..1, as BasicSR trains) or --img-range 255 (0..255, as the AIM 2020 code)')
    if 'upscale' in unknown:
        ways.append('--upscale, on which its weights do not depend')
    text = f'{path} holds {reading.description}, and does not say: {", ".join(missing)}. Give {", and ".join(ways)}.'
    if not trials:
        return text
    tried = ', '.join(
        f'{trial.type} with {trial.arguments["img_range"]:g} {trial.agreement:.0f} dB' for trial in trials
    )
    return f'{text} Tried on a test pattern, the shrunken output agrees with the input at: {tried}.'


def refuse_lookalike(checkpoint: Checkpoint, type: str, arguments: dict[str, Any]) -> None:
    """Raise RFDNError, naming the first tensor that differs, unless the weights fit this network exactly."""
    shapes = shapes_of(checkpoint.tensors)
    try:
        with torch.device('meta'):
            wanted = {name: tuple(tensor.shape) for name, tensor in NETWORKS[type](**arguments).state_dict().items()}
    except (TypeError, ValueError) as error:
        raise RFDNError(f'{checkpoint.path} cannot be a {type}: {error}') from error
    if type == 'IMDN_R' and 'IMDB1.c1.weight' in shapes:
        return  # IMDN's weights, which IMDN_R splits as it loads them
    for name in wanted:
        if name not in shapes:
            raise RFDNError(f'{checkpoint.path} is no {type}: {name} {_times(wanted[name])} is not in it.')
        if shapes[name] != wanted[name]:
            raise RFDNError(
                f'{checkpoint.path} is no {type}: {name} is {_times(shapes[name])} '
                f'where {_times(wanted[name])} belongs.'
            )
    if surplus := [name for name in shapes if name not in wanted]:
        raise RFDNError(f'{checkpoint.path} is no {type}: it has {surplus[0]} {_times(shapes[surplus[0]])} beside.')


def _times(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape)) or 'a scalar'


# --- what the shapes show ------------------------------------------------------------------------------------------
def read_shapes(shapes: Shapes, where: str = 'this file') -> _Reading:
    """The networks that names and shapes fit, and the arguments that they show.

    Raises:
        RFDNError: No network here has such names.
    """
    for sign, read in _READERS.items():
        if sign in shapes:
            try:
                return read(shapes)
            except (KeyError, IndexError, ZeroDivisionError) as error:
                raise RFDNError(
                    f'{where} looks like a network of {sign}, but is none: {error} is not in it.'
                ) from error
    names = ', '.join(list(shapes)[:4])
    raise RFDNError(f'{where} fits no network here: it has {names}, ...; one of {", ".join(_READERS)} would be in it.')


def _read_rfdn(shapes: Shapes) -> _Reading:
    num_feat, num_in_ch = shapes['fea_conv.weight'][:2]
    arguments = {'num_in_ch': num_in_ch, 'num_feat': num_feat, 'num_block': _count(shapes, r'B(\d+)\.c1_r\.weight')}
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
    return _Reading(
        types, candidates, None, arguments, ('block_residual', 'shallow_residual', 'img_range'), description
    )


def _read_imdn(shapes: Shapes) -> _Reading:
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
    return _Reading(types, types, types[0], arguments, ('img_range',), description)


def _read_idn(shapes: Shapes) -> _Reading:
    num_feat, num_in_ch = shapes['conv1.weight'][:2]
    arguments = {
        'num_in_ch': num_in_ch,
        'num_out_ch': shapes['upsample.weight'][1],
        'num_feat': num_feat,
        'num_block': _count(shapes, r'block(\d+)\.conv1\.weight'),
    }
    description = f'an IDN of {num_feat} channels and {arguments["num_block"]} blocks'
    return _Reading(('IDN',), ('IDN',), 'IDN', arguments, ('img_range', 'upscale'), description)


def _read_rfanet(shapes: Shapes) -> _Reading:
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
    return _Reading(('RFANet',), ('RFANet',), 'RFANet', arguments, ('img_range',), description)


# The reader of a family by the tensor that only its members have.
_READERS: dict[str, Callable[[Shapes], _Reading]] = {
    'B1.c1_r.weight': _read_rfdn,
    'IMDB1.c1.weight': _read_imdn,
    'IMDB1.c1_r.weight': _read_imdn,
    'block1.down.weight': _read_idn,
    'body.0.fuse.weight': _read_rfanet,
}


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


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a state dict."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
