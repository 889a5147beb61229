"""From a file to a network that runs: the one call for every command that takes weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.archs.network import UpscalingNetwork
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.checkpoint import Checkpoint, read_checkpoint
from rfdn_plugin.weights.identify import Identity, identify


def load_network(
    path: str | Path,
    *,
    type: str | None = None,
    img_range: float | None = None,
    param_key: str | None = None,
    **overrides: Any,
) -> tuple[UpscalingNetwork, Identity]:
    """Read a checkpoint of any layout, find its network, build it and load the weights strictly.

    Args:
        path: A .pth, .pkl or .safetensors file, or `zoo:NAME` for weights that this package ships.
        type: The network, where the file does not show it; a key of `archs.NETWORKS`.
        img_range: The range that its body works on (1 or 255), where the file does not say it.
        param_key: Which weights of several, as 'params' or 'params_ema'; the averaged ones where not given.
        overrides: Further arguments of the network's constructor.

    Returns:
        The network in eval mode, in 32-bit floats on the CPU, taking and giving values from 0 to 1 in RGB (IDN: also
        Y), and what it is.

    Raises:
        RFDNError: The file cannot be read, belongs to no network here, leaves something unsaid, or holds values that
            are no numbers.
    """
    identity = identify_file(path, type=type, img_range=img_range, param_key=param_key, **overrides)
    return build_network(identity), identity


def identify_file(path: str | Path, *, param_key: str | None = None, **named: Any) -> Identity:
    """Read a checkpoint and find its network without building it; the arguments are those of `load_network`."""
    return identify(read_checkpoint(path, param_key, only_this_key=True), **named)


def build_network(identity: Identity) -> UpscalingNetwork:
    """The network of `identity` with its weights, as `load_network` gives it.

    Raises:
        RFDNError: A tensor holds values that are no finite numbers; the message names it.
    """
    check_finite(identity.checkpoint)
    network = NETWORKS[identity.type](**identity.arguments)
    network.load_state_dict({name: tensor.float() for name, tensor in identity.checkpoint.tensors.items()}, strict=True)
    return network.eval()


def check_finite(checkpoint: Checkpoint) -> None:
    """Raise RFDNError, naming the tensor, where weights hold values that are not finite."""
    for name, tensor in checkpoint.tensors.items():
        if not torch.isfinite(tensor).all():
            raise RFDNError(f'{checkpoint.path}: {name} holds values that are not finite: take an earlier checkpoint.')
