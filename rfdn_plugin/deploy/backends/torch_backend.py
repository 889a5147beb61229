"""PyTorch, eager, on the CPU."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from rfdn_plugin.deploy.inference import inference_form
from rfdn_plugin.deploy.runner import Runner

PRECISIONS = ('fp32', 'bf16', 'fp16')


class TorchRunner(Runner):
    """A network run by PyTorch: in its inference form in fp32 and bf16, as it is in fp16."""

    backend = 'torch'

    def __init__(self, network: nn.Module, *, precision: str, threads: int, name: str) -> None:
        super().__init__(precision=precision, threads=threads, name=name)
        network = copy.deepcopy(network).eval()  # the caller's keeps its type and layout
        half = precision == 'fp16'
        self.network = network.half() if half else inference_form(network, precision=precision)
        self.type = torch.float16 if half else torch.float32  # of the input

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self.type)
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


def open_runner(model: nn.Module, *, precision: str | None, threads: int, name: str) -> TorchRunner:
    """See `backends.open_model`."""
    return TorchRunner(model, precision=precision or 'fp32', threads=threads, name=name)
