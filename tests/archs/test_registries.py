"""Every network is known to BasicSR and to mmengine by its name, each in a fresh process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rfdn_plugin.archs import NETWORKS

SCRIPTS = {
    'mmengine': """
import rfdn_plugin
from mmengine.registry import MODELS
import mmengine.model
for name in {names}:
    net = MODELS.build(dict(type=name, upscale=2, num_feat=16, num_block=1))
    assert type(net).__name__ == name and net.upscale == 2, name
net = MODELS.build(dict(type='RFDN', upscale=2))
assert sum(p.numel() for p in net.parameters()) == 534036
""",
    'basicsr': """
import rfdn_plugin
from basicsr.archs import build_network
for name in {names}:
    net = build_network(dict(type=name, upscale=2, num_feat=16, num_block=1))
    assert type(net).__name__ == name and net.upscale == 2, name
""",
}


@pytest.mark.parametrize('registry', SCRIPTS)
def test_registry_builds_every_network(registry: str):
    script = SCRIPTS[registry].format(names=sorted(NETWORKS))
    finished = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
