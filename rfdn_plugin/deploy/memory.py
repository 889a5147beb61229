"""How much memory an image needs, and how much there is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from rfdn_plugin.deploy.choice import Form, RunnerForm
from rfdn_plugin.deploy.inference import InferenceForm
from rfdn_plugin.deploy.layers import ALIGNMENT
from rfdn_plugin.deploy.parts import kept_bytes_per_pixel
from rfdn_plugin.utils.errors import RFDNError

SHARE = 0.8
"""What is taken of the memory that the system says is free: other programs want some too."""

_FEATURE_MAPS = {torch.float32: 10.0, torch.bfloat16: 7.5}
"""Maps of 32-bit features that are alive at once at the worst moment. Measured: 1740 bytes a pixel (RFDN x2 and x4), 1980
(E_RFDN x4), 1870 (IMDN x2), in bf16 1350 and 1230; these factors give 1920, 2000, 2560, 1440 and 1500."""

_PLAIN_BYTES = 12_000
"""For each LR pixel of a network that runs as it is, or is not known: RFANet keeps the features of all its blocks."""

_RUNTIME_BYTES = {
    ('openvino', 'fp32'): 60,
    ('openvino', 'bf16'): 40,
    ('openvino', 'int8'): 40,
    ('onnxruntime', 'fp32'): 110,
    ('ncnn', 'fp32'): 180,
    ('ncnn', 'bf16'): 120,
}
"""For each LR pixel and feature of an RFDN or IMDN in another runtime, x4 outputs included; other precisions count as fp32.
Measured on RFDN x2 (48 features) and E_RFDN x4 (50), bytes a pixel: OpenVINO fp32 2360 and 2690, bf16 1250 and 1820, ONNX
Runtime 4750 and 2680, ncnn (both processes) fp32 7680 and 8040, bf16 4220 and 5490."""

_TILE = 3 * ALIGNMENT
_LARGEST_TILE_ON_GPU = 10 * ALIGNMENT
_LARGEST_MAP = 32 << 20
"""Bytes of a map of features up to which a whole image is the fastest way on a CPU. A larger one glibc takes from the system
anew each time (mallopt(3), M_MMAP_THRESHOLD), which clears it page by page: for RFDN x2 and 768x1000 pixels that took half
of the time. Parts of `_TILE` stay below it."""


@dataclass(frozen=True)
class Way:
    """How an image is computed.

    Attributes:
        tile: Side of the tiles in LR pixels, 0 for the whole image at once.
        keep: See `parts`.
        bytes: What it needs, beside the input and the output.
    """

    tile: int
    keep: bool
    bytes: int

    def __str__(self) -> str:
        if not self.tile:
            return 'whole'
        return f'in parts of {self.tile} pixels, features {"kept" if self.keep else "computed anew"}'


def ways(form: Form, height: int, width: int) -> list[Way]:
    """All ways to compute an image, the fastest first, each needing less than the one before."""
    pixels = height * width
    if not isinstance(form, InferenceForm):
        return [Way(0, False, pixels * _bytes_of(form))]
    each = _FEATURE_MAPS[form.dtype] * form.num_feat * 4 + 8 * form.out_channels * form.scale**2
    whole = Way(0, False, round(pixels * each))
    if min(height, width) < form.minimum_size:
        return [whole]
    on_cpu, largest_map = form.device.type == 'cpu', pixels * form.num_feat * torch.float32.itemsize
    found = [] if on_cpu and largest_map > _LARGEST_MAP else [whole]
    kept = pixels * kept_bytes_per_pixel(form)
    for tile in (_TILE, ALIGNMENT):
        found.append(Way(tile, True, round(kept + _tile_pixels(form, tile, height, width) * each)))
    for tile in range(_TILE if on_cpu else _LARGEST_TILE_ON_GPU, 0, -ALIGNMENT):
        # The statistics of ESA are a 36th of the pixels, those of CCA less.
        statistics = pixels * form.num_feat * 4 // 36
        found.append(Way(tile, False, round(statistics + _tile_pixels(form, tile, height, width) * each)))
    cheaper: list[Way] = []
    for way in found:
        if not cheaper or way.bytes < cheaper[-1].bytes:
            cheaper.append(way)
    return cheaper


def _bytes_of(form: Form) -> int:
    """What a form that computes whole images needs for each LR pixel."""
    if not isinstance(form, RunnerForm) or form.num_feat is None:
        return _PLAIN_BYTES
    known = _RUNTIME_BYTES.get((form.backend, form.precision))
    return form.num_feat * (known if known is not None else _RUNTIME_BYTES[form.backend, 'fp32'])


def _tile_pixels(form: InferenceForm, tile: int, height: int, width: int) -> int:
    around = 2 * form.reach + 9
    return min(tile + around, height) * min(tile + around, width)


def choose(form: Form, height: int, width: int, budget: int) -> Way:
    """The fastest way that fits into `budget` bytes.

    Raises:
        RFDNError: None fits; the message says what the least is.
    """
    possible = ways(form, height, width)
    for way in possible:
        if way.bytes <= budget:
            return way
    least = min(way.bytes for way in possible)
    raise RFDNError(
        f'{width}x{height} pixels need {_readable(least)} of memory{" in the smallest parts" if len(possible) > 1 else ""}, '
        f'{_readable(max(budget, 0))} are free: allow more (--memory, ulimit -v), or make tiles of it (--tile).'
    )


def available(limit: int | None = None, device: torch.device | None = None) -> int:
    """Bytes that the computation may take: what the machine, the container and the shell's limits leave, or `limit`.

    Args:
        limit: The most that the whole process may use; what it uses already is taken off.
        device: Where it computes: on a GPU the memory that is free there counts.
    """
    if device is not None and device.type == 'cuda':
        free_on_gpu = int(SHARE * torch.cuda.mem_get_info(device)[0])
        return free_on_gpu if limit is None else min(limit, free_on_gpu)
    if limit is not None:
        return limit - (_status('VmRSS') or 0)
    machine = _kilobytes(Path('/proc/meminfo'), 'MemAvailable')
    free = [value for value in (machine, _control_group(), _address_space()) if value is not None]
    return int(SHARE * min(free)) if free else 4 << 30


def parse_size(text: str) -> int:
    """Bytes of '800M', '4G', '1.5 GiB' or '500000000'; K, M, G and T are powers of 1024.

    Raises:
        ValueError: It is no size above 0.
    """
    match = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*', text, re.IGNORECASE)
    size = float(match[1]) * 1024 ** ' KMGT'.index(match[2].upper() or ' ') if match else 0
    if size < 1:
        raise ValueError(f'{text!r} is no size: write 800M or 4G.')
    return int(size)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: Python's, PyTorch's on a CPU or GPU, or OpenCV's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or 'not enough memory' in text)


def _readable(size: float) -> str:
    for unit in ('B', 'KiB', 'MiB'):
        if size < 1024:
            return f'{size:.0f} {unit}'
        size /= 1024
    return f'{size:.1f} GiB'


def _status(key: str) -> int | None:
    return _kilobytes(Path('/proc/self/status'), key)


def _kilobytes(file: Path, key: str) -> int | None:
    match = re.search(rf'^{key}:\s*(\d+) kB', _text(file), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _text(file: Path) -> str:
    """Nothing where there is no such file: not Linux, or another kind of control groups."""
    try:
        return file.read_text()
    except OSError:
        return ''


_VERSION_1 = ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file')
_VERSION_2 = ('memory.max', 'memory.current', 'inactive_file')
_NO_LIMIT = 1 << 60


def _control_group(groups: Path = Path('/proc/self/cgroup'), mounted: Path = Path('/sys/fs/cgroup')) -> int | None:
    """What the limits of this process's control group and of those above it leave (containers, SLURM, systemd).

    Args:
        groups: The file that names the groups of this process, a line `number:controllers:path` each.
        mounted: Path of the folder that the control groups are mounted in.
    """
    left = []
    for line in _text(groups).splitlines():
        controllers, path = line.split(':', 2)[1:]
        is_first = 'memory' in controllers.split(',')
        if controllers and not is_first:
            continue
        root, files = (mounted / 'memory', _VERSION_1) if is_first else (mounted, _VERSION_2)
        group = root / path.lstrip('/')
        # In a container the path may be the one outside: then what is mounted is the group.
        left += [_left_in(folder, *files) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return min((value for value in left if value is not None), default=None)


def _left_in(group: Path, most: str, used: str, cache: str) -> int | None:
    """What a control group leaves; files that were read and can be forgotten are not in use. None without a limit."""
    limit, usage = _text(group / most).strip(), _text(group / used).strip()
    if not (limit.isdigit() and usage.isdigit()) or int(limit) >= _NO_LIMIT:
        return None
    forgettable = re.search(rf'^{cache} (\d+)$', _text(group / 'memory.stat'), re.MULTILINE)
    return int(limit) - int(usage) + (int(forgettable[1]) if forgettable else 0)


def _address_space() -> int | None:
    """What `ulimit -v` and `ulimit -d` leave."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    left = []
    for kind, key in ((resource.RLIMIT_AS, 'VmSize'), (resource.RLIMIT_DATA, 'VmData')):
        limit, used = resource.getrlimit(kind)[0], _status(key)
        if limit != resource.RLIM_INFINITY and used is not None:
            left.append(limit - used)
    return min(left, default=None)
