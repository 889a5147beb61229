"""RFDN, the residual feature distillation network (arXiv 2009.11551), and its family as a plugin of BasicSR.

Importing this package imports neither torch nor basicsr. As soon as somebody imports `basicsr`, it is patched where
today's libraries broke it (`rfdn_plugin.compat`), and its registries know the networks, `RFDNModel` and our dataset;
mmengine's `MODELS` knows the networks as soon as `mmengine.registry` is imported.

`rfdn_plugin.load` gives a network with its weights, `rfdn_plugin.upscale` enlarges an image; both import torch when they
are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rfdn_plugin import compat
from rfdn_plugin.utils.version import __version__

if TYPE_CHECKING:
    from rfdn_plugin.deploy.api import load, upscale

__all__ = ['__version__', 'load', 'upscale']


if not TYPE_CHECKING:  # type checkers would take any name

    def __getattr__(name: str) -> Any:
        if name not in ('load', 'upscale'):
            raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
        from rfdn_plugin.deploy import api

        return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_with_basicsr() -> None:
    from rfdn_plugin import archs, data, models

    archs.register_with_basicsr()
    data.register_with_basicsr()
    models.register_with_basicsr()


def _register_with_mmengine() -> None:
    from rfdn_plugin import archs

    archs.register_with_mmengine()


compat.install()
compat.when_imported('basicsr', _register_with_basicsr)
compat.when_imported('mmengine.registry', _register_with_mmengine)
