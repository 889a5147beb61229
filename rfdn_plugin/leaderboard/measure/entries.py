"""Entries as an option file names them, resolved: their weights found, read and identified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from rfdn_plugin.deploy.backends import Runner, missing, open_model
from rfdn_plugin.leaderboard.measure import foreign
from rfdn_plugin.leaderboard.measure.code_version import code_version
from rfdn_plugin.leaderboard.measure.predictors import (
    ImagesPredictor,
    NetworkPredictor,
    Predictor,
    RunnerPredictor,
    bicubic,
    find_images,
    input_channels,
)
from rfdn_plugin.leaderboard.measure.sets import TestSet
from rfdn_plugin.leaderboard.options import (
    BicubicEntry,
    ExportedEntry,
    ImagesEntry,
    MeasuredOptions,
    NetworkEntry,
    SpandrelEntry,
)
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import model_digest, sha256
from rfdn_plugin.weights.checkpoint import Checkpoint, read_checkpoint
from rfdn_plugin.weights.identify import Identity, as_option, identify
from rfdn_plugin.weights.identify.shapes import read_shapes, shapes_of
from rfdn_plugin.weights.loading import build_network
from rfdn_plugin.zoo import weights_path

WEIGHTS_STATE = {True: 'EMA weights', False: 'raw weights', None: ''}
"""How a table calls weights by `Checkpoint.averaged`."""


@dataclass(frozen=True)
class Entry:
    """A row of the board that is to be measured, with all that its measurement needs.

    Attributes:
        name, scale: Together they are unique.
        type: The network, or 'bicubic', 'onnx', 'openvino', 'ncnn', 'images'.
        options: The section of the option file, with `{scale}` filled in.
        weights_sha256: SHA-256 of the weights file, of an exported model over all its files.
        arguments: Arguments of the network's constructor.
        range_source: What says the input range; see `Identity.sources`. Empty where the entry's options do.
        state: 'EMA weights', 'raw weights' or '' where the file does not say.
        backend, precision: What runs it and in what arithmetic; empty where it runs as in training.
        files: The images of an images entry, by (set, image).
        key: Changes when the entry's outputs can change.
    """

    name: str
    scale: int
    type: str
    options: MeasuredOptions
    weights_sha256: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    range_source: str = ''
    state: str = ''
    backend: str = ''
    precision: str = ''
    files: dict[tuple[str, str], str] = field(default_factory=dict)
    key: str = ''

    @property
    def label(self) -> str:
        return f'{self.name} x{self.scale}'

    @property
    def has_network(self) -> bool:
        """Whether `network` gives one, from which costs are counted."""
        return isinstance(self.options, NetworkEntry | SpandrelEntry)

    @property
    def has_costs(self) -> bool:
        return self.has_network or isinstance(self.options, ExportedEntry)

    @property
    def img_range(self) -> float:
        """The values that the network or model works on, 0 to this."""
        if isinstance(self.options, ExportedEntry):
            return self.options.img_range
        return self.arguments.get('img_range', 1.0)

    def network(self) -> nn.Module:
        """The network, built and loaded anew, in eval mode on the CPU.

        Raises:
            RFDNError: The file is not what it was when the run began, or cannot be read.
        """
        self._refuse_changed_file()
        assert isinstance(self.options, NetworkEntry | SpandrelEntry)
        return _build(self.options, self.scale).network

    def runner(self, threads: int = 1, img_range: float | None = None) -> Runner:
        """The entry as a backend runs it; `img_range` tries an exported model with another one.

        Raises:
            RFDNError: As `network`, or the backend cannot run it.
        """
        if isinstance(self.options, ExportedEntry):
            self._refuse_changed_file()
            return _open_exported(self.options, threads, img_range)
        assert isinstance(self.options, NetworkEntry)
        options = self.options
        return open_model(self.network(), backend=options.backend, precision=options.precision, threads=threads)

    def predictor(self, device: str = 'cpu') -> Predictor:
        """Function that super-resolves an image for this entry. Raises as `network`."""
        if self.backend:
            return RunnerPredictor(self.runner())
        if self.has_network:
            return NetworkPredictor(self.network(), device)
        return ImagesPredictor(self.files) if isinstance(self.options, ImagesEntry) else bicubic

    def _refuse_changed_file(self) -> None:
        path = getattr(self.options, 'weights', '')
        if not Path(path).is_file() or model_digest(path) != self.weights_sha256:
            raise RFDNError(f'{path} has changed or gone since the run began: run again.')


@dataclass(frozen=True)
class _Built:
    """A network that an entry names, and what it is."""

    type: str
    network: nn.Module
    arguments: dict[str, Any]
    range_source: str
    checkpoint: Checkpoint


def resolve(options: MeasuredOptions, scale: int, sets: Sequence[TestSet]) -> Entry:
    """Find and read what an entry needs at one scale.

    Args:
        options: One of the measured kinds.
        scale: One of its scales.
        sets: At this scale; an images entry must have them all.

    Raises:
        RFDNError: Weights or images are missing, belong to another network or scale, or something is not installed.
    """
    for attribute in ('weights', 'dir'):
        if hasattr(options, attribute):
            path = getattr(options, attribute).replace('{scale}', str(scale))
            if attribute == 'weights' and not isinstance(options, ExportedEntry):
                path = str(weights_path(path))
            options = options.model_copy(update={attribute: path})
    content: list[Any]
    entry: dict[str, Any] = {'name': options.name, 'scale': scale, 'options': options}
    try:
        match options:
            case NetworkEntry() | SpandrelEntry():
                built = _build(options, scale)  # refuses damaged weights now, not in the middle of the run
                entry |= {'type': built.type, 'arguments': built.arguments, 'range_source': built.range_source}
                entry['state'] = WEIGHTS_STATE[built.checkpoint.averaged]
                content = [built.type, built.arguments, built.checkpoint.fingerprint]
                if isinstance(options, NetworkEntry) and not options.is_plain:
                    runner = _runs(built.network, options)
                    entry |= {'backend': runner.backend, 'precision': runner.precision}
            case ExportedEntry():
                runner = _open_exported(options, 1)
                if runner.scale != scale:
                    raise RFDNError(f'{options.weights} enlarges x{runner.scale}: correct scale {scale} or weights.')
                entry |= {'type': options.type, 'backend': runner.backend, 'precision': runner.precision}
                content = [options.type, model_digest(options.weights), options.img_range]
            case ImagesEntry():
                files = {key: path for test_set in sets for key, path in find_images(options.dir, test_set).items()}
                entry |= {'type': 'images', 'files': files}
                content = ['images', sorted((*key, sha256(path)) for key, path in files.items())]
            case BicubicEntry():
                entry['type'] = 'bicubic'
                content = ['bicubic']
    except RFDNError as error:
        raise RFDNError(f'entry {options.name}: {error}') from error
    if hasattr(options, 'weights'):
        entry['weights_sha256'] = model_digest(options.weights)
    return Entry(**entry, key=digest(content, scale, entry.get('backend', ''), entry.get('precision', '')))


def _build(options: NetworkEntry | SpandrelEntry, scale: int) -> _Built:
    checkpoint = read_checkpoint(options.weights, options.param_key, only_this_key=True)
    if isinstance(options, SpandrelEntry):
        name, sized = foreign.spandrel_network(checkpoint)
        if sized.scale != scale:
            raise RFDNError(f'{options.weights} holds weights of x{sized.scale}: correct scale {scale} or weights.')
        return _Built(name, sized, {'num_in_ch': sized.in_channels}, '', checkpoint)
    if (registered := foreign.registered_name(checkpoint, options.type)) is not None:
        arguments = foreign.registered_arguments(checkpoint, registered, options.arguments, scale)
        network = foreign.registered_network(checkpoint, registered, arguments, scale)
        return _Built(registered, network, {'num_in_ch': network.in_channels, **arguments}, '', checkpoint)
    identity = _identify(options, checkpoint, scale)
    source = identity.sources.get('img_range', '')
    return _Built(identity.type, build_network(identity), identity.arguments, source, checkpoint)


def _runs(network: nn.Module, options: NetworkEntry) -> Runner:
    if input_channels(network) != 3:
        raise RFDNError(f'{options.weights} takes Y alone, and backends and precisions are for RGB: leave them out.')
    return open_model(network, backend=options.backend, precision=options.precision, threads=1)


def _open_exported(options: ExportedEntry, threads: int, img_range: float | None = None) -> Runner:
    backend = options.backend or {'onnx': 'onnxruntime'}.get(options.type, options.type)
    if problem := missing(backend):
        raise RFDNError(problem)
    own = img_range or options.img_range
    return open_model(options.weights, backend=backend, precision=options.precision, threads=threads, img_range=own)


def _identify(options: NetworkEntry, checkpoint: Checkpoint, scale: int) -> Identity:
    shown = read_shapes(shapes_of(checkpoint.tensors), options.weights).arguments.get('upscale', scale)
    if shown != scale:
        raise RFDNError(f'{options.weights} holds weights of x{shown}: correct scale {scale} or weights.')
    arguments = {'upscale': scale, **options.arguments}
    return identify(checkpoint, type=options.type, img_range=options.img_range, spell=as_option, **arguments)


def digest(*content: Any) -> str:
    """A key for the cache from anything that JSON can hold, and from the code that computes results."""
    text = json.dumps([content, code_version()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
