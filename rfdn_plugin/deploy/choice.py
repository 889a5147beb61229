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

from rfdn_plugin.deploy.backends import BACKENDS, Runner, backends_for, missing_for, open_model
from rfdn_plugin.deploy.inference import TOLERANCE, InferenceForm, PlainForm, difference_from, inference_form
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_write, model_digest

AUTO = 'auto'
SIZES = (96, 256)
"""Sides of the square images that backends are compared on: small images, and all larger ones."""


class RunnerForm:
    """A `backends.Runner` with the attributes and the call of an `InferenceForm`."""

    in_channels = out_channels = 3
    device = torch.device('cpu')

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.scale, self.precision, self.backend = runner.scale, runner.precision, runner.backend

    def __call__(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.runner(np.ascontiguousarray(x.numpy(), np.float32)))


Form = InferenceForm | PlainForm | RunnerForm


def open_form(
    model: nn.Module | str | Path,
    *,
    backend: str = 'torch',
    precision: str = 'auto',
    device: str | torch.device | None = None,
    side: int = 256,
    img_range: float | None = None,
) -> Form:
    """Make a model ready to compute.

    Args:
        model: A network in eval mode, or the path of an exported model (.onnx, .xml, .param).
        backend: One of `backends.BACKENDS`, or 'auto' for the fastest that is installed; it is measured once for each model,
            size and machine, and remembered below the user's cache folder.
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
    if backend == AUTO:
        backend = 'torch' if on_gpu else fastest(model, precision=precision, side=side, img_range=img_range)
    if backend == 'torch' and isinstance(model, nn.Module):
        return inference_form(model, precision=precision, device=device)
    wanted = ('fp32' if is_network else None) if precision == AUTO else precision
    return RunnerForm(open_model(model, backend=backend, precision=wanted, img_range=img_range or 1.0))


def fastest(
    model: nn.Module | str | Path, *, precision: str = AUTO, side: int = 256, img_range: float | None = None
) -> str:
    """The fastest installed backend for a model; arguments as for `open_form`.

    A backend whose output differs from the network's by more than the precision allows is left out.

    Raises:
        RFDNError: None that is installed can run it.
    """
    able = backends_for(model)
    if len(able) == 1:
        return able[0]
    size = next((size for size in SIZES if side <= size), SIZES[-1])
    key, remembered = _key(model, precision, size), _remembered()
    if remembered.get(key, {}).get('backend') in able:
        return remembered[key]['backend']
    problems, milliseconds = [], {}
    for name in able:
        try:
            form = open_form(model, backend=name, precision=precision, img_range=img_range)
        except RFDNError as error:
            problems.append(f'{name}: {error}')
            continue
        if isinstance(model, nn.Module) and difference_from(model, form) > TOLERANCE.get(
            form.precision, TOLERANCE['bf16']
        ):
            problems.append(f'{name}: its output is another')
            continue
        milliseconds[name] = _milliseconds(form, size)
    if not milliseconds:
        raise RFDNError(f'no backend runs it: {"; ".join(problems or missing_for(model))}')
    best = min(milliseconds, key=lambda name: milliseconds[name])
    _remember(key, {'backend': best, 'milliseconds': milliseconds})
    return best


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


def _remembered() -> dict[str, dict]:
    try:
        content = json.loads(_file().read_text('utf-8'))
    except (OSError, ValueError):  # nothing measured yet, or a file that somebody edited: measure
        return {}
    return content if isinstance(content, dict) else {}


def _remember(key: str, entry: dict) -> None:
    with contextlib.suppress(OSError), atomic_write(_file(), 'w') as stream:  # no cache: measured again next time
        json.dump({**_remembered(), key: entry}, stream, indent=1)


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
    digest.update(repr([precision, size, versions, torch.get_num_threads(), platform.node(), _processor()]).encode())
    return digest.hexdigest()[:24]


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), platform.machine())
