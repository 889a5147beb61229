"""A look at one image before hours of work: wrong value range and wrong colour order give themselves away."""

from __future__ import annotations

import numpy as np

from rfdn_plugin.leaderboard.measure.entries import Entry
from rfdn_plugin.leaderboard.measure.metrics import Reference
from rfdn_plugin.leaderboard.measure.predictors import NetworkPredictor, OnnxPredictor, Predictor, bicubic
from rfdn_plugin.leaderboard.measure.sets import SetImage
from rfdn_plugin.leaderboard.options import ImagesEntry, NetworkEntry, OnnxEntry

BELOW_BICUBIC = 1.0
"""A model that is so many dB below bicubic deserves a second look. A wrong range costs 6 dB, 2 to 3 below bicubic."""
CLEARLY_BETTER = 2.0
"""By so many dB another range or order must be better to be named as the cause."""


def suspicion(entry: Entry, image: SetImage, device: str = 'cpu') -> str | None:
    """What looks wrong with an entry, in one line, or None.

    Args:
        entry: Of any kind.
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
    if own > baseline - BELOW_BICUBIC:
        return None
    below = f'{where}: {own:.2f} dB, {baseline - own:.2f} below bicubic'
    if not isinstance(entry.options, NetworkEntry | OnnxEntry):
        return f'{below}: are these images of this set?'
    other_range, other = _other_range(entry, predictor)
    found = psnr(other)
    # Half-trained weights are below bicubic with either range, and may be less far below with the wrong one.
    if found > own + CLEARLY_BETTER and found > baseline - BELOW_BICUBIC:
        said = {'metadata': ' as its card says', 'known weights': ' as these public weights have'}
        source = said.get(entry.range_source, '')
        return (
            f'{below} with img_range {_range_of(entry):g}{source}, and {found:.2f} with {other_range:g}: is that right?'
        )
    return f'{below}: half-trained, or weights of another network?'


def _other_range(entry: Entry, predictor: Predictor) -> tuple[float, Predictor]:
    """The entry with 0..255 in place of 0..1, or the other way round."""
    img_range = _range_of(entry)
    other = 1.0 if img_range > 1 else 255.0
    if isinstance(predictor, NetworkPredictor):
        return other, NetworkPredictor(predictor.network, predictor.device, gain=other / img_range)
    return other, OnnxPredictor(entry.options.weights, other)


def _range_of(entry: Entry) -> float:
    return entry.arguments.get('img_range', getattr(entry.options, 'img_range', None) or 1.0)


def _colour_order(reference: Reference, sr: np.ndarray) -> str | None:
    as_given, swapped = (reference.score(np.ascontiguousarray(rgb))['psnr_rgb'] for rgb in (sr, sr[..., ::-1]))
    if swapped > as_given + CLEARLY_BETTER:
        return f'{as_given:.2f} dB on RGB, {swapped:.2f} with red and blue exchanged: the files are BGR'
    return None
