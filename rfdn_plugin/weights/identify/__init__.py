"""Which network a checkpoint belongs to.

What names and shapes show is read from them alone. What they do not show (the input range, the identities, IDN's
scale) is taken from the file's metadata, from `known.KNOWN_WEIGHTS`, or from the user; where none of them says it, the
candidates are listed instead of guessed. At the end the network is built without memory ('meta') and every name and
shape compared, so that a look-alike is refused by the first tensor that differs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.options.yaml_io import as_yaml
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.checkpoint import Checkpoint
from rfdn_plugin.weights.identify.known import KNOWN_WEIGHTS
from rfdn_plugin.weights.identify.self_consistency import self_consistency_psnr
from rfdn_plugin.weights.identify.shapes import Reading, read_shapes, shapes_of
from rfdn_plugin.weights.identify.srb_folding import identity_is_inside


@dataclass(frozen=True)
class Identity:
    """Network, scale and input range of a checkpoint, and what each of them was read from.

    Attributes:
        type: The network, a key of `archs.NETWORKS`.
        arguments: Arguments of its constructor: everything that the weights and the sources below determine.
        sources: For each argument that the shapes do not show: 'given', 'metadata', 'known weights', 'values' (of the
            weights), 'type', 'trial'.
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


_CARD = 'its card'
Spelling = Callable[..., str]
"""From an argument's name and perhaps a value to how a user writes it."""


def as_flag(key: str, value: object = '') -> str:
    """`--img-range 255`, `--argument block_residual=false`."""
    if key in ('type', 'img_range', 'upscale'):
        return f'--{key.replace("_", "-")} {as_yaml(value) if value != "" else ""}'.rstrip()
    return f'--argument {key}={as_yaml(value) if value != "" else ""}'.rstrip('=')


def as_option(key: str, value: object = '') -> str:
    """`img_range: 255`, as an option file has it."""
    return f'{key}: {value}' if value != '' else key


def identify(
    checkpoint: Checkpoint,
    *,
    type: str | None = None,
    img_range: float | None = None,
    by_trial: bool = False,
    spell: Spelling | None = None,
    corrects_card: bool = False,
    **overrides: Any,
) -> Identity:
    """Find the network and its arguments.

    Args:
        checkpoint: The file's content.
        type: The network where the user names it; a key of `archs.NETWORKS`.
        img_range: The input range where the user names it: 1 or 255 as a rule.
        by_trial: Take what nobody says from a trial on a test pattern, where one candidate is clearly the best. It
            tells the range and the blocks' identity; for programs in which nobody can be asked.
        spell: How the caller's user names an argument, for messages; as a flag of the command line where None.
        corrects_card: What the user names counts more than the file's model card; never more than a fingerprint.
        overrides: Further arguments of the constructor, for example `block_residual=False`.

    Returns:
        The network, all arguments that the weights or somebody determine, and what each was read from.

    Raises:
        RFDNError: The weights belong to no network of this package (the message names the tensor), or something that
            they do not show is said by nobody (the message lists the candidates and how to name one), or by the file
            and the user in different ways.
    """
    path, spell = checkpoint.path, spell or as_flag
    if type is not None and type not in NETWORKS:
        raise RFDNError(f'{spell("type", type)} is none of the networks here: take one of {", ".join(NETWORKS)}.')
    known = KNOWN_WEIGHTS.get(checkpoint.fingerprint)
    if known is not None and known.type is None:
        raise RFDNError(f'{path} is {known.name}, which no network here rebuilds: {known.refusal}.')
    reading = read_shapes(shapes_of(checkpoint.tensors), str(path))

    given = {key: value for key, value in {**overrides, 'img_range': img_range}.items() if value is not None}
    _check_values(given, f'{path} cannot be read with')
    stated = stated_network(checkpoint)
    _check_agrees(path, given, {} if corrects_card else stated.get('arguments', {}), _CARD, spell)
    _check_agrees(path, given, known.undetermined if known else {}, f'it is {known.name}' if known else '', spell)
    chosen = type or stated.get('type') or (known.type if known else None) or reading.meant
    if chosen is not None and chosen not in reading.types:
        raise RFDNError(f'{path} holds {reading.description}: that is no {chosen} but {" or ".join(reading.types)}.')

    if known is not None and type not in (None, known.type):
        meant = {**_MEANT_BY_TYPE[type], **given}
        if any(meant.get(key, value) != value for key, value in known.undetermined.items()):
            raise RFDNError(
                f'{path} is {known.name}, of the network {known.type}, not {type}: leave {spell("type")} out.'
            )

    arguments, sources, unknown = dict(reading.arguments), {}, []
    for key in reading.undetermined:
        said = {
            'given': given,
            'metadata': stated.get('arguments', {}),
            'known weights': known.undetermined if known else {},
            'values': {'shallow_residual': False} if identity_is_inside(checkpoint.tensors) else {},
            'type': _MEANT_BY_TYPE.get(chosen or '', {}),
        }
        source = next((source for source, values in said.items() if key in values), None)
        if source is None:
            unknown.append(key)
        else:
            arguments[key], sources[key] = said[source][key], source
    if chosen is None or unknown:
        trials = _trials(checkpoint, reading.candidates if chosen is None else (chosen,), arguments, unknown)
        if not (by_trial and _is_clear(trials)):
            raise RFDNError(_question(path, reading, chosen, unknown, trials, spell))
        chosen, found = trials[0].type, trials[0].arguments
        sources |= {key: 'trial' for key in reading.undetermined if key not in arguments}
        arguments |= found
    arguments.update(given)
    check_exact_match(checkpoint, chosen, arguments)
    return Identity(chosen, arguments, sources, known.name if known else None, checkpoint)


