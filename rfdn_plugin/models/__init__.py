"""Training models of BasicSR's kind."""


def register_with_basicsr() -> None:
    """Make BasicSR's registries know `RFDNModel`, our losses and metric, and know when it trains ours."""
    import rfdn_plugin.models.losses
    import rfdn_plugin.models.pyiqa_metric
    import rfdn_plugin.models.rfdn_model  # noqa: F401
    from rfdn_plugin.training.hooks import watch

    watch()
