"""Datasets whose errors say which image of which set could not be read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset

from rfdn_plugin.data.training.dataset import FastPairedImageDataset
from rfdn_plugin.utils.errors import RFDNError, describe


def _read(dataset: Any, read: Callable[[int], Any], index: int) -> Any:
    """What `read` gives for that sample of a dataset of BasicSR, which fails with whatever its next line stumbles over.

    Raises:
        RFDNError: It cannot be read; the message names the set and the image.
    """
    try:
        return read(index)
    except RFDNError as error:
        raise RFDNError(f'set {dataset.opt.get("name")}: {error}') from error
    except Exception as error:  # BasicSR checks nothing: a damaged image is an AttributeError, a torn LMDB another
        raise RFDNError(f'set {dataset.opt.get("name")}: {_reason(dataset, index, error)}') from error


def _reason(dataset: Any, index: int, error: Exception) -> str:
    """Which image of a sample is to blame, where looking at each of them tells."""
    paths = dataset.paths[index % len(dataset.paths)]
    pair = (
        {key.removesuffix('_path'): path for key, path in paths.items()} if isinstance(paths, dict) else {'lq': paths}
    )
    if dataset.file_client is None:  # the database could not be opened
        return describe(error)
    for which, path in pair.items():
        folder = dataset.opt.get(f'dataroot_{which}')
        try:
            value = dataset.file_client.get(path, which)
        except Exception as unread:
            return f'{path} in {folder} cannot be read ({describe(unread)}): is it still there?'
        if value is None:
            return f'{folder} lacks entry {path}: see rfdn verify {folder}'
        if _is_damaged(value):
            return f'{path} in {folder} cannot be decoded: replace it; rfdn verify {folder} finds others'
    return f'{", ".join(map(str, pair.values()))}: {describe(error)}'


def _is_damaged(value: bytes) -> bool:
    content = np.frombuffer(value, np.uint8)
    return content.size == 0 or cv2.imdecode(content, cv2.IMREAD_COLOR) is None


def _named(base: Any) -> Any:
    """A class whose samples are those of `base`, its only base: a dataset that is made already can take it on."""

    def sample(dataset: Any, index: int) -> Any:
        return _read(dataset, functools.partial(base.__getitem__, dataset), index)

    return type(f'Named{base.__name__}', (base,), {'__getitem__': sample, '__module__': __name__})


NamedPairedImageDataset = _named(PairedImageDataset)
NamedFastPairedImageDataset = _named(FastPairedImageDataset)
NamedSingleImageDataset = _named(SingleImageDataset)
_NAMED = {cls.__base__: cls for cls in (NamedPairedImageDataset, NamedFastPairedImageDataset, NamedSingleImageDataset)}


def naming(dataset: Any) -> Any:
    """The dataset, whose errors name the image from now on where its class is known here."""
    if type(dataset) in _NAMED:
        dataset.__class__ = _NAMED[type(dataset)]
    return dataset
