"""The files of a training: written whole or not at all, with what they are inside, and no more of them than wanted."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch

from rfdn_plugin.errors import RFDNError
from rfdn_plugin.files import atomic_write


def write(content: Any, path: str | os.PathLike) -> None:
    """Write a checkpoint or a training state.

    Raises:
        RFDNError: It cannot be written; what was there before is as it was.
    """
    try:
        with atomic_write(path) as stream:
            torch.save(content, stream)
    except (OSError, RuntimeError) as error:  # torch reports a failed write of its zip file as a RuntimeError
        raise RFDNError(
            f'cannot write {path} ({error}): the checkpoints before it are whole; make room and go on with --auto_resume.'
        ) from error


def numbered(folder: str | os.PathLike, prefix: str, suffix: str) -> list[int]:
    """The iterations of the files `{prefix}{iteration}{suffix}` of a folder, ascending."""
    names = [path.name for path in Path(folder).glob(f'{prefix}*{suffix}')]
    iterations = [name.removeprefix(prefix).removesuffix(suffix) for name in names]
    return sorted(int(iteration) for iteration in iterations if iteration.isdigit())


def keep_newest(models: str | os.PathLike, states: str | os.PathLike, count: int) -> None:
    """Remove the numbered weights and training states of all but the newest `count` iterations.

    The state of an iteration goes before its weights: what has a state can be resumed from at any moment.
    """
    for folder, prefix, suffix in ((states, '', '.state'), (models, 'net_g_', '.pth')):
        for iteration in numbered(folder, prefix, suffix)[:-count]:
            with contextlib.suppress(FileNotFoundError):  # somebody tidied up meanwhile
                Path(folder, f'{prefix}{iteration}{suffix}').unlink()
