"""Reading the weights out of a checkpoint of any common layout, without executing what is inside."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfdn_plugin.errors import RFDNError

WRAPPERS = ('params_ema', 'params-ema', 'params', 'state_dict', 'model_state_dict', 'model', 'net')
"""Keys under which trainers keep the weights, in the order in which they are looked for: the averaged ones first."""

METADATA = 'metadata'
"""Key beside the weights under which a .pth file that we write says what it is; in .safetensors it is the header."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network as a file holds them.

    Attributes:
        path: The file.
        tensors: Names without a `module.` prefix, on the CPU.
        layout: The wrapper key that the weights were under, or 'flat'.
        metadata: What else the file says in plain text.
    """

    path: Path
    tensors: dict[str, Tensor]
    layout: str
    metadata: dict[str, str] = field(default_factory=dict)


def read_checkpoint(path: str | Path, param_key: str | None = None) -> Checkpoint:
    """Read a .pth or .pkl file (old or new format) or a .safetensors file.

    Args:
        path: The file.
        param_key: The wrapper key to prefer ('params', 'params_ema', ...). Where the file does not have it, or where
            it is None, the first of `WRAPPERS` that the file has is taken, else the file itself (flat).

    Raises:
        RFDNError: The file is missing, torn, holds objects other than tensors, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise RFDNError(f'no weights file {path}: check the path.')
    if path.suffix == '.safetensors':
        content, metadata = _read_safetensors(path)
    else:
        content = _read_pickle(path)
        metadata = _plain_metadata(content)
    layout, tensors = _unwrap(content, param_key)
    tensors = {name.removeprefix('module.'): tensor for name, tensor in tensors.items()}
    if not tensors:
        raise RFDNError(f'{path} holds no weights: its top level has {_names(content)}.')
    return Checkpoint(path, tensors, layout, metadata)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise RFDNError(f'{path} is no whole safetensors file ({error}): fetch or write it again.') from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise RFDNError(
            f'{path} is refused: it is torn, or holds objects other than tensors, which could run code ({reason}). '
            'Ask its maker for a file of tensors alone.'
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RFDNError(f'{path} cannot be read as a checkpoint ({reason}): it is torn or no checkpoint.') from error


def _plain_metadata(content: Any) -> dict[str, str]:
    found = content.get(METADATA) if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping):
        return {}
    return {str(key): str(value) for key, value in found.items() if isinstance(value, str | int | float)}


def _unwrap(content: Any, param_key: str | None) -> tuple[str, dict[str, Tensor]]:
    if not isinstance(content, Mapping):
        return 'flat', {}
    for key in ([param_key] if param_key else []) + list(WRAPPERS):
        if isinstance(content.get(key), Mapping):
            return key, _tensors_of(content[key])
    return 'flat', _tensors_of(content)


def _tensors_of(mapping: Mapping) -> dict[str, Tensor]:
    return {name: value for name, value in mapping.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _names(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f'a {type(content).__name__}'
    return ', '.join(map(repr, list(content)[:6])) or 'nothing'
