"""What the machine offers to this process."""

from __future__ import annotations

import os


def available_cores() -> int:
    """The processor cores that this process may use, which a job scheduler or `taskset` may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
