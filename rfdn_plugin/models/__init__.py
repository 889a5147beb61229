"""Training models of BasicSR's kind."""


def register_with_basicsr() -> None:
    """Make BasicSR's registries know `RFDNModel` and our losses, which register themselves, and know when it trains ours."""
    import rfdn_plugin.models.losses
    import rfdn_plugin.models.rfdn_model  # noqa: F401
    from rfdn_plugin.training.hooks import watch

    watch()
