"""The package from code, in two calls: `rfdn_plugin.load` and `rfdn_plugin.upscale`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rfdn_plugin.archs.network import UpscalingNetwork
from rfdn_plugin.deploy.upscale import DEFAULT_MODEL, Upscaler
from rfdn_plugin.weights.loading import load_network
from rfdn_plugin.zoo import weights_path


def load(
    weights: str | Path = DEFAULT_MODEL,
    *,
    type: str | None = None,
    img_range: float | None = None,
    param_key: str | None = None,
    device: str | torch.device = 'cpu',
    **arguments: Any,
) -> UpscalingNetwork:
    """Load a network with its weights.

    Args:
        weights: A .pth, .pkl or .safetensors file of any layout, or `zoo:NAME` for weights that this package
            ships (`rfdn list --zoo`).
        type: The network, where the file does not show it: `RFDN`, `RFDN_L`, `E_RFDN`, `IMDN`, `IMDN_R`, `IDN` or
            `RFANet`.
        img_range: The range that its body works on (1 or 255), where the file does not say it.
        param_key: Which weights of several, as 'params' or 'params_ema'; the averaged ones where not given.
        device: Where it shall be.
        arguments: Further arguments of the network that weights do not show, as `block_residual=False`.

    Returns:
        The network in eval mode, in 32-bit floats: N x C x H x W with values from 0 to 1 (RGB; IDN: Y) to
        N x C x (scale H) x (scale W), not clamped, any size from 1 x 1. `network.upscale` is the scale factor.

    Raises:
        RFDNError: The file cannot be read or identified; the message says what to name.

    >>> import rfdn_plugin, torch
    >>> network = rfdn_plugin.load('zoo:RFDN_x2')
    >>> network.upscale
    2
    >>> with torch.inference_mode():
    ...     network(torch.rand(1, 3, 24, 32)).shape
    torch.Size([1, 3, 48, 64])
    """
    network, _ = load_network(weights, type=type, img_range=img_range, param_key=param_key, **arguments)
    return network.to(device)


def upscale(
    image: np.ndarray,
    model: nn.Module | str | Path = DEFAULT_MODEL,
    *,
    precision: str = 'auto',
    backend: str | None = None,
    device: str | torch.device | None = None,
    tile: int = 0,
    memory: int | None = None,
    self_ensemble: bool = False,
    **named: Any,
) -> np.ndarray:
    """Upscale an image.

    For many images with a network of your own, make a `rfdn_plugin.deploy.upscale.Upscaler` once and call it; models
    that are named by a file are kept ready between calls (the last four).

    Args:
        image: H x W x 3 (RGB), H x W (grey) or H x W x 4 (RGB and alpha); uint8 (0..255), uint16 (0..65535) or float
            (0..1). OpenCV's images are BGR: give `image[..., ::-1]`.
        model: A network (as `load` gives), a weights file, `zoo:NAME`, or an exported model (.onnx, .xml, .param).
        precision: 'fp32', 'bf16' (faster on processors that have it, about 0.01 dB below) or 'auto', which is fp32.
        backend: 'torch', 'onnxruntime', 'openvino', 'ncnn', or 'auto' for the fastest that is installed (measured once);
            None is PyTorch, or the first installed one that reads an exported model.
        device: Where to compute; where the network is, if not given.
        tile: 0, or the side in LR pixels of tiles that are upscaled by themselves: little memory, a slightly different
            result. Without it an image that does not fit is computed in parts, with the result of the whole.
        memory: The most bytes that the process may use; what is free, if not given.
        self_ensemble: Average over the 8 turned and mirrored images: 8 times the work.
        named: What a weights file does not say, as for `load`: `type`, `img_range`, `param_key`; of an exported model from
            elsewhere `img_range`.

    Returns:
        The image enlarged by the network's scale, of the same kind and type; floats are clipped to 0..1.

    Raises:
        ValueError: `image` is no such array.
        TypeError: Something is named that this model does not use.
        RFDNError: The weights cannot be read, or the memory does not suffice.

    >>> import numpy as np, rfdn_plugin
    >>> image = np.zeros((24, 32, 3), np.uint8)
    >>> large = rfdn_plugin.upscale(image, 'zoo:RFDN_x2')
    >>> large.shape, large.dtype
    ((48, 64, 3), dtype('uint8'))
    """
    settings: dict[str, Any] = {'precision': precision, 'backend': backend, 'device': device, 'tile': tile}
    settings |= {'memory': memory, 'self_ensemble': self_ensemble}
    if isinstance(model, nn.Module):
        return Upscaler(model, **settings, **named)(image)
    path = weights_path(model)
    version = path.stat().st_mtime_ns if path.exists() else 0
    key = tuple(sorted({**settings, **named}.items()))
    return _ready(str(path), version, key)(image)


@lru_cache(maxsize=4)
def _ready(path: str, version: int, settings: tuple[tuple[str, Any], ...]) -> Upscaler:
    """An upscaler for a file; `version` changes with the file."""
    return Upscaler(path, **dict(settings))
