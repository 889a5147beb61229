"""Training models of BasicSR's kind."""


def register_with_basicsr() -> None:
    """Make BasicSR's MODEL_REGISTRY know `RFDNModel`, which registers itself, and its training resume exactly.

    Not by its name here: where the import of `rfdn_model` is what imported basicsr, it is still under way.
    """
    import rfdn_plugin.models.rfdn_model  # noqa: F401
    from rfdn_plugin.models.resume import install

    install()
