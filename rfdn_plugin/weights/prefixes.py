"""What trainers put before the names of a network's weights, and which of several networks in a file is meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor

WRAPPER_WORDS = frozenset(
    {'module', '_orig_mod', 'model', 'net', 'network', 'netG', 'net_g', 'G', 'generator', 'student'}
    | {'ema', 'model_ema', 'ema_model', 'net_g_ema', 'netG_ema', 'generator_ema'}
    | {'_fsdp_wrapped_module', '_checkpoint_wrapped_module'}
)
"""Names of the attribute under which a trainer or wrapper keeps a network; several may follow one another."""

SIGNS = ('B1.c1_r.weight', 'IMDB1.c1.weight', 'IMDB1.c1_r.weight', 'block1.down.weight', 'body.0.fuse.weight')
"""Weights that one family of networks here has and no other: RFDN, IMDN, IMDN_R, IDN, RFANet."""

ALWAYS_REMOVED = (
    'module.',
    '_orig_mod.',
    'net_g.',
    'generator.',
    '_fsdp_wrapped_module.',
    '_checkpoint_wrapped_module.',
)
"""Taken off where every name has it, whatever the network is."""

_INSIDE = re.compile(r'(?<=\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')
"""What PyTorch puts into the names of layers that are compiled, sharded or computed again one by one."""


def is_averaged(prefix: str) -> bool:
    """Whether a prefix (`generator_ema.`) says that the weights are an average over the training."""
    return any(word.lower().endswith('ema') or word.startswith('ema_') for word in prefix.split('.'))


def groups_by_prefix(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by what wrappers put before their names; '' for those without. Names inside a group are without it."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        words = name.split('.')
        count = next(index for index, word in enumerate(words) if word not in WRAPPER_WORDS or index == len(words) - 1)
        prefix = ''.join(f'{word}.' for word in words[:count])
        groups.setdefault(prefix, {})[_INSIDE.sub('', name.removeprefix(prefix))] = tensor
    return groups


def network_prefixes(groups: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """The prefixes under which networks of this package stand, the averaged ones first."""
    found = [prefix for prefix, group in groups.items() if any(sign in group for sign in SIGNS)]
    return sorted(found, key=lambda prefix: not is_averaged(prefix))


def answers(prefix: str, param_key: str, prefixes: Collection[str]) -> bool:
    """Whether a prefix is what a user means who names `param_key`.

    Args:
        prefix: One of `prefixes`.
        param_key: A word of a prefix (`generator_ema`), or BasicSR's `params` or `params_ema` for raw or averaged ones.
        prefixes: All in the file; `params` means something only where there are averaged ones beside.
    """
    if param_key in ('params_ema', 'params-ema'):
        return is_averaged(prefix)
    if param_key == 'params':
        return not is_averaged(prefix) and any(map(is_averaged, prefixes))
    return param_key in prefix.split('.')[:-1]


def without_common_prefix(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Split off prefixes of `ALWAYS_REMOVED` that all names share: the prefix, and the tensors without it."""
    prefix, tensors = '', dict(tensors)
    while (found := next((p for p in ALWAYS_REMOVED if all(name.startswith(p) for name in tensors)), None)) is not None:
        prefix += found
        tensors = {name.removeprefix(found): tensor for name, tensor in tensors.items()}
    return prefix, {_INSIDE.sub('', name): tensor for name, tensor in tensors.items()}
