"""What all sections of the option files share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from rfdn_plugin.utils.text import shown


class Section(BaseModel):
    """A section of an option file: unknown keys are problems, and the docstring under a key describes it."""

    model_config = ConfigDict(extra='forbid', protected_namespaces=(), use_attribute_docstrings=True)


class Ours:
    """Marks a key that RFDNModel knows and BasicSR's models would silently ignore."""


class OfTwoNetworks:
    """Marks a key that models with a discriminator know and others would silently ignore."""


def _one_line(name: str) -> str:
    if shown(name) != name:
        raise ValueError('a line feed or another control character is in it: leave it out')
    return name


Name = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True), AfterValidator(_one_line)]
"""What stands in tables and messages."""
