"""Entries as an option file names them, resolved: their weights found, read and identified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from rfdn_plugin.leaderboard.measure.predictors import (
    ImagesPredictor,
    NetworkPredictor,
    OnnxPredictor,
    Predictor,
    bicubic,
    find_images,
)
from rfdn_plugin.leaderboard.measure.sets import TestSet
from rfdn_plugin.leaderboard.options import BicubicEntry, EntryOptions, ImagesEntry, NetworkEntry, OnnxEntry
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import sha256
from rfdn_plugin.utils.version import __version__
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.identify import Identity, identify, read_shapes, shapes_of
from rfdn_plugin.weights.loading import build_network
from rfdn_plugin.zoo import weights_path

WEIGHTS_STATE = {True: 'EMA weights', False: 'raw weights', None: ''}
"""How a table calls weights by `Checkpoint.averaged`."""


@dataclass(frozen=True)
class Entry:
    """One row to be measured.

    Attributes:
        name, scale: Together they are unique.
        type: Of the network, or 'bicubic', 'onnx', 'images'.
        options: As the file gave them, with `{scale}` filled in.
        weights_sha256: Of the weights file.
        arguments: Of the network's constructor.
        range_source: What says the input range; see `Identity.sources`. Empty for an ONNX file, where the entry does.
        state: 'EMA weights', 'raw weights' or '' where the file does not say.
        files: Of an images entry, by (set, image).
        key: Changes when the entry's outputs can change.
    """

    name: str
    scale: int
    type: str
    options: EntryOptions
    weights_sha256: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    range_source: str = ''
    state: str = ''
    files: dict[tuple[str, str], str] = field(default_factory=dict)
    key: str = ''

    @property
    def label(self) -> str:
        return f'{self.name} x{self.scale}'

    @property
    def has_costs(self) -> bool:
        return isinstance(self.options, NetworkEntry | OnnxEntry)

    def network(self) -> nn.Module:
        """The network, built and loaded anew, in eval mode on the CPU.

        Raises:
            RFDNError: The file is not what it was when the run began, or cannot be read.
        """
        self._refuse_changed_file()
        return build_network(_identify(self.options, self.scale))

    def predictor(self, device: str = 'cpu', threads: int = 1) -> Predictor:
        """What super-resolves an image for this entry. Raises as `network`."""
        match self.options:
            case NetworkEntry():
                return NetworkPredictor(self.network(), device)
            case OnnxEntry():
                self._refuse_changed_file()
                return OnnxPredictor(self.options.weights, self.options.img_range, threads)
            case ImagesEntry():
                return ImagesPredictor(self.files)
            case _:
                return bicubic

    def _refuse_changed_file(self) -> None:
        path = weights_path(self.options.weights)
        if not path.is_file() or sha256(path) != self.weights_sha256:
            raise RFDNError(f'{path} has changed or gone since the run began: run again.')


def resolve(options: EntryOptions, scale: int, sets: Sequence[TestSet]) -> Entry:
    """Find and read what an entry needs at one scale.

    Args:
        options: One of the measured kinds.
        scale: One of its scales.
        sets: At this scale; an images entry must have them all.

    Raises:
        RFDNError: Weights or images are missing, or belong to another network or scale.
    """
    for attribute in ('weights', 'dir'):
        if hasattr(options, attribute):
            path = getattr(options, attribute).replace('{scale}', str(scale))
            options = options.model_copy(update={attribute: path})
    entry = {'name': options.name, 'scale': scale, 'options': options}
    match options:
        case NetworkEntry():
            identity = _identify(options, scale)
            build_network(identity)  # refuses damaged weights now, not in the middle of the run
            entry |= {'type': identity.type, 'arguments': identity.arguments}
            entry['weights_sha256'] = sha256(identity.checkpoint.path)
            entry['range_source'] = identity.sources.get('img_range', '')
            entry['state'] = WEIGHTS_STATE[identity.checkpoint.averaged]
            content = [entry['type'], entry['arguments'], identity.checkpoint.fingerprint]
        case OnnxEntry():
            OnnxPredictor(options.weights)
            entry |= {'type': 'onnx', 'weights_sha256': sha256(options.weights)}
            content = ['onnx', entry['weights_sha256'], options.img_range]
        case ImagesEntry():
            files = {key: path for test_set in sets for key, path in find_images(options.dir, test_set).items()}
            entry |= {'type': 'images', 'files': files}
            content = ['images', sorted((*key, sha256(path)) for key, path in files.items())]
        case BicubicEntry():
            entry['type'] = 'bicubic'
            content = ['bicubic']
    return Entry(**entry, key=digest(content, scale))


def _identify(options: NetworkEntry, scale: int) -> Identity:
    checkpoint = read_checkpoint(options.weights, options.param_key, only_this_key=True)
    shown = read_shapes(shapes_of(checkpoint.tensors), options.weights).arguments.get('upscale', scale)
    if shown != scale:
        raise RFDNError(
            f'entry {options.name}: {options.weights} holds weights of x{shown}: correct scale {scale} or weights.'
        )
    arguments = {'upscale': scale, **options.arguments}
    return identify(checkpoint, type=options.type, img_range=options.img_range, **arguments)


def digest(*content: Any) -> str:
    """A key for the cache from anything that JSON can hold, and from the code that computes results."""
    text = json.dumps([content, code_version()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@lru_cache
def code_version() -> str:
    """Changes with this package's networks and evaluation, and with the libraries that compute."""
    import basicsr
    import cv2
    import torch

    package = Path(__file__).parents[2]
    sources = [*(package / 'archs').glob('*.py'), *(package / 'weights').rglob('*.py')]
    names = ('metrics', 'predictors', 'sets', 'complexity', 'probe')
    sources += [package / 'leaderboard' / 'measure' / f'{name}.py' for name in names]
    sources += [package / 'data' / 'bicubic.py', package / 'data' / 'lr_check.py']
    versions = [__version__, torch.__version__, basicsr.__version__, cv2.__version__]
    return hashlib.sha256('\n'.join(versions + [sha256(path) for path in sorted(sources)]).encode()).hexdigest()
