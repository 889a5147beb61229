"""Training models of BasicSR's kind."""


def register_with_basicsr() -> None:
    """Make BasicSR's MODEL_REGISTRY know `RFDNModel`."""
    from basicsr.utils.registry import MODEL_REGISTRY

    from rfdn_plugin import compat
    from rfdn_plugin.models.rfdn_model import RFDNModel

    compat.register(MODEL_REGISTRY, RFDNModel)
