"""What the models of BasicSR's registry need of an option file: one network, two of them, or something else."""

from __future__ import annotations

from typing import Any, Literal

from rfdn_plugin.options.registry import registered

Kind = Literal['one network', 'two networks', 'unknown']

ONE_NETWORK = ('RFDNModel', 'SRModel', 'SwinIRModel', 'RealESRNetModel')
"""The models whose options are known entirely, but for the degradations of RealESRNetModel."""

_OTHER_TASKS = {
    'VideoBaseModel': 'works on video clips',
    'VideoRecurrentModel': 'works on video clips',
    'EDVRModel': 'works on video clips',
    'StyleGAN2Model': 'makes images without LR',
    'HiFaceGANModel': 'makes faces, with its own networks and losses',
}
_ON_GPU_ONLY = ('RealESRGANModel', 'RealESRNetModel')


def model_kind(name: Any) -> Kind:
    """How many networks a registered model trains, as far as that is known here; 'unknown' for other packages' models."""
    if not isinstance(name, str):
        return 'one network'
    if name in ONE_NETWORK:
        return 'one network'
    return 'two networks' if 'SRGANModel' in _base_names(name) else 'unknown'


def has_open_options(name: Any) -> bool:
    """Whether a model may read keys that no section here describes."""
    return model_kind(name) != 'one network' or name == 'RealESRNetModel'


def other_task(name: str) -> str | None:
    """Task of a model that does something else than train a super-resolution network on image pairs; None for the rest."""
    return next((_OTHER_TASKS[base] for base in _base_names(name) if base in _OTHER_TASKS), None)


def needs_gpu(name: str) -> bool:
    """Whether a model puts tensors on a GPU without asking."""
    return any(base in _ON_GPU_ONLY for base in _base_names(name))


def _base_names(name: str) -> list[str]:
    cls = registered('MODEL', name)
    return [base.__name__ for base in getattr(cls, '__mro__', ())]
