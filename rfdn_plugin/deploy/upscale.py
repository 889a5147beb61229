"""Images as arrays through a network: any size, any number of bits, grey, transparent, within the memory that there is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from rfdn_plugin.deploy import memory
from rfdn_plugin.deploy.backends import kind_of
from rfdn_plugin.deploy.choice import Form, open_form
from rfdn_plugin.deploy.inference import PRECISIONS, InferenceForm, inference_form
from rfdn_plugin.deploy.layers import Region
from rfdn_plugin.deploy.parts import Report, regions, run_in_parts
from rfdn_plugin.utils.errors import RFDNError

DEFAULT_MODEL = 'zoo:RFDN_x2'

TILE_MARGIN = 32
"""LR pixels around an ordinary tile that are computed and thrown away: more than the convolutions of RFDN (27) see."""


class Upscaler:
    """A network that is ready to upscale images, one after the other.

    Args:
        model: A network of this package, a weights file, `zoo:NAME` (`rfdn list --zoo`), or an exported model (.onnx, .xml,
            .param).
        precision: 'fp32'; 'bf16' (faster on processors that have it, about 0.01 dB below); 'auto' is fp32, which is exact, or
            what an exported model was made for. Other backends have further ones.
        backend: 'torch', 'onnxruntime', 'openvino', 'ncnn', or 'auto' for the fastest that is installed, which is measured
            once and remembered; None is PyTorch, or the first installed one that reads an exported model. A network's
            images that do not fit into the memory are computed by PyTorch.
        side: Of the images that are to come, in pixels, for 'auto'.
        device: Where it runs, as 'cpu' or 'cuda'; where the network is, if not given.
        tile: 0, or the side in LR pixels of tiles that are upscaled by themselves. It needs little memory and differs from
            the whole image, because the attention sees one tile only: by 47 to 61 dB PSNR. Without it an image that does
            not fit is worked through in parts with the result of the whole.
        memory: The most bytes that the process may use; what is free, if not given.
        self_ensemble: Average the outputs of the 8 turned and mirrored images: 8 times the work, as a rule 0.05 to 0.1 dB.
        named: What a weights file does not say: `type`, `img_range`, `param_key`, ... as for `load`; of an exported model
            from elsewhere `img_range`.

    Attributes:
        scale: The scale factor.
        network: The network, None of an exported model.
        form: What computes.
        last_way: How the last image was computed ('whole', or in which parts).

    Raises:
        RFDNError: The weights cannot be read or identified, or the backend cannot run them or has no such precision.
        TypeError: Something is named that this model does not use.
    """

    def __init__(
        self,
        model: nn.Module | str | Path = DEFAULT_MODEL,
        *,
        precision: str = 'auto',
        backend: str | None = None,
        side: int = 256,
        device: str | torch.device | None = None,
        tile: int = 0,
        memory: int | None = None,
        self_ensemble: bool = False,
        **named: Any,
    ) -> None:
        self.network: nn.Module | None = None
        img_range = None
        if isinstance(model, nn.Module):
            self.network = model
        elif kind_of(model) == 'network':
            from rfdn_plugin.weights.loading import load_network

            self.network, named = load_network(model, **named)[0], {}
        else:
            img_range = named.pop('img_range', None)
        if unused := [name for name, value in named.items() if value is not None]:
            of = 'an exported model' if self.network is None else 'a network that is loaded'
            raise TypeError(f'{of} does not use {", ".join(unused)}: leave that out.')
        if tile < 0:
            raise RFDNError(f'tile is {tile}: it must be 0 or the side of a tile.')
        self.form: Form = open_form(
            self.network if self.network is not None else cast(str | Path, model),
            backend=backend,
            precision=precision,
            device=device,
            side=side,
            img_range=img_range,
        )
        self.scale = self.form.scale
        self.tile, self.memory, self.self_ensemble = tile, memory, self_ensemble
        self.last_way = ''

    def __call__(self, image: np.ndarray, report: Report = lambda share: None) -> np.ndarray:
        """Upscale an image.

        Args:
            image: H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGB and alpha), of uint8 (0..255), uint16 (0..65535) or
                float (0..1). H and W from 1.
            report: Called as the work goes on with the share of it that was done since; the shares sum to 1.

        Returns:
            The enlarged image, of the same kind and type. Alpha is upscaled as a grey image.

        Raises:
            ValueError: It is no such array.
            RFDNError: It needs more memory than there is even in parts.
        """
        _check(image)
        height, width = image.shape[:2]
        if image.ndim == 3 and image.shape[2] == 4:
            colours = self(image[..., :3], lambda share: report(share / 2))
            alpha = self.upscale_alpha(np.ascontiguousarray(image[..., 3]), lambda share: report(share / 2))
            return np.dstack([colours, alpha])
        shape = (height * self.scale, width * self.scale, *image.shape[2:])
        output = np.empty(shape, image.dtype)
        if self.self_ensemble:
            self._ensemble(image, output, report)
        else:
            self._run(image, partial(_store, output, scale=self.scale), report)
        return output

    def upscale_alpha(self, alpha: np.ndarray, report: Report = lambda share: None) -> np.ndarray:
        """Upscale the alpha channel of an image, H x W, as a grey image; a constant one stays so to the last digit."""
        if alpha.min() != alpha.max():
            return self(alpha, report)
        report(1.0)
        return np.full([side * self.scale for side in alpha.shape], alpha.flat[0])

    def _ensemble(self, image: np.ndarray, output: np.ndarray, report: Report) -> None:
        total = np.zeros(output.shape, np.float32)
        for turns in range(4):
            for mirrored in (False, True):
                turned = np.rot90(image[:, ::-1] if mirrored else image, turns)
                whole = np.empty(
                    (turned.shape[0] * self.scale, turned.shape[1] * self.scale, *image.shape[2:]), np.float32
                )
                self._run(
                    np.ascontiguousarray(turned),
                    partial(_store, whole, scale=self.scale, clip=False),
                    lambda share: report(share / 8),
                )
                back = np.rot90(whole, -turns)
                total += back[:, ::-1] if mirrored else back
        _round_into(output, total / 8)

    def _run(self, image: np.ndarray, store: Callable[[Region, np.ndarray], None], report: Report) -> None:
        """Compute an image of one or three channels; `store` takes LR regions and their outputs as 32-bit floats."""
        if self.form.in_channels != 1:
            self._run_network(image, store, report)
            return
        from rfdn_plugin.deploy.luma import upscale_luma

        colours = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        enlarged = upscale_luma(colours, self.scale, lambda luma, put: self._run_network(luma, put, report))
        everything = Region(0, image.shape[0], 0, image.shape[1])
        store(everything, enlarged if image.ndim == 3 else enlarged.mean(axis=2))

    def _run_network(self, image: np.ndarray, store: Callable[[Region, np.ndarray], None], report: Report) -> None:
        height, width = image.shape[:2]
        channels = self.form.in_channels

        def read(region: Region) -> Tensor:
            return _as_tensor(image[region.top : region.bottom, region.left : region.right], channels)

        def write(region: Region, part: Tensor) -> None:
            store(region, _as_array(part, image.ndim))

        if self.tile:
            self.last_way = f'tiles of {self.tile} pixels'
            self._run_tiles(height, width, read, write, report)
            return
        budget = memory.available(self.memory, self.form.device) - self._result_bytes(image)
        form = self._form_for(height, width, budget)
        while True:
            way = memory.choose(form, height, width, budget)
            self.last_way = str(way)
            done: list[float] = []
            try:
                if not way.tile:
                    everything = Region(0, height, 0, width)
                    write(everything, form(read(everything)))
                    report(1.0)
                else:

                    def tell(share: float, done: list[float] = done) -> None:
                        done.append(share)
                        report(share)

                    parts = cast(InferenceForm, form)  # the others have one way only
                    run_in_parts(parts, height, width, read, write, tile=way.tile, keep=way.keep, report=tell)
                return
            except (MemoryError, RuntimeError) as error:
                smaller = [other for other in memory.ways(form, height, width) if other.bytes < way.bytes]
                if not memory.out_of_memory(error) or not smaller:
                    raise
                report(-sum(done))
                budget = smaller[0].bytes  # the system has promised more than it gives

    def _result_bytes(self, image: np.ndarray) -> int:
        """What the result takes, which is not yet in memory when the way to compute is chosen."""
        values = image.size * self.scale**2
        return values * (image.itemsize + (8 if self.self_ensemble else 0))

    def _form_for(self, height: int, width: int, budget: int) -> Form:
        """PyTorch's form for what another runtime has no memory for: it can compute in parts."""
        if isinstance(self.form, InferenceForm) or self.network is None:
            return self.form
        if memory.ways(self.form, height, width)[0].bytes <= budget:
            return self.form
        precision = self.form.precision if self.form.precision in PRECISIONS else 'fp32'
        return inference_form(self.network, precision=precision)

    def _run_tiles(
        self,
        height: int,
        width: int,
        read: Callable[[Region], Tensor],
        write: Callable[[Region, Tensor], None],
        report: Report,
    ) -> None:
        for region in regions(height, width, self.tile):
            around = region.grown(TILE_MARGIN, height, width)
            rows, columns = region.within(around)
            output = self.form(read(around))
            s = self.scale
            part = output[..., rows.start * s : rows.stop * s, columns.start * s : columns.stop * s]
            write(region, part)
            report((region.bottom - region.top) * (region.right - region.left) / (height * width))


