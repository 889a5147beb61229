"""Many images from files to files: reading, computing and writing overlap, each result is written whole or not at all."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from rfdn_plugin.data.images import POLICY, ImageError, read_stored
from rfdn_plugin.data.stored import StoredImage
from rfdn_plugin.deploy.jobs import MOST_PIXELS, Job
from rfdn_plugin.deploy.parts import Report
from rfdn_plugin.deploy.record import Record
from rfdn_plugin.deploy.upscale import Upscaler
from rfdn_plugin.deploy.writing import limits, write_image
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.lock import Lock
from rfdn_plugin.utils.progress import progress

_LOCK = '.rfdn_upscale.lock'

_AHEAD_PIXELS = 32 << 20
"""So many pixels are decoded ahead of the computation, at least one image."""

_LARGE = 256 << 20
"""Bytes of a result that is written before the next image is computed: two of them may not fit."""

_TOLD = ('palette', 'cmyk', 'colour-space', 'several', 'misnamed')
"""Conversions that the user does not expect."""


@dataclass
class Outcome:
    """What became of the images.

    Attributes:
        written: How many results were written.
        finished: How many were there already, from the same image and settings.
        pixels: LR pixels that were computed.
        problems: Images without a result, and why.
        notices: What was converted or lost, counted.
    """

    written: int = 0
    finished: int = 0
    pixels: int = 0
    problems: list[tuple[Path, str]] = field(default_factory=list)
    notices: Counter = field(default_factory=Counter)


def upscale_files(
    jobs: Sequence[Job],
    upscaler: Upscaler,
    record: Record,
    *,
    format: str,
    quality: int,
    overwrite: bool,
) -> Outcome:
    """Upscale images to files.

    Args:
        jobs: The images.
        upscaler: What upscales one.
        record: What is finished in the folder of the results.
        format: A key of `writing.SUFFIXES`.
        quality: Of JPEG and WebP.
        overwrite: Results that exist and are not finished ones of the same image and settings are replaced; else they are
            problems.

    Raises:
        RFDNError: Another run writes into the same folder.
        OSError: A result cannot be written (disk full, no permission).
    """
    with Lock(record.folder / _LOCK, f'the folder {record.folder}', 'name another folder (-o)'):
        _remove_leftovers({job.output for job in jobs})
        return _upscale(jobs, upscaler, record, format, quality, overwrite=overwrite)


def _remove_leftovers(outputs: set[Path]) -> None:
    """What a killed run had begun to write: .NAME.RANDOM.partial."""
    for folder in {output.parent for output in outputs}:
        for leftover in folder.glob('.*.partial'):
            if folder / leftover.name[1:].rsplit('.', 2)[0] in outputs:
                leftover.unlink(missing_ok=True)


def _upscale(
    jobs: Sequence[Job], upscaler: Upscaler, record: Record, format: str, quality: int, *, overwrite: bool
) -> Outcome:
    outcome = Outcome()
    pending = list(_pending(jobs, record, outcome, overwrite=overwrite))
    bar = progress(description='upscale', total=sum(job.pixels for job in pending), unit='pixels', scaled=True)
    written: deque[Future] = deque()
    # Two threads write, so that the slow compression of a large image does not hold up the others.
    with bar, ThreadPoolExecutor(1, 'read') as reading, ThreadPoolExecutor(2, 'write') as writing:
        try:
            for job, image in _read_ahead(pending, reading, outcome):
                try:
                    result = _computed(image, upscaler, partial(_advance, bar, job.pixels))
                except RFDNError as error:
                    outcome.problems.append((job.source, str(error)))
                    continue
                outcome.pixels += image.pixels.shape[0] * image.pixels.shape[1]
                outcome.notices.update(f'{kind}: {POLICY[kind][1]}' for kind in image.notices if kind in _TOLD)
                outcome.notices.update(limits(image, format))
                written.append(writing.submit(_write, job, result, record, format, quality))
                _collect(written, outcome, most=2 if result.pixels.nbytes < _LARGE else 0)
            _collect(written, outcome, most=0)
        except BaseException:
            for pool in (reading, writing):
                pool.shutdown(wait=False, cancel_futures=True)
            raise
    return outcome


def _advance(bar: tqdm, pixels: int, share: float) -> None:
    bar.update(share * pixels)


def _pending(jobs: Sequence[Job], record: Record, outcome: Outcome, *, overwrite: bool) -> Iterator[Job]:
    for job in jobs:
        match record.state(job.source, job.output):
            case 'finished':
                outcome.finished += 1
            case 'changed' if not overwrite:
                why = f'{job.output} was made with other settings or of another image: --overwrite replaces it'
                outcome.problems.append((job.source, why))
            case 'foreign' if not overwrite:
                outcome.problems.append((job.source, f'{job.output} exists already: --overwrite replaces it'))
            case _:
                yield job


def _read_ahead(jobs: Sequence[Job], pool: ThreadPoolExecutor, outcome: Outcome) -> Iterator[tuple[Job, StoredImage]]:
    """The decoded images in their order; those that cannot be used become problems."""
    waiting: deque[tuple[Job, Future[StoredImage]]] = deque()
    rest = deque(jobs)
    while waiting or rest:
        while rest and (len(waiting) < 2 or sum(job.pixels for job, _ in waiting) + rest[0].pixels < _AHEAD_PIXELS):
            if len(waiting) == 16 or (len(waiting) == 1 and waiting[0][0].pixels + rest[0].pixels > 4 * _AHEAD_PIXELS):
                break
            job = rest.popleft()
            waiting.append((job, pool.submit(read_stored, job.source, most_pixels=MOST_PIXELS)))
        job, future = waiting.popleft()
        try:
            image = future.result()
        except (ImageError, OSError) as error:
            outcome.problems.append((job.source, _described(error)))
            continue
        yield job, image


def _described(error: ImageError | OSError) -> str:
    """Why an image was left out, as a line."""
    if isinstance(error, ImageError):
        return f'declares more than {MOST_PIXELS:,} pixels' if error.kind == 'too-large' else str(error)
    return error.strerror or str(error)


def _computed(image: StoredImage, upscaler: Upscaler, report: Report) -> StoredImage:
    has_alpha = image.alpha is not None
    pixels = upscaler(image.pixels, (lambda share: report(share / 2)) if has_alpha else report)
    alpha = None
    if image.alpha is not None:
        alpha = upscaler.upscale_alpha(image.alpha, lambda share: report(share / 2))
    return StoredImage(pixels, alpha, image.notices, image.profile, image.resolution)


def _write(job: Job, image: StoredImage, record: Record, format: str, quality: int) -> tuple[Path, str] | None:
    """Write a result; the problem where the format cannot hold it."""
    try:
        write_image(
            job.output, image, format, quality, before=lambda content: record.add(job.source, job.output, content)
        )
    except RFDNError as error:
        return job.source, str(error)
    return None


def _collect(written: deque[Future], outcome: Outcome, *, most: int) -> None:
    """Wait until at most so many results are still being written."""
    while len(written) > most:
        future = written.popleft()
        problem = future.result()
        if problem is None:
            outcome.written += 1
        else:
            outcome.problems.append(problem)
