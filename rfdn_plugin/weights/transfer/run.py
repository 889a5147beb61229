"""`rfdn transfer`: weights for another scale, with the upsampler resampled or solved from images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rfdn_plugin.data.bicubic import downscale, mod_crop
from rfdn_plugin.data.images import DecodedImage, ImageError, decode_image, find_images, read_image
from rfdn_plugin.data.lmdb import is_lmdb, reading, shapes_of
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.progress import progress
from rfdn_plugin.utils.text import counted, some_of
from rfdn_plugin.weights.card import card_of
from rfdn_plugin.weights.convert import layout_for, write_weights
from rfdn_plugin.weights.identify import Identity
from rfdn_plugin.weights.transfer.fit import RIDGE, Fit, fit_upsampler
from rfdn_plugin.weights.transfer.resample import to_scale


@dataclass
class FitImages:
    """Pairs of images to fit from: the HR of a folder or an LMDB, and their MATLAB-bicubic LR, read one by one.

    Args:
        source: A folder of images, or an `.lmdb` folder as `rfdn prepare` and BasicSR make them.
        scale: The factor between HR and LR.
        most: As many images at most, evenly spread over the source; None for all.

    Attributes:
        skipped: Names of what was left out, by reason in words, filled while iterating.
    """

    source: Path
    scale: int
    most: int | None = None
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._is_lmdb = is_lmdb(self.source)
        if self._is_lmdb:
            names: list[str] | list[Path] = list(shapes_of(self.source))
        else:
            found, others = find_images([self.source])
            names = [folder / name for folder, name in found]
            for path, reason in others:
                if reason.kind == 'special-file':
                    self._skip(str(reason), path)
        if not names:
            raise RFDNError(f'{self.source} holds no images to fit from: give a folder of HR images or an LMDB.')
        if self.most is not None and self.most < len(names):
            chosen = np.linspace(0, len(names) - 1, self.most).round().astype(int)
            names = [names[i] for i in chosen]
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for name in progress(self.names, description='fit', unit='images'):
            try:
                high = mod_crop(self._read(name).rgb, self.scale)
            except ImageError as error:
                self._skip(str(ImageError(error.kind)), name)
                continue
            if min(high.shape[:2]) < 3 * self.scale:
                self._skip('a side is below 3 LR pixels', name)
                continue
            yield _as_tensor(downscale(high, self.scale)), _as_tensor(high)

    def left_out(self) -> list[str]:
        """A line for each reason for which images were skipped."""
        return [f'{len(names)} skipped: {reason}: {some_of(names)}' for reason, names in self.skipped.items()]

    def _skip(self, reason: str, name: str | Path) -> None:
        self.skipped.setdefault(reason, []).append(Path(name).name)

    def _read(self, name: str | Path) -> DecodedImage:
        if isinstance(name, Path):
            return read_image(name)
        with reading(self.source) as transaction:
            return decode_image(bytes(transaction.get(name.encode('ascii')) or b''))


def _takes_colours(identity: Identity) -> bool:
    """Whether RGB images can go in and be compared with what comes out; an IDN of one channel takes Y from them."""
    colours = tuple(identity.arguments.get(name, 3) for name in ('num_in_ch', 'num_out_ch'))
    return colours == (3, 3) or (identity.type == 'IDN' and colours == (1, 1))


def _as_tensor(rgb: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 to 3 x H x W, 0..1."""
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).float() / 255


def transfer(
    identity: Identity,
    scale: int,
    output: Path,
    *,
    fit: Path | None = None,
    most: int | None = None,
    ridge: float = RIDGE,
) -> Fit | None:
    """Write weights for another scale.

    Args:
        identity: The checkpoint and what it is.
        scale: The wanted scale.
        output: A .safetensors or .pth file.
        fit: A folder or LMDB of HR images from which the upsampler is solved; without it, it is resampled.
        most: As many images at most.
        ridge: See `fit.RIDGE`.

    Returns:
        What the fit is worth, if one was asked for.

    Raises:
        RFDNError: Wrong scale or ending, no images or too few, or a network that a fit is not possible for.
        OSError: The file cannot be written.
    """
    if scale == identity.upscale:
        raise RFDNError(f'{identity.checkpoint.path} is for x{scale} already: give another --to-scale.')
    layout = layout_for(output, identity.checkpoint.path)
    if fit is not None and not _takes_colours(identity):
        colours = [identity.arguments.get(name, 3) for name in ('num_in_ch', 'num_out_ch')]
        raise RFDNError(
            f'{identity.checkpoint.path} takes {colours[0]} and gives {colours[1]} channels, and a fit needs a network '
            'from RGB to RGB, or an IDN of one channel: leave --fit out, the upsampler is resampled.'
        )
    images = None if fit is None else FitImages(fit, scale, most)
    network = to_scale(identity, scale)
    how, result = f'resampled from x{identity.upscale}', None
    if images is not None:
        try:
            result = fit_upsampler(network, images, ridge)
        except RFDNError as error:
            raise RFDNError(
                str(error).rstrip('.') + ''.join(f'; {line}' for line in images.left_out()) + '.'
            ) from error
        source = f'{counted(result.images, "image")} of {images.source.name}, ridge {ridge:g}'
        how = f'solved by least squares from {source}' if result.used else f'{how}; a fit from {source} was no better'
        for line in images.left_out():
            print(line)
    if earlier := identity.checkpoint.metadata.get('upsampler'):
        how += f'; that of x{identity.upscale}: {earlier}'
    at_scale = replace(identity, arguments={**identity.arguments, 'upscale': scale})
    card = card_of(at_scale, upsampler=how, iterations=None, metrics=None)
    write_weights(output, network.state_dict(), card, layout)
    return result
