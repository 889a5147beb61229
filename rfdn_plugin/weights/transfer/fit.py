"""The upsampler solved in closed form: ridge-regularised least squares from images.

The output of every network here is linear in its upsampler: each HR pixel is a weighted sum of the features in a 3x3
neighbourhood, plus a bias. With the body fixed, the weights that give the smallest squared error over a set of
images are the solution of normal equations (451 unknowns for each of the 3 r r phases at 50 features). They are
accumulated in 64-bit floats image by image, so the memory does not grow with the number of images.

Each image counts by the inverse of its error before the fit: what is then smallest is the mean of the images'
relative errors, which is what a mean PSNR over images measures; unweighted, a few rough textures would outvote all the
rest. That and the ridge were chosen on images that were left out of the fit (docs/transfer.md).

Whether the solution is used is decided by cross-validation: five times the upsampler is solved without a fifth of the
data and measured on that fifth. Where that is no better than the weights before the fit, those stay.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rfdn_plugin.archs.blocks import pad_to_minimum
from rfdn_plugin.archs.idn import IDN
from rfdn_plugin.archs.network import UpscalingNetwork
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.transfer.phases import Phases, read_phases, write_phases

TAPS = 3
RIDGE = 1e-3
"""Of the mean diagonal of the normal matrix, pulling towards the weights before the fit."""
LEAST_ERROR = 1e-6
"""Of the squared peak: the error below which an image gains no more weight (60 dB)."""
LEAST_DETERMINED = 0.2
"""Of the unknowns: one small photograph determines half, flat images and ramps less than a tenth."""
ROWS_AT_ONCE = 1 << 15
"""Neighbourhoods in one product: 118 MB in 64-bit floats at 50 features."""

FOLDS = 5
"""Parts of the data, each of which is left out once."""
BLOCK = 64
"""Unknowns in one block row of the normal matrix, of which only the upper triangle is summed."""


@dataclass(frozen=True)
class Fit:
    """Result of a fit of the upsampler: what it was made from and how well it does.

    Attributes:
        images, pixels: How many images and LR pixels went in.
        gain: Number of dB by which the squared errors are smaller than before the fit, on pixels that were left out of it
            (cross-validation): the mean of the images' ratios, without clamping or rounding, in RGB (in Y for a network
            of one channel).
        used: Whether the solution was put in place; False where `gain` is not above 0.
    """

    images: int
    pixels: int
    gain: float
    used: bool


class NormalEquations:
    """Sums of the products of neighbourhoods with themselves and with their targets, in 64-bit floats.

    Args:
        num_feat: Channels of the features.
        num_phases: Targets for each LR pixel: colours * upscale**2.
    """

    def __init__(self, num_feat: int, num_phases: int) -> None:
        unknowns = num_feat * TAPS**2 + 1
        self.gram = torch.zeros(unknowns, unknowns, dtype=torch.float64)
        self.cross = torch.zeros(unknowns, num_phases, dtype=torch.float64)
        self.energy = torch.zeros(num_phases, dtype=torch.float64)
        self.count = 0

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Count in every pixel that has all its neighbours.

        Args:
            features: 1 x num_feat x H x W.
            targets: 1 x num_phases x H x W.
        """
        height, width = features.shape[-2:]
        rows = max(ROWS_AT_ONCE // width, 1)
        for top in range(0, height - 2, rows):
            band = features[..., top : top + rows + 2, :].double()
            wanted = targets[..., top + 1 : min(top + rows + 1, height - 1), 1:-1].double().flatten(2)[0]
            neighbourhoods = F.unfold(band, TAPS)[0]
            neighbourhoods = torch.cat([neighbourhoods, neighbourhoods.new_ones(1, neighbourhoods.shape[1])])
            for first in range(0, unknowns := self.gram.shape[0], BLOCK):  # the upper triangle, block row by block row
                last = min(first + BLOCK, unknowns)
                self.gram[first:last, first:] += neighbourhoods[first:last] @ neighbourhoods[first:].T
            self.cross.addmm_(neighbourhoods, wanted.T)
            self.energy += wanted.square().sum(dim=1)
            self.count += neighbourhoods.shape[1]

    def include(self, other: NormalEquations, weight: float) -> None:
        """Count in the sums of another, `weight` times."""
        self.gram.add_(other.gram, alpha=weight)
        self.cross.add_(other.cross, alpha=weight)
        self.energy.add_(other.energy, alpha=weight)
        self.count += other.count

    def solve(self, start: Phases, ridge: float = RIDGE) -> Phases:
        """The weights of least squared error, with `ridge` times their squared distance from `start` added."""
        before, gram = _as_columns(start), self._whole_gram()
        penalty = ridge * gram.diagonal().mean() * torch.eye(gram.shape[0], dtype=torch.float64)
        change = torch.linalg.solve(gram + penalty, self.cross - gram @ before)
        return _as_phases(before + change)

    def determined(self) -> float:
        """How many weights the data determines, more than the ridge: the trace of the smoothing by `RIDGE`."""
        values = torch.linalg.eigvalsh(self._whole_gram()).clamp(min=0)
        return float((values / (values + RIDGE * values.mean())).sum())

    def mean_squared_error(self, phases: Phases) -> float:
        """Mean squared error of `phases` over everything that was added, a mean over pixels with the weights of `include`."""
        columns, gram = _as_columns(phases), self._whole_gram()
        errors = self.energy - 2 * (columns * self.cross).sum(dim=0) + (columns * (gram @ columns)).sum(dim=0)
        return float(errors.mean() / self.count)

    def _whole_gram(self) -> Tensor:
        return self.gram.triu() + self.gram.triu(1).T


def _as_columns(phases: Phases) -> Tensor:
    return torch.cat([phases.weight.double().flatten(1), phases.bias.double()[:, None]], dim=1).T


def _as_phases(columns: Tensor) -> Phases:
    weight = columns[:-1].T.reshape(columns.shape[1], -1, TAPS, TAPS)
    return Phases(weight.contiguous(), columns[-1].contiguous())


def fit_upsampler(network: UpscalingNetwork, pairs: Iterable[tuple[Tensor, Tensor]], ridge: float = RIDGE) -> Fit:
    """Solve the upsampler of `network` from pairs of images, and put the solution in place where it is worth it.

    Args:
        network: At the wanted scale, in eval mode; `resample.to_scale` gives one. The ridge pulls to its upsampler.
        pairs: (LR, HR) images, 3 x h x w and 3 x (scale h) x (scale w), RGB from 0 to 1. Read once, one at a time. With
            five or more (by its length) whole images are left out for the check, else bands of each.
        ridge: See `RIDGE`.

    Returns:
        What went in, what it is worth on pixels left out, and whether it was put in place.

    Raises:
        RFDNError: No pair had a neighbourhood, a pair's sizes do not fit, there are fewer pixels than unknowns or too little
            detail in them, or the solution is not finite.
    """
    start = _with_three_taps(read_phases(network))
    num_phases, num_feat = start.weight.shape[:2]
    folds = [NormalEquations(num_feat, num_phases) for _ in range(FOLDS)]
    by_image = operator.length_hint(pairs) >= FOLDS
    least = LEAST_ERROR * float(network.img_range) ** 2
    images = 0
    for low, high in pairs:
        height, width = low.shape[-2:]
        if high.shape[-2:] != (height * network.upscale, width * network.upscale):
            raise RFDNError(
                f'a pair of {height}x{width} and {high.shape[-2]}x{high.shape[-1]} pixels does not fit '
                f'x{network.upscale}: crop the HR to a multiple of the scale.'
            )
        with torch.inference_mode():
            features, targets = _features_and_targets(network, low[None], high[None])
        whole = NormalEquations(num_feat, num_phases)
        whole.add(features, targets)
        if not whole.count:
            continue
        weight = 1 / max(whole.mean_squared_error(start), least)
        if by_image:
            folds[images % FOLDS].include(whole, weight)
        else:
            for fold, rows in enumerate(_bands(height - 2)):
                band = NormalEquations(num_feat, num_phases)
                band.add(features[..., rows, :], targets[..., rows, :])
                folds[fold].include(band, weight)
        images += 1
    together = _together(folds)
    if together.count == 0:
        raise RFDNError('no image to fit from: give a folder or LMDB with images of at least 3 LR pixels a side.')
    unknowns = together.gram.shape[0]
    if together.count < unknowns:
        raise RFDNError(
            f'{together.count} LR pixels do not determine {unknowns} weights for each phase: give more or larger images.'
        )
    if (determined := together.determined()) < LEAST_DETERMINED * unknowns:
        raise RFDNError(
            f'the images hold too little detail: of {unknowns} weights for each phase they determine {determined:.0f}: '
            'give photographs, or more of them.'
        )
    gain = _cross_validated_gain(network, folds, start, ridge)
    used = gain > 0
    if used:
        solution = _solution(network, together, start, ridge)
        if not (torch.isfinite(solution.weight).all() and torch.isfinite(solution.bias).all()):
            raise RFDNError('the images do not determine the upsampler: give more of them, or a larger ridge.')
        write_phases(network, solution)
    return Fit(images, together.count, gain, used)


def _bands(rows: int) -> Iterator[slice]:
    """The rows of an image in `FOLDS` bands, as slices of its features: two rows more than are counted."""
    for fold in range(FOLDS):
        yield slice(rows * fold // FOLDS, rows * (fold + 1) // FOLDS + 2)


def _together(folds: Iterable[NormalEquations]) -> NormalEquations:
    folds = list(folds)
    result = NormalEquations((folds[0].gram.shape[0] - 1) // TAPS**2, folds[0].cross.shape[1])
    for fold in folds:
        result.include(fold, 1)
    return result


def _solution(network: UpscalingNetwork, equations: NormalEquations, start: Phases, ridge: float) -> Phases:
    solution = equations.solve(start, ridge)
    if isinstance(network, IDN):
        solution = Phases(solution.weight, _one_bias(solution.bias, network.upscale))
    return solution


def _cross_validated_gain(
    network: UpscalingNetwork, folds: list[NormalEquations], start: Phases, ridge: float
) -> float:
    """By how many dB a solution without a fold is better than `start` on that fold, over all folds; may be negative."""
    before = after = 0.0
    for left_out in (fold for fold in folds if fold.count):
        solution = _solution(network, _together(fold for fold in folds if fold is not left_out), start, ridge)
        before += left_out.mean_squared_error(start) * left_out.count
        after += left_out.mean_squared_error(solution) * left_out.count
    gain = 10 * math.log10(max(before, 1e-30) / max(after, 1e-30))
    return gain if math.isfinite(gain) else -math.inf


def _features_and_targets(network: UpscalingNetwork, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """What the upsampler reads, and what it should give for each LR pixel, on the scale of the body."""
    if isinstance(network, IDN):
        low, high = network.as_input(low), network.as_input(high)
        high = high - network.skip(low)
    height, width = low.shape[-2:]
    features = network.forward_features(pad_to_minimum(low, network.minimum_size))[..., :height, :width]
    return features, F.pixel_unshuffle(high * network.img_range, network.upscale)


def _with_three_taps(phases: Phases) -> Phases:
    surplus = (phases.weight.shape[-1] - TAPS) // 2
    return Phases(phases.weight[..., surplus : surplus + TAPS, surplus : surplus + TAPS], phases.bias)


def _one_bias(bias: Tensor, upscale: int) -> Tensor:
    """A deconvolution has one bias a colour, not one a phase."""
    return bias.reshape(-1, upscale**2).mean(dim=1).repeat_interleave(upscale**2)
