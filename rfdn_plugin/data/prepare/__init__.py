"""`rfdn prepare`: from folders of images to paired LMDBs in one pass.

A `PrepareSpec` says what is wanted. Worker processes decode each HR image once, make or read its LR at every scale,
cut and encode the sub-images; this process, the only writer, puts them into the databases in the order of the images.
What is in the databases is therefore the same whatever the number of workers, and `DatabaseWriter` makes it so
whatever interrupts them.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rfdn_plugin.data.images import ImageError, image_size
from rfdn_plugin.data.prepare.database import DatabaseWriter
from rfdn_plugin.data.prepare.sources import Source, find_sources
from rfdn_plugin.data.prepare.spec import PrepareSpec, paths_of, settings_of
from rfdn_plugin.data.prepare.summary import Summary
from rfdn_plugin.data.prepare.tiles import tiles_of
from rfdn_plugin.data.prepare.work import Result, work_through
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.lock import Lock
from rfdn_plugin.utils.progress import progress
from rfdn_plugin.utils.text import counted, shown

__all__ = ['PrepareSpec', 'prepare', 'write_databases']

# Seconds by which the clocks of two file systems may differ.
_CLOCKS_DIFFER = 600
_BYTES_PER_PIXEL = {'bmp': 3.0, 'png': 1.6}  # of photographs; for the estimate of disk space only


def prepare(spec: PrepareSpec, report: Callable[[str], None] = print) -> Summary:
    """Make the databases, or go on with those that were begun.

    Args:
        spec: What is wanted.
        report: Takes each line that is meant for the user.

    Returns:
        What became of every file.

    Raises:
        RFDNError: The spec cannot work, existing databases were made with other settings, LR images are missing, no
            image could be used, or `strict` and one had to be skipped.
    """
    spec.check()
    sources, others = find_sources(spec)
    if spec.strict and others:
        raise RFDNError(f'{others[0][0]}: {others[0][1]} (--strict; {len(others)} such): remove it from the folder')
    with only_writer_of(spec.folder):
        writers = {scale: DatabaseWriter(path, settings_of(spec, scale)) for scale, path in paths_of(spec)}
        _refuse_other_images(writers, sources)
        if spec.strict:
            for record in max((writer.records for writer in writers.values()), key=len):
                _refuse_skip(record)
        if all(writer.finished for writer in writers.values()):
            report(f'{spec.folder} is finished already: nothing was done')
        else:
            _report_start(spec, writers, sources, report)
            # Closed at once when the writing stops, and with it the workers.
            with contextlib.closing(work_through(_jobs(spec, sources, writers), spec.workers)) as results:
                write_databases(writers, results, len(sources), strict=spec.strict)
    paths = [writer.path for writer in writers.values()]
    return Summary.of(writers[1].records, others, paths, spec.crop_size, spec.stride)


def write_databases(
    writers: dict[int, DatabaseWriter], results: Iterable[Result], total: int, strict: bool = False
) -> None:
    """Put images into the databases in order, and finish them.

    Args:
        writers: Writers by scale, 1 for HR.
        results: For each image from the first that some unfinished database lacks: its record, and its values for
            the databases that lack it.
        total: The number of images.
        strict: Stop at a record that says "skipped".
    """
    unfinished = [writer for writer in writers.values() if not writer.finished]
    first = min(writer.taken for writer in unfinished)
    try:
        for writer in unfinished:
            writer.start()
        with progress(total=total, description='prepare', unit='images') as display:
            display.update(first)
            for number, (record, values) in enumerate(results, start=first):
                if strict:
                    _refuse_skip(record)
                _write_image(writers, number, record, values)
                display.update(1)
        _refuse_nothing([unfinished[0].record(number) for number in range(unfinished[0].taken)])
        for writer in reversed(unfinished):  # HR last
            writer.finish()
    finally:
        for writer in unfinished:
            writer.abandon()


def _write_image(
    writers: dict[int, DatabaseWriter], number: int, record: dict, values: Mapping[int, Sequence[bytes | memoryview]]
) -> None:
    for scale, writer in writers.items():
        if number >= writer.taken:
            writer.append(record, values.get(scale, ()))
        elif writer.record(number) != record:
            raise RFDNError(
                f'{record["source"]} became something else than it is in {writer.path.name}: '
                'the images changed; delete the databases and prepare them again'
            )


def _refuse_skip(record: dict) -> None:
    if 'skipped' in record:
        reason = ImageError(record['skipped'], record['detail'])
        raise RFDNError(f'{shown(record["source"])}: {reason} (--strict): repair or remove it, then run again')


def _refuse_nothing(records: list[dict]) -> None:
    if all('skipped' in record for record in records):
        reason = ImageError(records[0]['skipped'], records[0]['detail'])
        first = f'{shown(records[0]["source"])}: {reason}'
        raise RFDNError(f'none of {counted(len(records), "image")} could be used ({first}): give other images')


def _jobs(
    spec: PrepareSpec, sources: list[Source], writers: dict[int, DatabaseWriter]
) -> Iterator[tuple[PrepareSpec, Source, tuple[int, ...]]]:
    """The images that some database lacks, each with the scales of the databases that lack it."""
    done = {scale: len(sources) if writer.finished else writer.taken for scale, writer in writers.items()}
    for number in range(min(done.values()), len(sources)):
        yield spec, sources[number], tuple(scale for scale in writers if done[scale] <= number)


def _refuse_other_images(writers: dict[int, DatabaseWriter], sources: list[Source]) -> None:
    """What is in the databases must be the first of the images that are there now, all of them if it is finished."""
    for writer in writers.values():
        for number, record in enumerate(writer.records):
            if number < len(sources):
                source = sources[number]
                if (record['source'], record['bytes']) != (source.name, source.bytes):
                    now = f'{source.name} ({source.bytes} bytes)'
                elif _is_changed(record, source, writer.begun):
                    now = 'other content of the same size'
                else:
                    continue
            else:
                now = 'missing'
            raise RFDNError(
                f'the images changed since {writer.path.name} was made: {record["source"]} ({record["bytes"]} bytes) '
                f'there, {now} now; put them back, give another --out, or delete the databases'
            )
        if writer.finished and len(writer.records) < len(sources):
            raise RFDNError(
                f'{writer.path} is finished with {counted(len(writer.records), "image")}, there are {len(sources)} now '
                f'({sources[len(writer.records)].name} is new): give another --out, or delete the databases'
            )


def _is_changed(record: dict, source: Source, begun: float) -> bool:
    """Whether the files of an image hold other bytes than when it was taken; only recent ones are read for it."""
    may_be = 'digest' in record and source.changed_after(begun - _CLOCKS_DIFFER)
    return may_be and record['digest'] != source.digest()


def _report_start(
    spec: PrepareSpec, writers: dict[int, DatabaseWriter], sources: list[Source], report: Callable[[str], None]
) -> None:
    done = min(writer.taken for writer in writers.values() if not writer.finished)
    ongoing = f', going on after {done}' if done else ''
    needed = _estimated_bytes(spec, sources[done:])
    free = shutil.disk_usage(spec.folder).free
    space = f'about {needed / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free'
    report(f'{counted(len(sources), "image")} to {spec.folder}{ongoing}; {space}')
    if needed > free:
        report('  this will probably not fit; what is written stays, and the same command goes on after making room')


def _estimated_bytes(spec: PrepareSpec, sources: list[Source], samples: int = 50) -> float:
    """Bytes that the images will take, from the headers of some of them."""
    chosen = sources[:: max(len(sources) // samples, 1)]
    pixels, read = 0, 0
    for source in chosen:
        size = image_size(source.path)
        if size is None:  # not usable; the worker will say why
            continue
        height, width = size
        tiles = tiles_of(height, width, spec.crop_size, spec.stride)
        pixels += sum(tile.height * tile.width for tile in tiles)
        read += 1
    share = 1 + sum(1 / scale**2 for scale in spec.scales)
    return pixels / max(read, 1) * len(sources) * share * _BYTES_PER_PIXEL[spec.encoding]


# --- around the work -----------------------------------------------------------------------------------------------
@contextlib.contextmanager
def only_writer_of(folder: Path) -> Iterator[None]:
    """Make `folder`, keep other processes from writing there meanwhile, and say how to go on after an interruption.

    Raises:
        RFDNError: Another process is writing there, or the disk is full.
        KeyboardInterrupt: The user stopped the work; its text says how to go on.
    """
    with Lock(folder / '.lock', str(folder), 'name another --out'):
        try:
            yield
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt('stopped: run the same command again to go on.') from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise RFDNError(
                f'no space left for {folder} ({shutil.disk_usage(folder).free / 1e6:.0f} MB free): '
                'make room and run the same command again, it goes on from where it stopped'
            ) from error
