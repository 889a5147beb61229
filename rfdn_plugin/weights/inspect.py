"""`rfdn inspect`: everything that a weights file shows, as one dictionary and as text."""

from __future__ import annotations

from pathlib import Path
from textwrap import TextWrapper
from typing import Any

import torch

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import sha256
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.identify import identify
from rfdn_plugin.weights.identify.known import KNOWN_WEIGHTS


def inspect_weights(path: Path, *, param_key: str | None = None, **named: Any) -> dict[str, Any]:
    """Describe a weights file: network, scale, range, key layout, SHA-256 and metadata.

    Args:
        path: The file.
        param_key: Which weights of several.
        named: What the user says of it, as for `identify.identify`.

    Returns:
        file, bytes, sha256, layout, prefix, tensors, parameters, types of the values, fingerprint; not_finite, the
        tensors with values that are no numbers, if any; for a network of this package network, arguments, scale,
        img_range, where those that shapes do not show come from, known weights and licence; for any other `unknown`, the reason.
        `metadata` is the file's own.

    Raises:
        RFDNError: The file cannot be read safely.
    """
    checkpoint = read_checkpoint(path, param_key, only_this_key=True)
    path, tensors = checkpoint.path, checkpoint.tensors  # the path of a file that was named as zoo:NAME
    report: dict[str, Any] = {
        'file': str(path),
        'bytes': path.stat().st_size,
        'sha256': sha256(path),
        'layout': checkpoint.layout,
        'prefix': checkpoint.prefix,
        'tensors': len(tensors),
        'parameters': sum(tensor.numel() for tensor in tensors.values()),
        'value_types': sorted({str(tensor.dtype).removeprefix('torch.') for tensor in tensors.values()}),
        'fingerprint': checkpoint.fingerprint,
    }
    if unfit := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        report['not_finite'] = unfit
    if known := KNOWN_WEIGHTS.get(checkpoint.fingerprint):
        report |= {'known': known.name, 'licence': known.licence}
    try:
        identity = identify(checkpoint, **named)
    except RFDNError as error:
        report['unknown'] = str(error)
    else:
        report |= {
            'network': identity.type,
            'scale': identity.upscale,
            'img_range': identity.img_range,
            'arguments': identity.arguments,
            'sources': identity.sources,
        }
    report['metadata'] = checkpoint.metadata
    return report


def as_lines(report: dict[str, Any], width: int = 120) -> list[str]:
    """The report for a terminal of that many columns: a name and a value a line, wrapped where it is longer."""
    wrapped = TextWrapper(width, subsequent_indent='    ', break_long_words=False, break_on_hyphens=False)
    lines = []
    for name, value in report.items():
        if value in ('', {}, None):
            continue
        if isinstance(value, dict):
            lines.append(f'{name}:')
            lines += [line for key, item in value.items() for line in wrapped.wrap(f'  {key}: {_short(item)}')]
        else:
            lines.append(f'{name}: {", ".join(value) if isinstance(value, list) else value}')
    return lines


def _short(value: Any, most: int = 100) -> str:
    text = str(value)
    return text if len(text) <= most else f'{text[:most]}... ({len(text)} characters)'
