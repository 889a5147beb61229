"""The networks, one file each, and their registration with BasicSR and mmengine."""

from __future__ import annotations

import inspect
from typing import Any

from rfdn_plugin import compat
from rfdn_plugin.archs.idn import IDN
from rfdn_plugin.archs.imdn import IMDN, IMDN_R
from rfdn_plugin.archs.network import UpscalingNetwork
from rfdn_plugin.archs.rfanet import RFANet
from rfdn_plugin.archs.rfdn import E_RFDN, RFDN, RFDN_L

NETWORKS: dict[str, type[UpscalingNetwork]] = {
    cls.__name__: cls for cls in (RFDN, RFDN_L, E_RFDN, IMDN, IMDN_R, IDN, RFANet)
}
"""Every network of this package by the name that an option file uses (`network_g.type`)."""


START_ONLY = ('interpolation_start',)
"""Arguments of a network that say how it starts, not what it is."""


def constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Every parameter that a class's constructor takes by name; `**settings` stands for those of its base class."""
    parameters: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        own = dict(inspect.signature(vars(base)['__init__']).parameters)
        own.pop('self', None)
        keywords = [name for name, parameter in own.items() if parameter.kind is inspect.Parameter.VAR_KEYWORD]
        for name in keywords:
            own.pop(name)
        parameters = {**own, **parameters}
        if not keywords:
            break
    return parameters


def full_arguments(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments that define a network of `NETWORKS`: the given arguments and the defaults of all others but `START_ONLY`."""
    defaults = {key: parameter.default for key, parameter in constructor_parameters(NETWORKS[name]).items()}
    return {key: value for key, value in {**defaults, **given}.items() if key not in START_ONLY}


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
