"""How fast and how large in memory: measured side by side in one run, with warm-up, many runs, median and spread.

Entries take turns: each round runs every entry once, so that a machine that warms up or is shared slows all alike.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rfdn_plugin.leaderboard.measure.entries import Entry
from rfdn_plugin.leaderboard.measure.evaluate import limit_threads
from rfdn_plugin.leaderboard.measure.predictors import input_channels
from rfdn_plugin.leaderboard.options import LatencyOptions
from rfdn_plugin.utils.errors import RFDNError, describe
from rfdn_plugin.utils.machine import processor_name
from rfdn_plugin.utils.progress import progress

MEGABYTE = 1 << 20


def device_name(device: str) -> str:
    """The GPU, or the processor as the system calls it."""
    return torch.cuda.get_device_name(device) if device.startswith('cuda') else processor_name()


def measure_latency(entries: Sequence[Entry], options: LatencyOptions, device: str) -> dict[str, dict[str, Any] | str]:
    """Time the entries in turns, so that a change of the machine meets all of them.

    Returns:
        By entry label: `median`, `min`, `p10`, `p90` in milliseconds of one forward pass, without reading images or
        moving them to the device, and the set-up (`device`, `threads`, `input`, `precision`, `layout`, `runtime`,
        `runs`, `warmup`). For an entry that cannot be run so, one line that says why.
    """
    limit_threads(options.threads)
    results: dict[str, dict[str, Any] | str] = {}
    runners: dict[str, Callable[[], object]] = {}
    for entry in entries:
        try:
            runners[entry.label] = _runner(entry, options, device)
            for _ in range(max(options.warmup, 1)):
                runners[entry.label]()
        except Exception as error:  # a stranger's model, or a precision that a device lacks: the others are timed
            runners.pop(entry.label, None)
            results[entry.label] = describe(error)
    times: dict[str, list[float]] = {label: [] for label in runners}
    for _ in progress(range(options.runs), description='timing', unit='rounds'):
        for label, run in runners.items():
            started = time.perf_counter()
            run()
            times[label].append((time.perf_counter() - started) * 1000)
    by_label = {entry.label: entry for entry in entries}
    for label, values in times.items():
        entry = by_label[label]
        results[label] = {
            'median': float(np.median(values)),
            'min': min(values),
            'p10': float(np.quantile(values, 0.1)),
            'p90': float(np.quantile(values, 0.9)),
            'device': device_name('cpu' if entry.backend else device),
            'threads': options.threads,
            'input': f'1x{entry.arguments.get("num_in_ch", 3)}x{options.input[0]}x{options.input[1]}',
            'precision': _PRECISIONS[entry.precision] if entry.backend else options.precision,
            'layout': 'channels_last' if options.channels_last and not entry.backend else 'contiguous',
            'runtime': _runtime(entry),
            'runs': options.runs,
            'warmup': options.warmup,
        }
    return results


_PRECISIONS = {'fp32': 'float32', 'fp16': 'float16', 'bf16': 'bfloat16', 'int8': 'int8'}


def _runtime(entry: Entry) -> str:
    """What ran it; PyTorch with its version, and whether in the form for inference."""
    if entry.backend in ('', 'torch'):
        return f'torch {torch.__version__}' + (' (inference form)' if entry.backend else '')
    return entry.backend


def _runner(entry: Entry, options: LatencyOptions, device: str) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    if entry.backend:
        runner = entry.runner(options.threads)
        image = torch.rand(1, 3, *options.input, generator=generator).numpy()
        return lambda: runner(image)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    dtype = getattr(torch, options.precision)
    network = entry.network().to(device, dtype).to(memory_format=layout)
    x = torch.rand(1, input_channels(network), *options.input, generator=generator)
    x = x.to(device, dtype, memory_format=layout)

    @torch.inference_mode()
    def run() -> None:
        network(x)
        if device.startswith('cuda'):
            torch.cuda.synchronize()

    return run


# --- memory --------------------------------------------------------------------------------------------------------
def measure_memory(entry: Entry, options: LatencyOptions, device: str) -> float | None:
    """Peak memory of building a model and one forward pass, in MiB.

    On a GPU what torch allocated at most; on a CPU by how much the resident size of a process of its own rose at most
    (Linux; None elsewhere).

    Raises:
        RFDNError: The process died.
    """
    if device.startswith('cuda') and not entry.backend:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _runner(entry, options, device)()
        return (torch.cuda.max_memory_allocated(device) - before) / MEGABYTE
    if sys.platform != 'linux':
        return None
    # Not forked: what the parent has freed before would be taken again, and the size would not rise by it.
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_memory, args=(sender, entry, options))
    process.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError as error:
        raise RFDNError(f'{entry.label}: the process that measures memory was killed: too little memory?') from error
    finally:
        process.join()
    if isinstance(result, str):
        raise RFDNError(f'{entry.label}: {result}')
    return result


def _send_memory(sender: Any, entry: Entry, options: LatencyOptions) -> None:
    try:
        limit_threads(1)
        before = _resident('VmRSS')
        Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
        _runner(entry, options, 'cpu')()
        sender.send((_resident('VmHWM') - before) / 1024)
    except Exception as error:  # told to the parent, whose terminal it is
        sender.send(describe(error))


def _resident(field: str) -> int:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{field}:'):
            return int(line.split()[1])
    raise RFDNError(f'the system does not say {field}.')