def stated_network(checkpoint: Checkpoint) -> dict[str, Any]:
    """`type` and `arguments` as the file's own metadata says them; nothing where it names no network of this package.

    Raises:
        RFDNError: What it says makes no sense.
    """
    metadata = checkpoint.metadata
    if metadata.get('network') not in NETWORKS:
        return {}
    try:
        arguments = json.loads(metadata.get('arguments', '{}'))
    except ValueError as error:
        raise RFDNError(
            f'{checkpoint.path}: its metadata "arguments" is no JSON ({error}); name the network yourself.'
        ) from error
    if not isinstance(arguments, dict):
        raise RFDNError(f'{checkpoint.path}: its metadata "arguments" is no JSON object; name the network yourself.')
    if 'upscale' in metadata and metadata['upscale'].isdigit():
        arguments.setdefault('upscale', int(metadata['upscale']))
    _check_values(arguments, f'{checkpoint.path}: its metadata says')
    return {'type': metadata['network'], 'arguments': arguments}


def _check_agrees(path: Any, given: dict[str, Any], stated: dict[str, Any], source: str, spell: Spelling) -> None:
    for key, value in given.items():
        if stated.get(key, value) != value:
            wrong_card = f', or, where the card is wrong, correct it with rfdn convert {as_flag(key, value)}'
            raise RFDNError(
                f'{path} has {key} {as_yaml(stated[key])} ({source}), and {as_yaml(value)} is given: leave '
                f'{spell(key)} out{wrong_card if source == _CARD else ""}.'
            )


def _check_values(arguments: dict[str, Any], said: str) -> None:
    for key, (fits, wanted) in _VALUES.items():
        if key in arguments and not fits(arguments[key]):
            raise RFDNError(f'{said} {key} {arguments[key]!r}, it must be {wanted}.')


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    'img_range': (lambda value: isinstance(value, int | float) and 0 < value < math.inf, 'a number above 0'),
    'block_residual': (lambda value: isinstance(value, bool), 'true or false'),
    'shallow_residual': (lambda value: isinstance(value, bool), 'true or false'),
    'upscale': (lambda value: isinstance(value, int) and 1 <= value <= 64, 'a whole number from 1'),
}
"""What metadata and users may say of the arguments that weights do not show."""

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
    """A candidate that was tried, and its `self_consistency_psnr` in dB."""

    type: str
    arguments: dict[str, Any]
    psnr: float


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
            check_exact_match(checkpoint, name, candidate)
            trials.append(
                _Trial(name, candidate, self_consistency_psnr(NETWORKS[name](**candidate), checkpoint.tensors))
            )
    return sorted(trials, key=lambda trial: -trial.psnr)


def _is_clear(trials: list[_Trial], least: float = 25.0, ahead: float = 5.0) -> bool:
    """Whether the best agrees at all, and better than every other: 37 and 12 dB in the least clear public weights."""
    rest = [trial.psnr for trial in trials[1:]]
    return bool(trials) and trials[0].psnr > least and all(trials[0].psnr > other + ahead for other in rest)


def _question(
    path: Path, reading: Reading, chosen: str | None, unknown: list[str], trials: list[_Trial], spell: Spelling
) -> str:
    ways, missing = [], unknown
    if chosen is None:
        missing = ['network', *(key for key in unknown if key == 'img_range')]  # the network says the identities
        ways.append(' or '.join(f'{spell("type", name)} ({_MEANING[name]})' for name in reading.candidates))
    if 'img_range' in unknown:
        ranges = (spell('img_range', value) for value in (1, 255))
        ways.append('{} (values 0..1, as BasicSR trains) or {} (0..255, as the AIM 2020 code)'.format(*ranges))
    if 'upscale' in unknown:
        ways.append(f'{spell("upscale")}, on which its weights do not depend')
    text = f'{path} holds {reading.description}, and does not say: {", ".join(missing)}. Give {", and ".join(ways)}.'
    if not trials:
        return text
    tried = ', '.join(f'{trial.type} with {trial.arguments["img_range"]:g} {trial.psnr:.0f} dB' for trial in trials)
    return f'{text} Tried on a test pattern, the shrunken output agrees with the input at: {tried}.'


def check_exact_match(checkpoint: Checkpoint, type: str, arguments: dict[str, Any]) -> None:
    """Raise RFDNError, naming the first tensor that differs, unless the weights fit this network exactly."""
    shapes = shapes_of(checkpoint.tensors)
    try:
        with torch.device('meta'):
            wanted = {name: tuple(tensor.shape) for name, tensor in NETWORKS[type](**arguments).state_dict().items()}
    except (TypeError, ValueError) as error:
        raise RFDNError(f'{checkpoint.path} cannot be {type}: {error}') from error
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
