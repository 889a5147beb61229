"""Post-training quantisation to 8-bit whole numbers for OpenVINO, which keeps the quality.

Quantising everything costs a whole decibel. Four things bring it back, each measured on E-RFDN x4 (Set5, 32.16 dB):

* the sums stay in 16-bit floats. With SRB's identity outside its convolution, the features go on unrounded and only what
  the convolution adds is computed in 8 bits; folded, or with the sum quantised, every step rounds all that came before:
  30.70 and 31.08 dB, against 32.12;
* ranges are from the least to the largest value of all images, and a drawn pattern is among them: with NNCF's own (the
  means of each image's least and largest) drawings and text come out wrong, by 84 grey levels at hard edges against 28;
  photographs lose 0.015 dB by it;
* the first and the last convolution and the attention stay in 16-bit floats: they are a small part of the work;
* which of the other layers are quantised is found by trial: the most work first, and a kind of layer stays out if with
  it the loss on images that were not used for calibration would be larger than allowed. Small 1x1 convolutions are not
  tried: to turn their input into 8 bits takes as long as they win (258 ms with, 252 without the fusions of the blocks).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from rfdn_plugin.deploy.backends.openvino_backend import OpenVinoRunner
from rfdn_plugin.deploy.formats.openvino_model import openvino_model
from rfdn_plugin.deploy.pattern import pattern
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.text import counted
from rfdn_plugin.weights.transfer.run import FitImages

if TYPE_CHECKING:
    import openvino

SIDE = 96
"""LR pixels of the part of each image that is used: the one with the most texture."""

MOST_LOSS = 0.1
"""Decibels of PSNR (Y) on images left out that quantising may cost, where nobody says otherwise."""

IMAGES = 40
"""How many images are used where there are more; every third checks, the others calibrate."""

_FLOAT_OPERATIONS = ('Add', 'Subtract', 'Multiply', 'Divide', 'Interpolate', 'MaxPool', 'ReduceMean', 'Sqrt', 'Clamp')
_ATTENTION = re.compile(r'/(esa|cca)/')
_SMALLEST_1X1 = 2000
"""Multiplications for each pixel, below which a 1x1 convolution is not faster in 8 bits."""


@dataclass(frozen=True)
class Quantised:
    """A quantised model.

    Attributes:
        model: For OpenVINO.
        layers: The kinds of convolutions that compute in 8 bits, `*` for numbers, the most work first.
        share: Their part of all multiplications.
        psnr: On the images left out, in dB, of the network in 32-bit floats and of the quantised model.
        images: How many calibrated and how many checked.
    """

    model: openvino.Model
    layers: tuple[str, ...]
    share: float
    psnr: tuple[float, float]
    images: tuple[int, int]

    @property
    def loss(self) -> float:
        return self.psnr[0] - self.psnr[1]

    def card(self) -> dict[str, str]:
        """What the model's card says of it."""
        return {
            'quantised_layers': ', '.join(self.layers),
            'quantised_share': f'{self.share:.3f}',
            'quantisation_psnr_y': f'{self.psnr[1]:.4f} dB instead of {self.psnr[0]:.4f} on {counted(self.images[1], "image")}',
            'calibration_images': str(self.images[0]),
        }


def missing() -> str | None:
    """None where NNCF is installed, else a line that says what to install."""
    if importlib.util.find_spec('nncf') is None:
        return 'int8 needs NNCF: pip install "rfdn-plugin[int8]".'
    return None


def quantise(
    network: nn.Module, folder: Path, *, clamp: bool = False, most_loss: float = MOST_LOSS, most_images: int = IMAGES
) -> Quantised:
    """Quantise a network by images.

    Args:
        network: In eval mode, SRB's identity not folded.
        folder: A folder or LMDB of HR images, as many kinds as the model will see; their LR is made by MATLAB bicubic.
        clamp: Cut the output to 0..1.
        most_loss: Decibels of PSNR (Y) that may be lost on images left out of the calibration.
        most_images: As many images at most.

    Raises:
        RFDNError: NNCF is not installed, there are too few images, or no layer can be quantised within `most_loss`.
    """
    if problem := missing():
        raise RFDNError(problem)
    calibration, check = _split(textured_parts(folder, int(network.upscale), most_images))  # type: ignore[arg-type]
    plain = openvino_model(network, clamp=clamp)
    whole = psnr_of(plain, check)
    layers = convolutions(plain)
    total = sum(work for _, work, _ in layers)
    kinds: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for name, work, may in layers:
        if may:
            kinds[re.sub(r'\d+', '*', name)].append((name, work))
    ranked = sorted(kinds, key=lambda kind: -sum(work for _, work in kinds[kind]))
    chosen: list[str] = []
    best: tuple[Any, float] | None = None
    for kind in ranked:
        tried = [*chosen, kind]
        inside = {name for each in tried for name, _ in kinds[each]}
        model = _quantised(plain.clone(), calibration, [name for name, _, _ in layers if name not in inside])
        psnr = psnr_of(model, check)
        if whole - psnr <= most_loss:
            chosen, best = tried, (model, psnr)
    if best is None:
        raise RFDNError(
            f'no layer of {type(network).__name__} computes in 8 bits within {most_loss:g} dB on the images of {folder}: '
            'allow more (--most-loss), give other images, or take bf16.'
        )
    share = sum(work for kind in chosen for _, work in kinds[kind]) / total
    short = tuple(kind.removeprefix('/network/').replace('/Conv/WithoutBiases', '') for kind in chosen)
    return Quantised(best[0], short, share, (whole, best[1]), (len(calibration), len(check)))


