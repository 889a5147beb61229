"""A network as a program of `torch.export`: runs without this package, `torch.export.load(FILE).module()(images)`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rfdn_plugin.deploy.formats.form import ExportForm
from rfdn_plugin.deploy.runner import Runner

CARD = 'card.json'
"""The file inside the archive that holds the card; `torch.export.load(FILE, extra_files={'card.json': ''})` reads it."""

LARGEST_SIDE = 1 << 16


def save_program(
    network: nn.Module, path: Path, card: Mapping[str, str], *, clamp: bool = False, dtype: torch.dtype = torch.float32
) -> None:
    """Write the program: N x 3 x H x W, float32, RGB, 0..1, to the enlarged images, all sizes free.

    Args:
        network: In eval mode, on the CPU.
        path: Ends in .pt2.
        card: What the program says of itself.
        clamp: Cut the output to 0..1.
        dtype: What it computes in.
    """
    import json

    form = ExportForm(network, clamp=clamp, dtype=dtype).eval()
    free = {0: torch.export.Dim('N', min=1, max=LARGEST_SIDE)}
    free |= {axis: torch.export.Dim(name, min=1, max=LARGEST_SIDE) for axis, name in ((2, 'H'), (3, 'W'))}
    with torch.inference_mode(False), torch.no_grad():
        program = torch.export.export(form, (torch.rand(2, 3, 24, 20),), dynamic_shapes=(free,), strict=False)
    torch.export.save(program, path, extra_files={CARD: json.dumps(dict(card), indent=1)})


class ProgramRunner(Runner):
    """A program that this process has just written: only files that one trusts may be loaded so."""

    backend = 'torch'

    def __init__(self, path: Path, *, precision: str, threads: int) -> None:
        super().__init__(precision=precision, threads=threads, name=str(path))
        self.module = torch.export.load(path).module()

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> np.ndarray:
        return self.module(torch.from_numpy(np.ascontiguousarray(images))).numpy()
