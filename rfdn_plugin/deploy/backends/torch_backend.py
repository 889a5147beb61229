"""PyTorch, eager, on the CPU."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from rfdn_plugin.deploy.backends.runner import Runner

PRECISIONS = ('fp32', 'bf16', 'fp16')
_TYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


def missing() -> str | None:
    """PyTorch is always there: the package needs it."""
    return None


class TorchRunner(Runner):
    """A network run by PyTorch in one of the float types, weights and activations alike."""

    backend = 'torch'

    def __init__(self, network: nn.Module, *, precision: str, threads: int, name: str) -> None:
        super().__init__(precision=precision, threads=threads, name=name)
        self.type = _TYPES[precision]
        # A copy: the caller's network keeps its type and layout.
        self.network = copy.deepcopy(network).eval().to(self.type).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self.type, memory_format=torch.channels_last)
        with _threads(self.threads):
            return self.network(x).float().contiguous().numpy()


@contextlib.contextmanager
def _threads(threads: int) -> Iterator[None]:
    """PyTorch has one number of threads for the process: it is set back afterwards."""
    before = torch.get_num_threads()
    if threads != before:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if threads != before:
            torch.set_num_threads(before)


def open_runner(
    model: nn.Module, *, precision: str | None, threads: int, name: str, img_range: float = 1.0
) -> TorchRunner:
    """See `backends.open_model`; `img_range` is the network's own here."""
    return TorchRunner(model, precision=precision or 'fp32', threads=threads, name=name)
