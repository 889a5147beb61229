"""The model card: what a weights file says of itself, in plain text beside the tensors.

In .safetensors it is the header's metadata, in .pth the dictionary under `checkpoint.METADATA`; both hold strings only.
`network`, `arguments` (JSON) and `upscale` are read back by `identify.identify`; the rest is for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rfdn_plugin.archs import full_arguments
from rfdn_plugin.utils.files import sha256
from rfdn_plugin.utils.version import __version__
from rfdn_plugin.weights.identify import Identity
from rfdn_plugin.weights.identify.known import KNOWN_WEIGHTS

OWN_ENTRIES = frozenset({'format', 'network', 'arguments', 'upscale', 'img_range', 'written_by', 'source_sha256'})
"""Entries that are written from the weights and read back: users cannot set them."""


def model_card(type: str, arguments: Mapping[str, Any], **details: Any) -> dict[str, str]:
    """A card for weights of a network.

    Args:
        type: A key of `archs.NETWORKS`.
        arguments: Arguments of its constructor; those left out are written with their defaults.
        details: What else to say: training_data, iterations, metrics, licence, source, ... None is left out.

    Returns:
        Strings by name, as both file formats take them.
    """
    whole = full_arguments(type, dict(arguments))
    card = {
        'format': 'pt',
        'network': type,
        'arguments': json.dumps(whole, sort_keys=True),
        'upscale': whole['upscale'],
        'img_range': whole['img_range'],
        'written_by': f'rfdn_plugin {__version__}',
        **details,
    }
    return {name: value if isinstance(value, str) else f'{value}' for name, value in card.items() if value is not None}


def card_of(identity: Identity, **details: Any) -> dict[str, str]:
    """The card of weights made from a checkpoint: what its own card says, its source, and `details`."""
    checkpoint = identity.checkpoint
    inherited = {
        key: value for key, value in checkpoint.metadata.items() if key not in ('format', 'network', 'upscale')
    }
    known = KNOWN_WEIGHTS.get(checkpoint.fingerprint)
    origin = {
        'source': identity.name or checkpoint.path.name,
        'source_sha256': sha256(checkpoint.path),
        'licence': known.licence if known else None,
    }
    first = {key: value for key, value in origin.items() if key not in inherited}  # the first source stays named
    told = {**inherited, **first, **details}
    for name in ('arguments', 'img_range', 'written_by'):
        told.pop(name, None)
    return model_card(identity.type, identity.arguments, **told)
