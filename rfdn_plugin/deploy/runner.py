"""What every backend gives: a model that is ready to run."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from rfdn_plugin.utils.errors import RFDNError

PRECISIONS = ('fp32', 'fp16', 'bf16', 'int8')
"""32-bit floats, the two kinds of 16-bit floats, and 8-bit whole numbers (of a model made for it)."""


class Runner(ABC):
    """A model that is ready to run, whichever runtime runs it.

    Call it with N x 3 x H x W (RGB, 0..1, 32-bit floats); it gives N x 3 x (scale H) x (scale W) of the same kind, not
    clamped unless the model does so itself.

    Attributes:
        scale: The scale factor.
        backend: 'torch', 'onnxruntime', 'openvino' or 'ncnn'.
        precision: One of `PRECISIONS`: what most of the arithmetic is done in.
        threads: How many threads it computes with.
        name: What it was made from, for messages.
        card: What an exported model says of itself; nothing of others.
        img_range: The values that the model works on go from 0 to this.
    """

    backend: str
    scale: int
    img_range = 1.0

    def __init__(self, *, precision: str, threads: int, name: str) -> None:
        self.precision = precision
        self.threads = threads
        self.name = name
        self.card: dict[str, str] = {}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Enlarge images.

        Args:
            images: N x 3 x H x W, float32, RGB, values from 0 to 1, any size from 1 x 1.

        Returns:
            N x 3 x (scale H) x (scale W), float32.

        Raises:
            ValueError: `images` is not of this kind.
            RFDNError: The runtime failed (no memory, as a rule).
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.float32:
            raise ValueError(f'{self.name} takes N x 3 x H x W in float32, not {images.shape} in {images.dtype}.')
        if self.img_range == 1:
            return self.run(images)
        return self.run(images * np.float32(self.img_range)) / np.float32(self.img_range)

    @abstractmethod
    def run(self, images: np.ndarray) -> np.ndarray:
        """`__call__` without its checks, in the values that the model works on."""

    def find_scale(self, side: int = 32) -> int:
        """The scale factor, from the output of a small image.

        Raises:
            RFDNError: The model does not run, its output is no enlarged image, or holds values that are not finite.
        """
        image = np.full((1, 3, side, side), 0.5, np.float32)
        output = self.run(image)
        scale = output.shape[-1] // side
        if output.shape != (1, 3, side * scale, side * scale) or scale < 1:
            raise RFDNError(f'{self.name} gives {output.shape} for {image.shape}: it is no super-resolution of RGB.')
        if not np.isfinite(output).all():
            raise RFDNError(f'{self.name} gives values that are no finite numbers: its weights are damaged.')
        return scale
