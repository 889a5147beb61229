"""How a training step is computed: precision, memory layout, compilation, parts of a batch, clipping.

None of it changes what is trained for. Each is an option of its own below `train`; in this order of what they change:
`accum_iter` and `channels_last` nothing beyond the rounding of the same sums, `compile` likewise, `grad_clip` steps that
are too long, `precision` the arithmetic of the network, while weights, optimizer and losses stay in fp32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from rfdn_plugin.utils.machine import choose_precision
from rfdn_plugin.utils.text import counted

_AUTOCAST = {'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class Speed:
    """The options below `train` that say how a step is computed; `option_sections.TrainSection` describes them."""

    precision: str = 'fp32'
    channels_last: bool = False
    compile: bool | str = False
    accum_iter: int = 1
    grad_clip: float | None = None

    reason: str = ''
    """Why the precision is what it is, where `auto` left it to us."""

    @classmethod
    def of(cls, train: Mapping[str, Any], device: str = 'cpu') -> Speed:
        """Choose from the section `train` of an option file, or an empty one, for a training on a device of that type."""
        speed = cls(**{field.name: train[field.name] for field in fields(cls) if field.name in train})
        precision, reason = choose_precision(speed.precision, device)
        return replace(speed, precision=precision, reason=reason)

    def to_memory_format(self, value: nn.Module | Tensor) -> Any:
        """A network, or images N x C x H x W, in the memory layout that was chosen."""
        return value.to(memory_format=torch.channels_last) if self.channels_last else value

    def compile_network(self, net: nn.Module) -> Any:
        """The network as it is called in a step; its weights are those of `net`."""
        if not self.compile:
            return net
        return torch.compile(net, mode=self.compile if isinstance(self.compile, str) else 'default')

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager:
        """In which the network is called, and nothing else."""
        if self.precision == 'fp32':
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=_AUTOCAST[self.precision])

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Keeps the small gradients of fp16 above zero; with other precisions it does nothing."""
        return torch.amp.GradScaler(device.type, enabled=self.precision == 'fp16')

    def micro_batches(self, *batches: Tensor) -> Iterator[tuple[bool, float, tuple[Tensor, ...]]]:
        """The parts of a batch in turn: whether it is the last, its share of the batch, its tensors."""
        chunks = list(zip(*(batch.chunk(self.accum_iter) for batch in batches), strict=True))
        for number, part in enumerate(chunks, start=1):
            yield number == len(chunks), len(part[0]) / len(batches[0]), part

    def describe(self, optimizer: torch.optim.Optimizer, device: torch.device) -> str:
        """Describe what is on, in a line for the log."""
        words = [f'{self.precision} ({self.reason})' if self.reason else self.precision]
        words += ['channels last'] if self.channels_last else []
        words += [f'compiled ({self.compile})' if isinstance(self.compile, str) else 'compiled'] if self.compile else []
        words += [f'batch in {self.accum_iter} parts'] if self.accum_iter > 1 else []
        words += [f'gradients clipped to {self.grad_clip:g}'] if self.grad_clip is not None else []
        words += ['fused optimizer'] if optimizer.defaults.get('fused') else []
        threads = f', {counted(torch.get_num_threads(), "thread")}' if device.type == 'cpu' else ''
        return f'Step on {device.type}{threads}: {", ".join(words)}.'
