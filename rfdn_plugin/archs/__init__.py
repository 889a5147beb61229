"""The networks, one file each, and their registration with BasicSR and mmengine."""

from __future__ import annotations

from torch import nn

from rfdn_plugin import compat
from rfdn_plugin.archs.idn import IDN
from rfdn_plugin.archs.imdn import IMDN, IMDN_R
from rfdn_plugin.archs.rfanet import RFANet
from rfdn_plugin.archs.rfdn import E_RFDN, RFDN, RFDN_L

NETWORKS: dict[str, type[nn.Module]] = {cls.__name__: cls for cls in (RFDN, RFDN_L, E_RFDN, IMDN, IMDN_R, IDN, RFANet)}
"""Every network of this package by the name that an option file uses (`network_g.type`)."""


def register_with_basicsr() -> None:
    """Make BasicSR's ARCH_REGISTRY know every network."""
    from basicsr.utils.registry import ARCH_REGISTRY

    for cls in NETWORKS.values():
        compat.register(ARCH_REGISTRY, cls)


def register_with_mmengine() -> None:
    """Make mmengine's MODELS know every network: `MODELS.build(dict(type='RFDN', upscale=2))`."""
    from mmengine.registry import MODELS

    for name, cls in NETWORKS.items():
        owner = MODELS.module_dict.get(name)
        if owner is None or owner.__module__.startswith(f'{__package__}.'):
            MODELS.register_module(name=name, module=cls, force=True)
