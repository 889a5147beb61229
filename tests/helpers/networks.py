"""Every network, small enough to be exported and run in moments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from rfdn_plugin.archs import NETWORKS

SMALL = {'IDN': {'num_feat': 16, 'num_block': 1}, 'RFANet': {'num_feat': 12, 'num_block': 1}}
FAMILIES = {'IMDN': {'num_feat': 16, 'num_block': 2}, 'IMDN_R': {'num_feat': 16, 'num_block': 2}}
GREY_LEVEL = 1 / 255


def small_arguments(name: str, **arguments) -> dict:
    """Of a small network of this type, x2 where nothing else is said."""
    return {**{**SMALL, **FAMILIES}.get(name, {'num_feat': 12, 'num_block': 2}), 'upscale': 2, **arguments}


def small_network(name: str, **arguments) -> nn.Module:
    return NETWORKS[name](**small_arguments(name, **arguments)).eval()


def small_weights(folder: Path, name: str, **arguments) -> tuple[Path, nn.Module]:
    """A .safetensors file with its card, and the network that it was written from."""
    from rfdn_plugin.weights.card import model_card
    from rfdn_plugin.weights.convert import write_weights

    network = small_network(name, **arguments)
    path = folder / f'{name}.safetensors'
    write_weights(path, network.state_dict(), model_card(name, small_arguments(name, **arguments)), 'safetensors')
    return path, network


def noise(count: int, height: int, width: int) -> np.ndarray:
    """N x 3 x H x W, float32, 0..1, the same each time."""
    return np.random.default_rng(0).random((count, 3, height, width), np.float32)


def outputs_of(network: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(x)).numpy()
