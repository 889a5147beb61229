"""Writing weights in another layout, and the two exact rewritings of a network: its input range and SRB's identity.

* Range: a body that works on 0..255 does so because its input is multiplied by 255 and its output divided by it. Both
  go into the first and the last convolution.
* SRB: a 3x3 convolution plus its input is one 3x3 convolution with 1 added to the middle tap of its own channel.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_torch_save, atomic_write, check_output
from rfdn_plugin.weights.card import OWN_ENTRIES, card_of
from rfdn_plugin.weights.checkpoint import METADATA
from rfdn_plugin.weights.identify import Identity
from rfdn_plugin.weights.identify.srb_folding import center_diagonal, is_refining, with_center_diagonal
from rfdn_plugin.weights.loading import build_network

LAYOUTS = ('safetensors', 'basicsr', 'official')
"""safetensors: tensors and card; basicsr: a .pth with the weights under 'params' and the card beside; official: a .pth
of the tensors alone, as the networks' authors publish it, without a card."""


def write_weights(path: str | Path, tensors: Mapping[str, Tensor], card: Mapping[str, str], layout: str) -> None:
    """Write a weights file, whole or not at all.

    Args:
        path: The file.
        tensors: A state dict.
        card: Model card, from `card.model_card`.
        layout: One of `LAYOUTS`.

    Raises:
        OSError: The file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    if layout == 'safetensors':
        with atomic_write(path) as stream:
            stream.write(_safetensors(tensors, card))
    else:
        atomic_torch_save({'params': tensors, METADATA: dict(card)} if layout == 'basicsr' else tensors, path)


def _safetensors(tensors: dict[str, Tensor], card: Mapping[str, str]) -> bytes:
    """The content of a .safetensors file, its header sorted: the library writes the card in an order that changes."""
    from safetensors.torch import save

    content = save(tensors, dict(card))
    start = 8 + int.from_bytes(content[:8], 'little')  # the length of the header, the header, the values
    header = json.dumps(
        json.loads(content[8:start]), sort_keys=True, ensure_ascii=False, separators=(',', ':')
    ).encode()
    header += b' ' * (-len(header) % 8)
    return len(header).to_bytes(8, 'little') + header + content[start:]


def layout_for(path: Path, source: Path, layout: str | None = None) -> str:
    """The layout of a file that is to be made from another, checked before work is spent on it.

    Args:
        path: The file to be written.
        source: The file it is made from.
        layout: One of `LAYOUTS`; where it is None the name's ending says it: .safetensors, or .pth for basicsr.

    Raises:
        RFDNError: The name cannot have this layout, or `path` is `source`.
        OSError: The file cannot be written.
    """
    layouts = _LAYOUTS_BY_ENDING.get(path.suffix)
    if layouts is None:
        raise RFDNError(f'{path} is no name for weights: let it end in .safetensors or .pth.')
    if layout not in (None, *layouts):
        ending = '.safetensors' if layout == 'safetensors' else '.pth'
        raise RFDNError(f'{path} cannot have the layout {layout}: let its name end in {ending}.')
    check_output(path)
    if path.exists() and path.samefile(source):
        raise RFDNError(f'{path} is the file to start from: name another, it would be lost.')
    return layout or layouts[0]


_LAYOUTS_BY_ENDING = {'.safetensors': ('safetensors',), '.pth': ('basicsr', 'official'), '.pt': ('basicsr', 'official')}


def convert(
    identity: Identity,
    path: str | Path,
    *,
    layout: str | None = None,
    fold_range: bool = False,
    fold_srb: bool = False,
    unfold_srb: bool = False,
    details: Mapping[str, str] | None = None,
) -> Identity:
    """Write a checkpoint in another layout, as it is or rewritten.

    Args:
        identity: The checkpoint and what it is.
        path: The file to write.
        layout: One of `LAYOUTS`; by the name where not given.
        fold_range, fold_srb, unfold_srb: The rewritings; see the module.
        details: Further entries of the card.

    Returns:
        What was written.

    Raises:
        RFDNError: The layout does not fit the name or the network, a rewriting does not fit the network, an entry of
            the card is not the caller's to write, or `path` is the checkpoint itself.
        OSError: The file cannot be written.
    """
    layout = layout_for(Path(path), identity.checkpoint.path, layout)
    if own := OWN_ENTRIES.intersection(details or ()):
        raise RFDNError(f'card entry {", ".join(sorted(own))}: this is written from the weights, leave it out.')
    if details and layout == 'official':
        raise RFDNError('the official layout has no card: leave its entries out, or take another layout.')
    tensors = build_network(identity).state_dict()  # strictly loaded: what is written is what the network has
    tensors = {name: _in_its_type(tensor, identity.checkpoint.tensors.get(name)) for name, tensor in tensors.items()}
    result = dataclasses.replace(identity, checkpoint=dataclasses.replace(identity.checkpoint, tensors=tensors))
    if unfold_srb:
        result = unfold_shallow_residual(result)
    if fold_range:
        result = fold_img_range(result)
    if fold_srb:
        result = fold_shallow_residual(result)
    if layout == 'official' and result.arguments.get('shallow_residual') is False:
        raise RFDNError(
            f"{path}: the authors' code adds a shallow residual, which these weights have inside or do without; "
            'unfold them (--unfold-srb), or take another layout.'
        )
    card = card_of(dataclasses.replace(identity, arguments=result.arguments), **(details or {}))
    write_weights(path, result.checkpoint.tensors, card, layout)
    return result


def _in_its_type(tensor: Tensor, original: Tensor | None) -> Tensor:
    return tensor if original is None else tensor.to(original.dtype)


# --- the input range -----------------------------------------------------------------------------------------------
_FIRST = ('fea_conv.weight', 'head.weight', 'conv1.weight')
_LAST = {
    'RFANet': ('tail.weight', 'tail.bias'),
    'IDN': ('upsample.weight', 'upsample.bias'),
}
_LAST_ELSE = ('upsampler.0.weight', 'upsampler.0.bias')


def fold_img_range(identity: Identity) -> Identity:
    """Weights that compute the same with `img_range=1`: the first weight times the range, the last weight and bias over it."""
    img_range = identity.img_range
    factors = {name: img_range for name in _FIRST if name in identity.checkpoint.tensors}
    factors |= dict.fromkeys(_LAST.get(identity.type, _LAST_ELSE), 1 / img_range)
    tensors = {
        name: (tensor.double() * factors[name]).to(tensor.dtype) if name in factors else tensor
        for name, tensor in identity.checkpoint.tensors.items()
    }
    return _rewritten(identity, tensors, img_range=1.0)


# --- SRB's identity ------------------------------------------------------------------------------------------------
def fold_shallow_residual(identity: Identity) -> Identity:
    """Weights of RFDN that compute the same with plain convolutions (`shallow_residual=False`).

    Raises:
        RFDNError: The network has no shallow residual.
    """
    if not identity.arguments.get('shallow_residual'):
        raise RFDNError(f'{identity.checkpoint.path} is {identity.type} without a shallow residual: nothing to fold.')
    return _rewritten(identity, _with_identity(identity, 1), shallow_residual=False)


def unfold_shallow_residual(identity: Identity) -> Identity:
    """The network before `fold_shallow_residual`; the folded values were rounded, so up to 1.2e-7 is lost.

    Raises:
        RFDNError: The network has a shallow residual already, or is of another family.
    """
    if identity.arguments.get('shallow_residual') is not False:
        raise RFDNError(f'{identity.checkpoint.path} is {identity.type} that is not folded: nothing to unfold.')
    return _rewritten(identity, _with_identity(identity, -1), shallow_residual=True)


def _with_identity(identity: Identity, change: int) -> dict[str, Tensor]:
    """The weights with `change` added to the centre diagonal of each refining convolution."""
    return {
        name: with_center_diagonal(tensor, center_diagonal(tensor) + change) if is_refining(name) else tensor
        for name, tensor in identity.checkpoint.tensors.items()
    }


def _rewritten(identity: Identity, tensors: dict[str, Tensor], **arguments: object) -> Identity:
    checkpoint = dataclasses.replace(identity.checkpoint, tensors=tensors)
    return dataclasses.replace(identity, arguments={**identity.arguments, **arguments}, checkpoint=checkpoint)
