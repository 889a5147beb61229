"""What the machine offers to this process."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def available_cores() -> int:
    """The processor cores that this process may use, which a job scheduler or `taskset` may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def processor_flags() -> set[str]:
    """The instruction sets of this processor as /proc/cpuinfo names them; empty where there is no such file."""
    return set(_first_processor('flags').split())


def processor_name() -> str:
    """The processor as the system calls it."""
    return _first_processor('model name') or platform.processor() or platform.machine()


def _first_processor(key: str) -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:  # not Linux
        return ''
    return next((line.partition(':')[2].strip() for line in lines if line.startswith(key)), '')


def choose_precision(wanted: str, device: str) -> tuple[str, str]:
    """The precision of a training on a device of that type (`cpu`, `cuda`), and why where `wanted` is `auto`.

    `auto` is bf16 where the device multiplies in it, which no bf16 that is emulated gains from: on a CPU with
    AVX-512 BF16 or AMX (measured: a step 1.65 times as fast on one thread), on a GPU from Ampere on. Else it is fp32.
    """
    if wanted != 'auto':
        return wanted, slow_bf16(device) if wanted == 'bf16' else ''
    if device == 'cuda':
        return ('fp32', 'auto: this GPU has no fast bf16') if slow_bf16(device) else ('bf16', 'auto: this GPU has it')
    there = [name for flag, name in _BF16_UNITS.items() if flag in processor_flags()]
    if there:
        return 'bf16', f'auto: this processor has {" and ".join(there)}'
    return 'fp32', f'auto: this processor has {_NO_BF16}'


_BF16_UNITS = {'avx512_bf16': 'AVX-512 BF16', 'amx_bf16': 'AMX'}
_NO_BF16 = f'neither {" nor ".join(_BF16_UNITS.values())}'


def slow_bf16(device: str) -> str:
    """Why PyTorch's bf16 is slower than fp32 on a device of that type; empty where it is not, or cannot be known.

    Measured on one thread of an AMD EPYC with AVX2 alone, by processor time, PyTorch 2.14: 8 times for RFDN x2 upscaling
    96 x 96 pixels, 18 times for a step of its training.
    """
    if device == 'cuda':
        import torch

        return '' if torch.cuda.get_device_capability() >= (8, 0) else 'slower than fp32 on this GPU'
    flags = processor_flags()
    if device != 'cpu' or not flags or flags & _BF16_UNITS.keys():
        return ''
    return f'many times slower than fp32 on this processor, which has {_NO_BF16}'
