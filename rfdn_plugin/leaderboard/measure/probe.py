"""A look at one image before hours of work: wrong value range and wrong colour order give themselves away."""

from __future__ import annotations

import numpy as np

from rfdn_plugin.leaderboard.measure.entries import Entry
from rfdn_plugin.leaderboard.measure.metrics import Reference
from rfdn_plugin.leaderboard.measure.predictors import NetworkPredictor, Predictor, RunnerPredictor, bicubic
from rfdn_plugin.leaderboard.measure.sets import SetImage
from rfdn_plugin.leaderboard.options import ExportedEntry, ImagesEntry

BELOW_BICUBIC = 1.0
"""A model that is so many dB below bicubic deserves a second look. A wrong range costs 6 dB, 2 to 3 below bicubic."""
CLEARLY_BETTER = 2.0
"""By so many dB another range or order must be better to be named as the cause."""
FLAT = 60.0
"""Of an image that bicubic enlarges to so many dB and more (a black one: infinitely many) nothing can be said."""


def suspicion(entry: Entry, image: SetImage, device: str = 'cpu') -> str | None:
    """Describe in one line what looks wrong with an entry, or None.

    Args:
        entry: An entry of any kind.
        image: An image of its scale.
        device: Where networks run.
    """
    reference = Reference(image.hr, crop=image.scale)

    def psnr(predictor: Predictor) -> float:
        return reference.score(predictor(image))['psnr_y']

    predictor = entry.predictor(device)
    where = f'{image.set_name}/{image.name}'
    if isinstance(entry.options, ImagesEntry) and (order := _colour_order(reference, predictor(image))):
        return f'{where}: {order}'
    own, baseline = psnr(predictor), psnr(bicubic)
    if baseline > FLAT or own > baseline - BELOW_BICUBIC:
        return None
    below = f'{where}: {own:.2f} dB, {baseline - own:.2f} below bicubic'
    if not entry.has_costs:
        return f'{below}: are these images of this set?'
    other_range = 1.0 if entry.img_range > 1 else 255.0
    found = psnr(_with_range(entry, other_range, device))
    # Half-trained weights are below bicubic with either range, and may be less far below with the wrong one.
    if found > own + CLEARLY_BETTER and found > baseline - BELOW_BICUBIC:
        said = {'metadata': ' as its card says', 'known weights': ' as these public weights have'}
        source = said.get(entry.range_source, '')
        return (
            f'{below} with img_range {entry.img_range:g}{source}, and {found:.2f} with {other_range:g}: is that right?'
        )
    return f'{below}: half-trained, or weights of another network?'


def _with_range(entry: Entry, img_range: float, device: str) -> Predictor:
    """The entry with 0..255 in place of 0..1, or the other way round."""
    if isinstance(entry.options, ExportedEntry):
        return RunnerPredictor(entry.runner(img_range=img_range))
    return NetworkPredictor(entry.network(), device, gain=img_range / entry.img_range)


def _colour_order(reference: Reference, sr: np.ndarray) -> str | None:
    as_given, swapped = (reference.score(np.ascontiguousarray(rgb))['psnr_rgb'] for rgb in (sr, sr[..., ::-1]))
    if swapped > as_given + CLEARLY_BETTER:
        return f'{as_given:.2f} dB on RGB, {swapped:.2f} with red and blue exchanged: the files are BGR'
    return None
