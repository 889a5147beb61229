"""A small RFDNModel from options that need no data."""

from __future__ import annotations

import copy

from rfdn_plugin.models import rfdn_model

SMALL = {'num_feat': 12, 'num_block': 2}


def build(options: dict) -> rfdn_model.RFDNModel:
    import basicsr  # noqa: F401

    return rfdn_model.RFDNModel(copy.deepcopy(options))