def _check(image: np.ndarray) -> None:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)) or 0 in image.shape:
        raise ValueError(f'image has the shape {image.shape}: it must be H x W, H x W x 3 or H x W x 4.')
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f'image has the type {image.dtype}: it must be uint8, uint16 or float.')
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        raise ValueError('image holds values that are no finite numbers.')


def _as_tensor(image: np.ndarray, channels: int) -> Tensor:
    """1 x channels x H x W, 0 to 1, in 32-bit floats."""
    values = image.astype(np.float32)
    if image.dtype.kind == 'u':
        values /= np.iinfo(image.dtype).max
    if values.ndim == 2:
        values = np.repeat(values[..., None], channels, axis=2)
    return torch.from_numpy(values).permute(2, 0, 1)[None]


def _as_array(output: Tensor, ndim: int) -> np.ndarray:
    """H x W x 3, or H x W of a grey image: the mean of its three colours."""
    array = output[0].float().cpu().permute(1, 2, 0).numpy()
    if not np.isfinite(array).all():
        raise RFDNError('the output holds values that are no finite numbers: the weights are damaged.')
    return array.mean(axis=2) if ndim == 2 else array


def _store(output: np.ndarray, region: Region, part: np.ndarray, *, scale: int, clip: bool = True) -> None:
    place = output[region.top * scale : region.bottom * scale, region.left * scale : region.right * scale]
    if clip:
        _round_into(place, part)
    else:
        place[...] = part


def _round_into(place: np.ndarray, values: np.ndarray) -> None:
    """Values from 0 to 1 in the type of `place`, which they are written to: clipped, whole numbers rounded."""
    values = values.clip(0, 1)
    if place.dtype.kind == 'u':
        values *= np.iinfo(place.dtype).max
        np.rint(values, out=values)
    place[...] = values
