"""The processes of one training: how many, which of them this is, and what the first of them decides for all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from rfdn_plugin.utils.errors import RFDNError

Result = TypeVar('Result')

_VARIABLES = {
    'pytorch': ('WORLD_SIZE', 'RANK', 'LOCAL_RANK'),
    'slurm': ('SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID'),
}


def world_size(launcher: str) -> int:
    """How many processes train together.

    Args:
        launcher: What started them: `none`, `pytorch` or `slurm`.

    Raises:
        RFDNError: It did not.
    """
    return 1 if launcher == 'none' else _numbers(launcher)[0]


def _numbers(launcher: str) -> list[int]:
    """World size, rank, and rank on this machine."""
    for variable in _VARIABLES[launcher]:
        if variable not in os.environ:
            starter = 'torchrun --nproc_per_node=N -m rfdn_plugin.train ...' if launcher == 'pytorch' else 'srun'
            raise RFDNError(f'--launcher {launcher}: {variable} is not set: start the processes with {starter}')
    return [int(os.environ[variable]) for variable in _VARIABLES[launcher]]


@contextlib.contextmanager
def joined(launcher: str, options: dict[str, Any]) -> Iterator[None]:
    """The block is run by processes that have found each other, where there are several.

    Args:
        launcher: As in `world_size`.
        options: Options of the training; `dist_params` may name the port that SLURM's processes meet at.

    Raises:
        RFDNError: This machine has fewer GPUs than processes.
    """
    if launcher == 'none':
        yield
        return
    import basicsr  # noqa: F401  (patched: without a GPU, it would divide by their number)
    import torch
    from basicsr.utils.dist_util import init_dist

    gpus, place = torch.cuda.device_count(), _numbers(launcher)[2]
    if 0 < gpus <= place:
        raise RFDNError(
            f'process {place + 1} of this machine has no GPU of its own, {gpus} are here: start {gpus} processes, or set '
            'CUDA_VISIBLE_DEVICES= to train on the CPU.'
        )
    init_dist(launcher, **((options.get('dist_params') or {}) if launcher == 'slurm' else {}))
    yield
    torch.distributed.destroy_process_group()  # not after an error: it could wait for a process that has ended


def first_decides(launcher: str, decide: Callable[[], Result]) -> Result:
    """Call `decide` in the first process alone, and return its result in all processes.

    Raises:
        SystemExit: In the others, where it failed in the first, whose output says why. There its error is raised.
        RFDNError: In the others, where the first has ended.
    """
    if launcher == 'none':
        return decide()
    import torch

    answer: list[Any] = [None, False]  # the result, and whether there is one
    if torch.distributed.get_rank() == 0:
        try:
            answer = [decide(), True]
        finally:
            torch.distributed.broadcast_object_list(answer, src=0)
        return answer[0]
    try:
        torch.distributed.broadcast_object_list(answer, src=0)
    except RuntimeError as error:
        raise RFDNError('the first process of this training has ended, its own output says why.') from error
    if not answer[1]:
        raise SystemExit(1)
    return answer[0]
