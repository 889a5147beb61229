"""Fixtures that the conftest files of several folders take over."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.models import SMALL


@pytest.fixture
def options(tmp_path: Path) -> dict:
    """Options of a fine-tuning from `start.pth` for x3, small enough to be built in milliseconds."""
    for folder in ('models', 'training_states'):
        (tmp_path / folder).mkdir()
    return {
        'name': 'test',
        'num_gpu': 0,
        'is_train': True,
        'dist': False,
        'rank': 0,
        'scale': 3,
        'network_g': {'type': 'RFDN', 'upscale': 3, **SMALL},
        'path': {
            'models': str(tmp_path / 'models'),
            'training_states': str(tmp_path / 'training_states'),
            'pretrain_network_g': str(tmp_path / 'start.pth'),
            'strict_load_g': False,
        },
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [10], 'gamma': 0.5},
            'pixel_opt': {'type': 'L1Loss'},
            'upsampler_start': 'resampled',
        },
    }
