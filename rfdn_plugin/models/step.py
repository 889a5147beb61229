"""How a training step is computed: precision, memory layout, compilation, parts of a batch, clipping.

None of it changes what is trained for. Each is an option of its own below `train`; in this order of what they change:
`accumulate` and `channels_last` nothing beyond the rounding of the same sums, `compile` likewise, `grad_clip` steps that
are too long, `precision` the arithmetic of the network, while weights, optimizer and losses stay in fp32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

_AUTOCAST = {'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class Speed:
    """The options below `train` that say how a step is computed; `option_sections.TrainSection` describes them."""

    precision: str = 'fp32'
    channels_last: bool = False
    compile: bool | str = False
    accumulate: int = 1
    grad_clip: float | None = None

    @classmethod
    def of(cls, train: Mapping[str, Any]) -> Speed:
        """From the section `train` of an option file, or an empty one."""
        return cls(**{field.name: train[field.name] for field in fields(cls) if field.name in train})

    def lay_out(self, value: nn.Module | Tensor) -> Any:
        """A network, or images N x C x H x W, in the memory layout that was chosen."""
        return value.to(memory_format=torch.channels_last) if self.channels_last else value

    def compiled(self, net: nn.Module) -> Any:
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

    def parts(self, *batches: Tensor) -> Iterator[tuple[bool, float, tuple[Tensor, ...]]]:
        """The parts of a batch in turn: whether it is the last, its share of the batch, its tensors."""
        chunks = list(zip(*(batch.chunk(self.accumulate) for batch in batches), strict=True))
        for number, part in enumerate(chunks, start=1):
            yield number == len(chunks), len(part[0]) / len(batches[0]), part

    def describe(self, optimizer: torch.optim.Optimizer, device: torch.device) -> str:
        """What is on, in a line for the log."""
        words = [self.precision]
        words += ['channels last'] if self.channels_last else []
        words += [f'compiled ({self.compile})' if isinstance(self.compile, str) else 'compiled'] if self.compile else []
        words += [f'batch in {self.accumulate} parts'] if self.accumulate > 1 else []
        words += [f'gradients clipped to {self.grad_clip:g}'] if self.grad_clip is not None else []
        words += ['fused optimizer'] if optimizer.defaults.get('fused') else []
        threads = f', {torch.get_num_threads()} threads' if device.type == 'cpu' else ''
        return f'Step on {device.type}{threads}: {", ".join(words)}.'
