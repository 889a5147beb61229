"""What all sections of the option files share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of an option file: unknown keys are problems, and the docstring under a key describes it."""

    model_config = ConfigDict(extra='forbid', protected_namespaces=(), use_attribute_docstrings=True)


class Ours:
    """Marks a key that RFDNModel knows and BasicSR's models would silently ignore."""


class OfTwoNetworks:
    """Marks a key that models with a discriminator know and others would silently ignore."""
