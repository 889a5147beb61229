"""A program of a user, with types: pytest runs it, and `mypy` checks it strictly (see pyproject.toml).

An `ignore` below is a mistake that mypy must find: where it finds none, it reports the ignore as unused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import assert_type

import rfdn_plugin
from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.archs.network import UpscalingNetwork
from rfdn_plugin.deploy.upscale import Upscaler
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.loading import load_network


def test_the_functions_of_the_package() -> None:
    network = rfdn_plugin.load('zoo:RFDN_x2', device='cpu')
    assert_type(network.upscale, int)
    image = np.zeros((4, 5, 3), np.uint8)
    large = rfdn_plugin.upscale(image, network, self_ensemble=True)
    assert_type(large, np.ndarray)
    assert large.shape == (8, 10, 3)


def test_what_a_program_takes_from_the_modules() -> None:
    network, identity = load_network('zoo:RFDN_x2')
    assert_type(network, UpscalingNetwork)
    assert_type(identity.type, str)
    assert identity.type in NETWORKS
    upscaler = Upscaler(network)
    assert_type(upscaler.scale, int)
    large: np.ndarray = upscaler(np.zeros((3, 2), np.uint8), report=lambda share: None)
    assert large.shape == (6, 4)
    problem: Exception = RFDNError('where: what; what to do')
    assert str(problem).startswith('where')


if TYPE_CHECKING:
    rfdn_plugin.upscal(np.zeros((4, 4, 3)))  # type: ignore[attr-defined]
    rfdn_plugin.upscale('photo.png')  # type: ignore[arg-type]
    rfdn_plugin.upscale(np.zeros((4, 4, 3)), tile='64')  # type: ignore[arg-type]
    rfdn_plugin.load(3)  # type: ignore[arg-type]
    Upscaler(tiles=4).scale = '2'  # type: ignore[assignment]
