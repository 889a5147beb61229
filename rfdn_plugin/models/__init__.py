"""Training models of BasicSR's kind."""


def register_with_basicsr() -> None:
    """Make BasicSR's MODEL_REGISTRY know `RFDNModel`, which registers itself.

    Not by its name here: where the import of `rfdn_model` is what imported basicsr, it is still under way.
    """
    import rfdn_plugin.models.rfdn_model  # noqa: F401
