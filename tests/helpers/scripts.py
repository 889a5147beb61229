"""The scripts beside the package, as modules."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from helpers import REPOSITORY


def load_script(name: str) -> ModuleType:
    """`scripts/{name}.py` as a module; its `main` is not run."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / 'scripts' / f'{name}.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
