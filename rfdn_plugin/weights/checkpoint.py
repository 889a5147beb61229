"""Reading the weights out of a checkpoint of any common layout, without executing what is inside."""

from __future__ import annotations

import hashlib
import pickle
import re
import tarfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.zoo import weights_path

WRAPPERS = ('params_ema', 'params-ema', 'params', 'state_dict', 'model_state_dict', 'model', 'net')
"""Keys under which trainers keep the weights, in the order in which they are looked for: the averaged ones first."""

PREFIXES = ('module.', '_orig_mod.', 'net_g.', 'generator.')
"""What DataParallel, torch.compile and trainers put before every name; taken off where every name has it."""

METADATA = 'metadata'
"""Key beside the weights under which a .pth file that we write says what it is; in .safetensors it is the header."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network as a file holds them.

    Attributes:
        path: The file.
        tensors: Names without a wrapper's prefix (`PREFIXES`), on the CPU.
        layout: The wrapper key that the weights were under, or 'flat'.
        metadata: What else the file says in plain text.
        prefix: What was taken off the names, as `PREFIXES` has it.
    """

    path: Path
    tensors: dict[str, Tensor] = field(repr=False)
    layout: str
    metadata: dict[str, str] = field(default_factory=dict)
    prefix: str = ''

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
    if path.suffix == '.safetensors':
        content, metadata = _read_safetensors(path)
    else:
        content = read_pickle(path)
        metadata = _plain_metadata(content)
    if param_key and only_this_key and not _is_wrapper(content, param_key):
        known = [key for key in WRAPPERS if _is_wrapper(content, key)]
        raise RFDNError(
            f'{path} has no weights under {param_key!r}: '
            + (f'name one of {", ".join(known)}.' if known else 'it holds one set of weights alone, name no key.')
        )
    layout, tensors = _unwrap(content, param_key)
    if not tensors:
        raise RFDNError(f'{path} holds no weights: its top level has {_names(content)}.')
    prefix = ''
    while (found := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), None)) is not None:
        prefix += found
        tensors = {name.removeprefix(found): tensor for name, tensor in tensors.items()}
    return Checkpoint(path, tensors, layout, metadata, prefix)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='pt') as file:
            metadata = dict(sorted((file.metadata() or {}).items()))  # the library's own order changes
            return {name: file.get_tensor(name) for name in file.keys()}, metadata
    except SafetensorError as error:
        raise RFDNError(f'{path} is no whole safetensors file ({error}): fetch or write it again.') from error


def read_pickle(path: Path) -> Any:
    """What `torch.save` wrote, a checkpoint or a training state, with the tensors on the CPU; nothing inside is executed.

    Raises:
        RFDNError: It is torn, no such file at all, or holds more than tensors and plain values.
    """
    # PyTorch before 2.6 reads the tar format of 2016 with the full unpickler, also where weights_only is asked for.
    if tarfile.is_tarfile(path):
        raise RFDNError(
            f'{path} is refused: a tar archive can run code when it is read; ask for a .pth or .safetensors.'
        )
    _check_beginning(path)
    try:
        with warnings.catch_warnings():  # of a protocol that torch does not write: it reads it, or fails as below
            warnings.simplefilter('ignore', UserWarning)
            return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch wraps the one informative word in advice to switch the protection off, which must not be passed on.
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        what = f'holds more than tensors ({found[1]})' if found else 'is torn, or holds more than tensors'
        raise RFDNError(
            f'{path} is refused: it {what}, which could run code. Ask its maker for a file of tensors alone.'
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].partition('. ')[0]
        raise RFDNError(f'{path} is torn or no checkpoint ({reason}): fetch or write it again.') from error


def _check_beginning(path: Path) -> None:
    """Tell what is no checkpoint at all: one is a zip archive, or a pickle of protocol 2 or later."""
    with open(path, 'rb') as stream:
        beginning = stream.read(64)
    if not beginning:
        raise RFDNError(f'{path} is empty: fetch or write it again.')
    if beginning.startswith(b'version https://git-lfs'):
        raise RFDNError(f'{path} is a pointer of Git LFS, not the file: fetch it with git lfs pull.')
    if not beginning.startswith((b'PK', b'\x80')):
        raise RFDNError(
            f'{path} is no checkpoint, neither an archive nor a pickle of PyTorch: name a .pth, .pkl or '
            '.safetensors file.'
        )


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
            return key, _tensors_of(content[key])
    return 'flat', _tensors_of(content)


def _is_wrapper(content: Any, key: str) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get(key), Mapping)


def _tensors_of(mapping: Mapping) -> dict[str, Tensor]:
    return {name: value for name, value in mapping.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _names(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f'a {type(content).__name__}'
    return ', '.join(map(repr, list(content)[:6])) or 'nothing'
