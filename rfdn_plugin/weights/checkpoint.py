"""Reading the weights out of a checkpoint of any common layout, without executing what is inside."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.pickles import Inert, check_beginning, is_safetensors, read_pickle
from rfdn_plugin.weights.prefixes import (
    answers,
    groups_by_prefix,
    is_averaged,
    network_prefixes,
    without_common_prefix,
)
from rfdn_plugin.zoo import weights_path

AVERAGED_WRAPPERS = ('params_ema', 'params-ema', 'model_ema', 'ema', 'state_dict_ema', 'ema_state_dict', 'ema_model')
WRAPPERS = (
    *AVERAGED_WRAPPERS,
    'params',
    'state_dict',
    'model_state_dict',
    'model',
    'net',
    'network',
    'generator',
    'netG',
)
"""Keys under which trainers keep the weights, in the order in which they are looked for: the averaged ones first.

Another key is taken where it is the only one of the file that has weights under it."""

_COUNTS = ('total_ops', 'total_params')
"""Buffers that a counter of operations (thop) leaves in a network."""

METADATA = 'metadata'
"""Key beside the weights under which a .pth file that we write says what it is; in .safetensors it is the header."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network as a file holds them.

    Attributes:
        path: The file.
        tensors: The network's weights by their names without what a wrapper puts before them, on the CPU.
        layout: The wrapper key that the weights were under, or 'flat'.
        metadata: What else the file says in plain text.
        prefix: What was taken off the names, as `module.` or `generator_ema.`.
    """

    path: Path
    tensors: dict[str, Tensor] = field(repr=False)
    layout: str
    metadata: dict[str, str] = field(default_factory=dict)
    prefix: str = ''

    @property
    def averaged(self) -> bool | None:
        """Whether the weights are an average over the training; None where the file does not say."""
        if self.layout in AVERAGED_WRAPPERS or is_averaged(self.prefix):
            return True
        return False if self.layout == 'params' else None

    def fitted_to(self, names: Collection[str]) -> Checkpoint:
        """The weights of the network that has these names, where they stand behind a wrapper's prefix among others.

        The checkpoint itself where it has the names, or where no part of it has them all.
        """
        if not self.tensors.keys() >= set(names):
            groups = groups_by_prefix(self.tensors)
            for prefix in sorted(groups, key=lambda prefix: not is_averaged(prefix)):
                if groups[prefix].keys() >= set(names):
                    return replace(self, tensors=groups[prefix], prefix=self.prefix + prefix)
        return self

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the names, shapes and 32-bit values: the same for the same weights in any layout or format."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            digest.update(f'{name}{tuple(tensor.shape)}'.encode())
            digest.update(tensor.detach().float().contiguous().numpy().tobytes())
        return digest.hexdigest()


def read_checkpoint(path: str | Path, param_key: str | None = None, *, only_this_key: bool = False) -> Checkpoint:
    """Read a .pth or .pkl file (old or new format), or a .safetensors file.

    Args:
        path: The file, or `zoo:NAME` for weights that this package ships.
        param_key: The wrapper key to prefer ('params', 'params_ema', ...). Where the file does not have it, or where
            it is None, the first of `WRAPPERS` that the file has is taken, else the file itself (flat).
        only_this_key: A `param_key` that the file does not have is an error.

    Returns:
        The weights of one network, on the CPU and of the types that the file has, and what it says of them.

    Raises:
        RFDNError: The file is missing, torn, holds objects other than tensors, or holds no weights.
    """
    path = weights_path(path)
    if not path.exists():
        raise RFDNError(f'no weights file {path}: check the path.')
    if not path.is_file():
        raise RFDNError(f'{path} is {"a folder" if path.is_dir() else "no plain file"}: name a weights file.')
    if path.suffix == '.caffemodel':
        raise RFDNError(f'{path} is a Caffe file: convert that of an IDN with scripts/convert_idn_caffe.py first.')
    check_beginning(path)
    if is_safetensors(path):
        content, metadata = _read_safetensors(path)
    else:
        content = read_pickle(path)
        metadata = _plain_metadata(content)
    layout, tensors = _unwrap(content, param_key)
    if not tensors:
        raise RFDNError(f'{path} holds no weights: {_description(content)}.')
    groups = groups_by_prefix(tensors)
    prefixes = network_prefixes(groups)
    wanted = [prefix for prefix in prefixes if param_key and answers(prefix, param_key, prefixes)]
    if param_key and only_this_key and layout != param_key and not wanted:
        known = [key for key in WRAPPERS if _is_wrapper(content, key)]
        known += [prefix[:-1] for prefix in prefixes if len(prefixes) > 1 and prefix]
        raise RFDNError(
            f'{path} has no weights under {param_key!r}: '
            + (f'name one of {", ".join(known)}.' if known else 'it holds one set of weights alone, name no key.')
        )
    if prefixes:  # the rest is not the network's: counters, means for normalisation, a discriminator
        prefix = (wanted or prefixes)[0]
        own = {name: tensor for name, tensor in groups[prefix].items() if tensor.dim() > 0}  # counters of an average
        return Checkpoint(path, own, layout, metadata, prefix)
    prefix, tensors = without_common_prefix(tensors)
    return Checkpoint(path, tensors, layout, metadata, prefix)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='pt') as file:
            metadata = dict(sorted((file.metadata() or {}).items()))  # the library's own order changes
            return {name: file.get_tensor(name) for name in file.keys()}, metadata
    except SafetensorError as error:
        raise RFDNError(f'{path} is no whole safetensors file ({error}): fetch or write it again.') from error


def _plain_metadata(content: Any) -> dict[str, str]:
    found = content.get(METADATA) if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping):
        return {}
    return {str(key): str(value) for key, value in found.items() if isinstance(value, str | int | float)}


def _unwrap(content: Any, param_key: str | None) -> tuple[str, dict[str, Tensor]]:
    if not isinstance(content, Mapping):
        return 'flat', {}
    for key in ([param_key] if param_key else []) + list(WRAPPERS):
        if _is_wrapper(content, key):
            inner = content[key]
            # A wrapper in a wrapper, as {'model': {'state_dict': ...}}.
            return (key, _tensors_of(inner)) if _tensors_of(inner) else _unwrap(inner, param_key)
    others = _other_wrappers(content)
    if len(others) == 1 and not _tensors_of(content):
        return _unwrap(content, others[0])
    return 'flat', _tensors_of(content)


def _other_wrappers(content: Mapping) -> list[str]:
    return [key for key in content if isinstance(key, str) and key not in WRAPPERS and _is_wrapper(content, key)]


def _is_wrapper(content: Any, key: str) -> bool:
    inner = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(inner, Mapping):
        return False
    has_weights = any(tensor.dim() > 1 for tensor in _tensors_of(inner).values())
    if has_weights or any(_is_wrapper(inner, k) for k in WRAPPERS):
        return True
    return key in WRAPPERS and len(_other_wrappers(inner)) == 1


def _tensors_of(mapping: Mapping) -> dict[str, Tensor]:
    named = {name: value for name, value in mapping.items() if isinstance(name, str) and isinstance(value, Tensor)}
    return {name: value for name, value in named.items() if name.rpartition('.')[2] not in _COUNTS}


def _description(content: Any) -> str:
    if isinstance(content, Inert):
        kind = type(content)
        return f'it is a whole object ({kind.__module__}.{kind.__qualname__}); ask its maker to save its state_dict()'
    if not isinstance(content, Mapping):
        return f'its top level is a {type(content).__name__}'
    if 'optimizers' in content and 'iter' in content:
        return 'it is the state of a training of BasicSR, name net_g_....pth in the folder models beside'
    if others := _other_wrappers(content):
        return f'it has several sets of them, name one of {", ".join(others)} as the param key'
    return f'its top level has {", ".join(map(repr, list(content)[:6])) or "nothing"}'
