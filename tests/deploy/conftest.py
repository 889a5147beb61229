"""What the tests of deployment share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.weights.card import model_card
from rfdn_plugin.weights.convert import write_weights


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of two small networks, RFDN_x2 and E_RFDN_x3, that begin as an interpolation."""
    folder = tmp_path / 'zoo'
    for name, scale in (('RFDN', 2), ('E_RFDN', 3)):
        torch.manual_seed(scale)
        arguments = {'num_feat': 12, 'num_block': 2, 'upscale': scale}
        network = NETWORKS[name](**arguments, interpolation_start=True)
        card = model_card(name, arguments, training_data='nothing', licence='MIT')
        write_weights(folder / f'{name}_x{scale}.safetensors', network.state_dict(), card, 'safetensors')
    monkeypatch.setenv('RFDN_ZOO', str(folder))
    return folder
