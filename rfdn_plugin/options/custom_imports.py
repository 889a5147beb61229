"""`custom_imports` of an option file: packages that register further networks, datasets, losses, metrics or models."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from rfdn_plugin.options.base import Section
from rfdn_plugin.utils.errors import RFDNError, first_line

KEY = 'custom_imports'


class CustomImports(Section):
    """Modules to import before the options are checked, which register their parts with BasicSR (mmengine's habit)."""

    imports: list[Annotated[str, Field(pattern=r'^[^\W\d]\w*(\.[^\W\d]\w*)*$')]] = []
    """Names of modules, as in an import statement."""
    allow_failed_imports: bool = False
    """Go on without a module that cannot be imported."""


def _as_section(value: Any) -> Any:
    """The short forms, a list of modules and one module, as the long one."""
    if isinstance(value, str):
        return {'imports': [value]}
    return {'imports': value} if isinstance(value, list) else value


CustomImportsOption = Annotated[CustomImports | None, BeforeValidator(_as_section)]


def import_modules(custom: CustomImports | None) -> None:
    """Import the modules; those of the working directory are found as well, after all others.

    Raises:
        RFDNError: A module cannot be imported.
    """
    if custom is None:
        return
    if str(Path.cwd()) not in sys.path and '' not in sys.path:
        sys.path.append(str(Path.cwd()))
    for name in custom.imports:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # somebody else's code runs here
            if custom.allow_failed_imports:
                print(f'{KEY}: goes on without {name} ({first_line(error)}).', file=sys.stderr)
                continue
            missing = isinstance(error, ModuleNotFoundError)
            cure = 'install it, or add its folder to PYTHONPATH' if missing else 'correct it'
            raise RFDNError(f'{KEY}: cannot import {name} ({first_line(error)}): {cure}.') from error
