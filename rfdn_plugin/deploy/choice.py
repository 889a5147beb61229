"""Which runtime computes: PyTorch's inference form, or one of `backends`, the fastest of them where nobody names one."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.archs.imdn import IMDN
from rfdn_plugin.archs.rfdn import RFDN
from rfdn_plugin.deploy.backends import BACKENDS, Runner, backends_for, missing_for, open_model
from rfdn_plugin.deploy.inference import TOLERANCE, InferenceForm, PlainForm, difference_from, inference_form
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_write, model_digest
from rfdn_plugin.utils.machine import processor_name

AUTO = 'auto'
SIZES = (96, 256)
"""Sides of the square images that backends are compared on: small images, and all larger ones."""


class RunnerForm:
    """A `backends.Runner` with the attributes and the call of an `InferenceForm`.

    Args:
        runner: What computes.
        network: What it was made from, where that is not an exported model.

    Attributes:
        num_feat: Features between two blocks of an RFDN or IMDN; None of another network and of one that is not known.
    """

    in_channels = out_channels = 3
    device = torch.device('cpu')

    def __init__(self, runner: Runner, network: nn.Module | None = None) -> None:
        self.runner = runner
        self.num_feat = _features_of(runner.card) if network is None else None
        if isinstance(network, RFDN | IMDN):
            self.num_feat = network.fea_conv.out_channels
        self.scale, self.precision, self.backend = runner.scale, runner.precision, runner.backend

    def __call__(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.runner(np.ascontiguousarray(x.numpy(), np.float32)))


def _features_of(card: dict[str, str]) -> int | None:
    if not issubclass(NETWORKS.get(card.get('network', ''), nn.Module), RFDN | IMDN):
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError):  # a card that somebody edited
        return int(json.loads(card['arguments'])['num_feat'])
    return None


Form = InferenceForm | PlainForm | RunnerForm


def open_form(
    model: nn.Module | str | Path,
    *,
    backend: str | None = None,
    precision: str = AUTO,
    device: str | torch.device | None = None,
    side: int = 256,
    img_range: float | None = None,
) -> Form:
    """Make a model ready to compute.

    Args:
        model: A network in eval mode, or the path of an exported model (.onnx, .xml, .param).
        backend: One of `backends.BACKENDS`; 'auto' for the fastest that is installed, see `fastest`; None for PyTorch, or
            the first installed one that reads an exported model.
        precision: One that the backend has; 'auto' is fp32 for a network, and what an exported model was made for.
        device: For PyTorch.
        side: Of the images that are to come, for 'auto'.
        img_range: Of exported models from elsewhere, as `backends.open_model`.

    Raises:
        RFDNError: The backend is not installed, or cannot run this model or precision.
    """
    is_network = isinstance(model, nn.Module)
    on_gpu = device is not None and torch.device(device).type != 'cpu'
    if on_gpu and (not is_network or backend not in (AUTO, 'torch')):
        raise RFDNError(
            f'{device}: only networks and weights run there, with PyTorch: leave --device out, or take weights.'
        )
    if backend == AUTO and not on_gpu:
        return fastest(model, precision=precision, side=side, img_range=img_range)
    if backend in (AUTO, None):
        backend = _first_of(model)
    if backend == 'torch' and isinstance(model, nn.Module):
        return inference_form(model, precision=precision, device=device)
    wanted = ('fp32' if is_network else None) if precision == AUTO else precision
    runner = open_model(model, backend=backend, precision=wanted, img_range=img_range or 1.0)
    return RunnerForm(runner, model if isinstance(model, nn.Module) else None)


def _first_of(model: nn.Module | str | Path) -> str:
    if able := backends_for(model):
        return able[0]
    raise RFDNError(f'no backend runs it: {"; ".join(missing_for(model))}')


def fastest(
    model: nn.Module | str | Path, *, precision: str = AUTO, side: int = 256, img_range: float | None = None
) -> Form:
    """A model in the fastest backend that is installed; arguments as for `open_form`.

    Times are measured once for a model's shapes, a size and a machine, and remembered below the user's cache folder. That
    a network's output is the same but for what the precision allows is seen each time, for it depends on the weights.

    Raises:
        RFDNError: None that is installed can run it.
    """
    able = backends_for(model)
    if len(able) <= 1:
        return open_form(model, backend=_first_of(model), precision=precision, img_range=img_range)
    size = next((size for size in SIZES if side <= size), SIZES[-1])
    key = _key(model, precision, size)
    milliseconds: dict[str, float] = {name: ms for name, ms in _remembered(key).items() if name in able}
    opened = {name: _checked(model, name, precision, img_range) for name in able if name not in milliseconds}
    measured = {name: _milliseconds(form, size) for name, form in opened.items() if not isinstance(form, str)}
    if measured:
        milliseconds |= measured
        _remember(key, milliseconds)
    for name in sorted(milliseconds, key=lambda name: milliseconds[name]):
        if name not in opened:
            opened[name] = _checked(model, name, precision, img_range)
        if not isinstance(form := opened[name], str):
            return form
    raise RFDNError(f'no backend runs it: {"; ".join(f"{name}: {why}" for name, why in opened.items())}')


def _checked(model: nn.Module | str | Path, name: str, precision: str, img_range: float | None) -> Form | str:
    """A model in a backend; why not, where that cannot run it or gives another image."""
    try:
        form = open_form(model, backend=name, precision=precision, img_range=img_range)
    except RFDNError as error:
        return str(error)
    difference = difference_from(model, form) if isinstance(model, nn.Module) else 0.0
    if not difference <= TOLERANCE.get(form.precision, TOLERANCE['bf16']):
        return f'its output differs from the network by {difference:.2g} grey levels'
    return form


def _milliseconds(form: Callable[[Tensor], Tensor], size: int, runs: int = 3) -> float:
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    form(image)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        form(image)
        times.append(time.perf_counter() - start)
    return round(1000 * min(times), 2)


# --- what was measured before ----------------------------------------------------------------------------------------
def _file() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'rfdn_plugin' / 'backends.json'


def _entries() -> dict[str, dict]:
    try:
        content = json.loads(_file().read_text('utf-8'))
    except (OSError, ValueError):  # nothing measured yet, or a file that somebody edited: measure
        return {}
    return content if isinstance(content, dict) else {}


def _remembered(key: str) -> dict[str, float]:
    """Milliseconds by backend."""
    entry = _entries().get(key)
    return entry if isinstance(entry, dict) and all(isinstance(ms, int | float) for ms in entry.values()) else {}


def _remember(key: str, milliseconds: dict[str, float]) -> None:
    with contextlib.suppress(OSError), atomic_write(_file(), 'w') as stream:  # no cache: measured again next time
        json.dump({**_entries(), key: milliseconds}, stream, indent=1)


def _key(model: nn.Module | str | Path, precision: str, size: int) -> str:
    """Changes with the model, what it runs on, and everything that computes."""
    digest = hashlib.sha256()
    if isinstance(model, nn.Module):
        # Speed depends on the shapes, not on the values.
        shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
        digest.update(repr([type(model).__name__, shapes]).encode())
    else:
        digest.update(model_digest(model).encode())
    versions = {}
    for name in BACKENDS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    digest.update(
        repr([precision, size, versions, torch.get_num_threads(), platform.node(), processor_name()]).encode()
    )
    return digest.hexdigest()[:24]
