"""The upsampler solved in closed form: ridge-regularised least squares from images.

The output of every network here is linear in its upsampler: each HR pixel is a weighted sum of the features in a 3x3
neighbourhood, plus a bias. With the body fixed, the weights that give the smallest squared error over a set of
images are the solution of normal equations (451 unknowns for each of the 3 r r phases at 50 features). They are
accumulated in 64-bit floats image by image, so the memory does not grow with the number of images.

Each image counts by the inverse of its error before the fit: what is then smallest is the mean of the images'
relative errors, which is what a mean PSNR over images measures; unweighted, a few rough textures would outvote all the
rest. That and the ridge were chosen on images that were left out of the fit (docs/transfer.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_plugin.archs.blocks import pad_to_minimum
from rfdn_plugin.archs.idn import IDN
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.transfer.phases import Phases, read_phases, write_phases

TAPS = 3
RIDGE = 1e-3
"""Of the mean diagonal of the normal matrix, pulling towards the weights before the fit."""
LEAST_ERROR = 1e-6
"""Of the squared peak: the error below which an image gains no more weight (60 dB)."""
ROWS_AT_ONCE = 1 << 15
"""Neighbourhoods in one product: 118 MB in 64-bit floats at 50 features."""

BLOCK = 64
"""Unknowns in one block row of the normal matrix, of which only the upper triangle is summed."""


@dataclass(frozen=True)
class Fit:
    """How well the solved upsampler meets the images that it was solved from.

    Attributes:
        images, pixels: How many images and LR pixels went in.
        gain: How much smaller their squared errors are than before, in dB: of the mean ratio, without clamping or
            rounding, in RGB (in Y for a network of one channel).
    """

    images: int
    pixels: int
    gain: float


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

    def mean_squared_error(self, phases: Phases) -> float:
        """Of `phases` over everything that was added, a mean over pixels with the weights of `include`."""
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


def fit_upsampler(network: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]], ridge: float = RIDGE) -> Fit:
    """Solve the upsampler of `network` from pairs of images and put it in place.

    Args:
        network: At the wanted scale, in eval mode; `transfer.to_scale` gives one. Its upsampler is where the ridge
            pulls to.
        pairs: (LR, HR) images, 3 x h x w and 3 x (scale h) x (scale w), RGB from 0 to 1. Read once, one at a time.
        ridge: See `RIDGE`.

    Returns:
        How well it meets the images.

    Raises:
        RFDNError: No pair had a neighbourhood, a pair's sizes do not fit, or the solution is not finite.
    """
    start = _with_three_taps(read_phases(network))
    num_phases, num_feat = start.weight.shape[:2]
    equations = NormalEquations(num_feat, num_phases)
    least = LEAST_ERROR * float(network.img_range) ** 2
    images = 0
    for low, high in pairs:
        height, width = low.shape[-2:]
        if high.shape[-2:] != (height * network.upscale, width * network.upscale):
            raise RFDNError(
                f'a pair of {height}x{width} and {high.shape[-2]}x{high.shape[-1]} pixels does not fit '
                f'x{network.upscale}: crop the HR to a multiple of the scale.'
            )
        of_image = NormalEquations(num_feat, num_phases)
        with torch.inference_mode():
            of_image.add(*_features_and_targets(network, low[None], high[None]))
        if of_image.count:
            equations.include(of_image, 1 / max(of_image.mean_squared_error(start), least))
            images += 1
    if equations.count == 0:
        raise RFDNError('no image to fit from: give a folder or LMDB with images of at least 3 LR pixels a side.')
    solution = equations.solve(start, ridge)
    if isinstance(network, IDN):
        solution = Phases(solution.weight, _one_bias(solution.bias, network.upscale))
    if not (torch.isfinite(solution.weight).all() and torch.isfinite(solution.bias).all()):
        raise RFDNError('the images do not determine the upsampler: give more of them, or a larger ridge.')
    write_phases(network, solution)
    before, after = equations.mean_squared_error(start), equations.mean_squared_error(solution)
    return Fit(images, equations.count, 10 * math.log10(max(before, 1e-30) / max(after, 1e-30)))


def _features_and_targets(network: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
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
