"""How much memory an image needs, and how much there is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from rfdn_plugin.deploy.choice import Form
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
"""For each LR pixel of a network that runs as it is, or in another runtime: RFANet keeps the features of all its blocks."""

TILES = tuple(range(10 * ALIGNMENT, 0, -ALIGNMENT))
_KEPT_TILE = 4 * ALIGNMENT


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
        return [Way(0, False, pixels * _PLAIN_BYTES)]
    each = _FEATURE_MAPS[form.dtype] * form.num_feat * 4 + 8 * form.out_channels * form.scale**2
    found = [Way(0, False, round(pixels * each))]
    if min(height, width) < form.minimum_size:
        return found
    kept = pixels * kept_bytes_per_pixel(form)
    for tile in (_KEPT_TILE, ALIGNMENT):
        found.append(Way(tile, True, round(kept + _tile_pixels(form, tile, height, width) * each)))
    for tile in TILES:
        # The statistics of ESA are a 36th of the pixels, those of CCA less.
        statistics = pixels * form.num_feat * 4 // 36
        found.append(Way(tile, False, round(statistics + _tile_pixels(form, tile, height, width) * each)))
    cheaper: list[Way] = []
    for way in found:
        if not cheaper or way.bytes < cheaper[-1].bytes:
            cheaper.append(way)
    return cheaper


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
        f'{width}x{height} pixels need {_readable(least)} of memory in the smallest parts, {_readable(max(budget, 0))} '
        'are free: allow more (--memory, ulimit -v), or make tiles of it (--tile).'
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
    free = [value for value in (_meminfo(), _container(), _address_space()) if value is not None]
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


def _meminfo() -> int | None:
    return _kilobytes(Path('/proc/meminfo'), 'MemAvailable')


def _kilobytes(file: Path, key: str) -> int | None:
    try:
        text = file.read_text()
    except OSError:  # not Linux
        return None
    match = re.search(rf'^{key}:\s*(\d+) kB', text, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _container() -> int | None:
    """What a memory limit of the control group leaves (version 2, else 1); None where there is none."""
    for most, used in (
        ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory.current'),
        ('/sys/fs/cgroup/memory/memory.limit_in_bytes', '/sys/fs/cgroup/memory/memory.usage_in_bytes'),
    ):
        try:
            limit, usage = Path(most).read_text().strip(), Path(used).read_text().strip()
        except OSError:
            continue
        return int(limit) - int(usage) if limit.isdigit() and int(limit) < 1 << 60 else None
    return None


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
