"""Images side by side: HR, bicubic and each entry on the crop where the entries differ most."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rfdn_plugin.utils.files import atomic_write

_PAPER, _INK, _FAINT, _FRAME = (255, 255, 255), (24, 24, 27), (82, 82, 91), (220, 38, 38)
_GAP = 10
_FONT_SIZE = 15


class Crop(NamedTuple):
    """A square of `size` HR pixels with its top left corner."""

    top: int
    left: int
    size: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """This part of an image, H x W x C; a view."""
        return image[self.top : self.top + self.size, self.left : self.left + self.size]


def most_different_crop(images: Mapping[str, np.ndarray], size: int) -> Crop:
    """Find where super-resolved images of one HR differ most: the square of the largest variance between them.

    Args:
        images: Images of one size, H x W x 3, RGB, uint8. `Bicubic` is left out of the judgement where two others are there:
            it differs from all of them wherever there is an edge.
        size: Side of the square; the image's shorter side where that is less.
    """
    others = {name: image for name, image in images.items() if name != 'Bicubic'}
    judged = others if len(others) > 1 else images
    luma = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in judged.values()])
    return _largest_mean(luma.var(axis=0), size)


def _largest_mean(values: np.ndarray, size: int) -> Crop:
    height, width = values.shape
    size = min(size, height, width)
    sums = cv2.integral(values.astype(np.float64))
    windows = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    top, left = np.unravel_index(windows.argmax(), windows.shape)
    return Crop(int(top), int(left), size)


def error_map(sr: np.ndarray, hr: np.ndarray, largest: float = 64.0) -> np.ndarray:
    """The absolute error of luma as colours (H x W x 3, RGB, uint8): dark is right, bright is `largest` grey levels."""
    difference = cv2.absdiff(cv2.cvtColor(sr, cv2.COLOR_RGB2GRAY), cv2.cvtColor(hr, cv2.COLOR_RGB2GRAY))
    scaled = np.clip(difference.astype(np.float32) * (255 / largest), 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def write_comparison(
    path: str | Path,
    hr: np.ndarray,
    images: Mapping[str, np.ndarray],
    *,
    captions: Mapping[str, str] | None = None,
    title: str = '',
    crop: Crop | None = None,
    size: int = 96,
    columns: int = 4,
) -> Crop:
    """Write a PNG: the whole HR image with the crop marked, and beside it the crop of HR and of every image.

    Args:
        path: The file; written whole or not at all.
        hr: H x W x 3, RGB, uint8.
        images: Super-resolved, of the size of `hr`, by the name to show, in the order to show.
        captions: A second line for a name, e.g. '32.16 dB'.
        title: A line above.
        crop: What to show; by default where the images differ most.
        size: Side of that crop in HR pixels.
        columns: Crops in a row.

    Returns:
        The crop that is shown.

    Raises:
        ValueError: An image is of another size than `hr`.
    """
    for name, image in images.items():
        if image.shape != hr.shape:
            raise ValueError(f'{name} is {image.shape[:2]} and hr {hr.shape[:2]}: they must be equal.')
    crop = crop or most_different_crop(images, size)
    zoom = max(1, round(192 / crop.size))
    captions = captions or {}
    panels = [('HR', captions.get('HR', ''), hr)]
    panels += [(name, captions.get(name, ''), image) for name, image in images.items()]
    columns = min(columns, len(panels))
    side = crop.size * zoom
    label_height = _FONT_SIZE + 6 + (_FONT_SIZE + 4) * any(caption for _, caption, _ in panels)
    cell_height = side + label_height + _GAP
    rows = -(-len(panels) // columns)
    head = _FONT_SIZE + 2 * _GAP if title else _GAP

    grid_height = max(rows, 2) * cell_height - _GAP
    whole, ratio = _fitted(hr, height=grid_height, width=2 * side + _GAP)
    canvas_size = (
        3 * _GAP + whole.width + columns * (side + _GAP) - _GAP,
        head + max(rows * cell_height, whole.height + _GAP),
    )
    canvas = Image.new('RGB', canvas_size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    font, small = ImageFont.load_default(_FONT_SIZE), ImageFont.load_default(_FONT_SIZE - 2)
    if title:
        draw.text((_GAP, _GAP // 2 + 2), _shortened(title, font, canvas.width - 2 * _GAP), _INK, font)
    canvas.paste(whole, (_GAP, head))
    box = [_GAP + crop.left * ratio, head + crop.top * ratio]
    box += [box[0] + crop.size * ratio, box[1] + crop.size * ratio]
    draw.rectangle(box, outline=_FRAME, width=3)
    for number, (name, caption, image) in enumerate(panels):
        x = 2 * _GAP + whole.width + (number % columns) * (side + _GAP)
        y = head + (number // columns) * cell_height
        patch = Image.fromarray(np.ascontiguousarray(crop.of(image)))
        canvas.paste(patch.resize((side, side), Image.Resampling.NEAREST), (x, y))
        draw.text((x, y + side + 3), _shortened(name, font, side), _INK, font)
        if caption:
            draw.text((x, y + side + _FONT_SIZE + 8), _shortened(caption, small, side), _FAINT, small)
    with atomic_write(path) as stream:
        canvas.save(stream, 'PNG')
    return crop


def _fitted(image: np.ndarray, *, height: int, width: int) -> tuple[Image.Image, float]:
    ratio = min(height / image.shape[0], width / image.shape[1])
    size = (max(1, round(image.shape[1] * ratio)), max(1, round(image.shape[0] * ratio)))
    return Image.fromarray(image).resize(size, Image.Resampling.LANCZOS), ratio


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + '…') > width:
        text = text[:-1]
    return text + '…'