def convolutions(model: openvino.Model) -> list[tuple[str, int, bool]]:
    """Of every convolution its name, its multiplications for each pixel, and whether it is worth quantising."""
    found = []
    for node in model.get_ordered_ops():
        if node.get_type_name() in ('Convolution', 'GroupConvolution'):
            name, shape = node.get_friendly_name(), list(node.input(1).get_partial_shape().to_shape())
            work = int(np.prod(shape))
            is_small = shape[-2:] == [1, 1] and work < _SMALLEST_1X1
            found.append((name, work, not is_small and not _ATTENTION.search(name)))
    ends = {found[0][0], found[-1][0]} if found else set()
    return [(name, work, may and name not in ends) for name, work, may in found]


def _quantised(model: openvino.Model, images: Sequence[np.ndarray], left_out: list[str]) -> openvino.Model:
    import logging

    import nncf
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    nncf.set_log_level(logging.ERROR)
    extremes = RangeEstimatorParameters(
        min=StatisticsCollectorParameters(statistics_type=StatisticsType.MIN, aggregator_type=AggregatorType.MIN),
        max=StatisticsCollectorParameters(statistics_type=StatisticsType.MAX, aggregator_type=AggregatorType.MAX),
    )
    data = [*images, pattern(SIDE, SIDE), 1 - pattern(SIDE // 2, SIDE)]
    scope = nncf.IgnoredScope(names=left_out, types=list(_FLOAT_OPERATIONS), validate=False)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # its bars
        return nncf.quantize(
            model,
            nncf.Dataset(data),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(data),
            ignored_scope=scope,
            advanced_parameters=nncf.AdvancedQuantizationParameters(activations_range_estimator_params=extremes),
        )


# --- images --------------------------------------------------------------------------------------------------------
Pair = tuple[np.ndarray, np.ndarray]
"""LR and HR, 1 x 3 x H x W, float32, RGB, 0..1."""


def textured_parts(folder: Path, scale: int, most: int) -> list[Pair]:
    """Of each image of a folder or LMDB the part with the most texture, at most `SIDE` LR pixels a side."""
    pairs = FitImages(folder, scale, most)
    return [_part(low, high, scale) for low, high in pairs]


def _part(low: Tensor, high: Tensor, scale: int) -> Pair:
    grey = low.mean(dim=0).numpy()
    texture = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    sums = np.pad(texture.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = min(SIDE, texture.shape[0]), min(SIDE, texture.shape[1])
    windows = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    top, left = np.unravel_index(int(windows.argmax()), windows.shape)
    part = low[None, :, top : top + rows, left : left + columns].numpy()
    wanted = high[None, :, top * scale : (top + rows) * scale, left * scale : (left + columns) * scale].numpy()
    return np.ascontiguousarray(part), np.ascontiguousarray(wanted)


def _split(pairs: list[Pair]) -> tuple[list[np.ndarray], list[Pair]]:
    check = pairs[2::3]
    if not check:
        raise RFDNError(f'{counted(len(pairs), "image")} to calibrate and to check: give 3 at least, better 40.')
    return [low for at, (low, _) in enumerate(pairs) if at % 3 != 2], check


_LUMA = np.array([65.481, 128.553, 24.966], np.float64) / 255


def psnr_of(model: openvino.Model, pairs: Sequence[Pair]) -> float:
    """The mean PSNR of Y in dB, outputs rounded to 8 bits, without a border of the scale."""
    runner = OpenVinoRunner(model, precision=None, threads=1, name='the model')
    values = []
    for low, high in pairs:
        output = np.rint(runner.run(low).clip(0, 1) * 255)
        scale = output.shape[-1] // low.shape[-1]
        inner = (slice(scale, -scale), slice(scale, -scale))
        difference = np.tensordot(_LUMA, (output - np.rint(high * 255))[0].astype(np.float64), 1)[inner]
        values.append(10 * np.log10(255**2 / max(float((difference**2).mean()), 1e-9)))
    return float(np.mean(values))
