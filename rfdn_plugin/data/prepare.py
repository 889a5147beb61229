"""`rfdn prepare`: from folders of pictures to paired LMDBs in one pass.

A `PrepareSpec` says what is wanted. Worker processes decode each HR picture once, make or read its LR at every scale,
cut and encode the sub-images; this process, the only writer, puts them into the databases in the order of the pictures.
What is in the databases is therefore the same whatever the number of workers, and `DatabaseWriter` makes it so
whatever interrupts them.
"""

from __future__ import annotations

import contextlib
import errno
import math
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import threading
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
from PIL import Image

from rfdn_plugin.data.bicubic import Border, downscale, mod_crop
from rfdn_plugin.data.database import DatabaseWriter
from rfdn_plugin.data.encoding import DEFAULT_LEVEL, Encoding, encode, encoder_name
from rfdn_plugin.data.pictures import PictureError, find_pictures, read_picture
from rfdn_plugin.data.summary import Summary
from rfdn_plugin.data.tiles import tiles_of
from rfdn_plugin.errors import RFDNError
from rfdn_plugin.progress import progress

# In BasicSR a key is ASCII, read up to the first dot; LMDB takes up to 511 bytes, `_s001` and more among them.
_LONGEST_NAME = 480
_BYTES_PER_PIXEL = {'bmp': 3.0, 'png': 1.6}  # of photographs; for the estimate of disk space only


@dataclass(frozen=True)
class PrepareSpec:
    """What `rfdn prepare` is asked for.

    Attributes:
        hr: Folders of HR pictures.
        out: The folder that will hold the databases.
        scales: Whole factors; one LR database each.
        lr: For a scale, the folder of given LR pictures instead of MATLAB's bicubic; names as `0001x2.png` or
            `0001.png` for `0001.png`.
        crop_size: Side of a sub-image in HR pixels; 0 keeps whole pictures.
        step: Distance of neighbouring sub-images in HR pixels; half of crop_size where None.
        encoding: 'png' or 'bmp'.
        level: PNG compression level, 0 to 9.
        border: Border of the bicubic: 'symmetric' (MATLAB today) or 'replicate' (older releases).
        min_size: Pictures with a shorter side, in HR pixels, are skipped; set it to the gt_size of the training.
        workers: Processes that decode and encode.
        shard: (i, n): only the i-th of n parts, counted from 1; written to `out/shard_i_of_n`.
        recursive: Enter subfolders of `hr`.
        strict: Stop at the first file that would be skipped.
    """

    hr: tuple[Path, ...]
    out: Path
    scales: tuple[int, ...] = (2, 3, 4)
    lr: dict[int, Path] = field(default_factory=dict)
    crop_size: int = 480
    step: int | None = None
    encoding: Encoding = 'png'
    level: int = DEFAULT_LEVEL
    border: Border = 'symmetric'
    min_size: int = 0
    workers: int = 1
    shard: tuple[int, int] | None = None
    recursive: bool = False
    strict: bool = False

    @property
    def multiple(self) -> int:
        """HR sizes are multiples of this, so that one HR database pairs with the LR of every scale."""
        return math.lcm(*self.scales)

    @property
    def stride(self) -> int:
        """The step in use."""
        if self.step is not None:
            return self.step
        return max(self.crop_size // 2 // self.multiple, 1) * self.multiple

    @property
    def folder(self) -> Path:
        """Where the databases are written: `out`, or this shard's folder in it."""
        return self.out / 'shard_{}_of_{}'.format(*self.shard) if self.shard else self.out

    def check(self) -> None:
        """Raise RFDNError for what cannot work."""
        if not self.scales or min(self.scales) < 2 or len(set(self.scales)) < len(self.scales):
            raise RFDNError(f'scales are different whole numbers of at least 2, not {_listed(self.scales)}')
        if self.crop_size < 0 or self.stride < 1 or self.min_size < 0 or self.workers < 1:
            raise RFDNError('crop size and smallest size are at least 0, step and workers at least 1')
        for name, size in (('crop size', self.crop_size), ('step', self.stride if self.crop_size else 0)):
            if size % self.multiple:
                raise RFDNError(
                    f'{name} {size} is not a multiple of {self.multiple}, which scales {_listed(self.scales)} need: '
                    f'take {max(round(size / self.multiple), 1) * self.multiple}'
                )
        if self.crop_size and self.stride > self.crop_size:
            raise RFDNError(f'step {self.stride} is larger than crop size {self.crop_size}: pixels would be lost')
        if stray := sorted(set(self.lr) - set(self.scales)):
            raise RFDNError(f'LR is given for scale {stray[0]}, which is not among the scales {_listed(self.scales)}')
        if self.shard and not 1 <= self.shard[0] <= self.shard[1]:
            raise RFDNError('shard {}/{} does not exist: shards are counted from 1'.format(*self.shard))
        if not 0 <= self.level <= 9:
            raise RFDNError(f'the PNG compression level is 0 to 9, not {self.level}')


@dataclass(frozen=True)
class _Source:
    """One HR picture, the LR pictures given for it, and the key made from its name."""

    path: Path
    name: str  # below its folder, with '/'
    key: str
    lr: dict[int, Path]


def prepare(spec: PrepareSpec, report: Callable[[str], None] = print) -> Summary:
    """Make the databases, or go on with those that were begun.

    Args:
        spec: What is wanted.
        report: Takes each line that is meant for the user.

    Returns:
        What became of every file.

    Raises:
        RFDNError: The spec cannot work, existing databases were made with other settings, LR pictures are missing, no
            picture could be used, or `strict` and one had to be skipped.
    """
    spec.check()
    sources, others = _find_sources(spec)
    if spec.strict and others:
        raise RFDNError(f'{others[0][0]}: {others[0][1]} (--strict; {len(others)} such): remove it from the folder')
    writers = {
        scale: DatabaseWriter(path, settings_of(spec, scale), _compression(spec)) for scale, path in paths_of(spec)
    }
    _refuse_other_pictures(writers, sources)
    if all(writer.finished for writer in writers.values()):
        report(f'{spec.folder} is finished already: nothing was done')
        return _summary(spec, writers, others)
    spec.folder.mkdir(parents=True, exist_ok=True)
    with one_process_only(spec.folder), errors_for_people(spec.folder):
        _report_start(spec, writers, sources, report)
        results = _worked_through(spec, sources, writers)
        write_databases(writers, results, len(sources), strict=spec.strict)
    return _summary(spec, writers, others)


def paths_of(spec: PrepareSpec) -> list[tuple[int, Path]]:
    """(scale, database): (1, HR) and one for each scale."""
    suffix = '_sub' if spec.crop_size else ''
    names = {1: f'HR{suffix}.lmdb'} | {scale: f'LR_bicubic_X{scale}{suffix}.lmdb' for scale in sorted(spec.scales)}
    return [(scale, spec.folder / name) for scale, name in names.items()]


def settings_of(spec: PrepareSpec, scale: int) -> dict:
    """What the content of the database of one scale depends on, beside the pictures."""
    settings = {
        'format': 1,
        'scale': scale,
        'sizes are multiples of': spec.multiple,
        'crop_size': spec.crop_size,
        'step': spec.stride if spec.crop_size else 0,
        'encoding': encoder_name(spec.encoding, spec.level),
        'min_size': spec.min_size,
        'shard': '{}/{}'.format(*spec.shard) if spec.shard else None,
    }
    if scale > 1:
        settings['LR'] = 'given' if scale in spec.lr else f'bicubic, {spec.border} border'
    return settings


def write_databases(
    writers: dict[int, DatabaseWriter], results: Iterator[tuple[dict, dict[int, list[bytes]]]], total: int, strict: bool
) -> None:
    """Put pictures into the databases in order, and finish them.

    Args:
        writers: By scale, 1 for HR.
        results: For each picture from the first that some unfinished database lacks: its record, and its values for
            the databases that lack it.
        total: The number of pictures.
        strict: Stop at a record that says "skipped".
    """
    unfinished = [writer for writer in writers.values() if not writer.finished]
    for writer in unfinished:
        writer.start()
    first = min(writer.taken for writer in unfinished)
    with progress(total=total, description='prepare', unit='picture') as display:
        display.update(first)
        for number, (record, values) in enumerate(results, start=first):
            if strict and 'skipped' in record:
                reason = PictureError(record['skipped'], record['detail'])
                raise RFDNError(f'{record["source"]}: {reason} (--strict): mend or remove it, then run again')
            for scale, writer in writers.items():
                if number < len(writer.records):
                    if writer.records[number] != record:
                        raise RFDNError(
                            f'{record["source"]} became something else than it is in {writer.path.name}: '
                            'the pictures changed; delete the databases and prepare them again'
                        )
                elif not writer.finished and number == writer.taken:
                    writer.append(record, values.get(scale, []))
            display.update(1)
        records = unfinished[0].all_records()
        if all('skipped' in record for record in records):
            reason = PictureError(records[0]['skipped'], records[0]['detail'])
            raise RFDNError(f'none of the {total} pictures could be used ({records[0]["source"]}: {reason})')
        for writer in reversed(writers.values()):  # HR last
            writer.finish()


# --- what there is to do -------------------------------------------------------------------------------------------
def _find_sources(spec: PrepareSpec) -> tuple[list[_Source], list[tuple[Path, PictureError]]]:
    found, others = find_pictures(spec.hr, spec.recursive)
    if not found:
        looked = _listed(spec.hr)
        hint = f' (it holds {len(others)} other entries; subfolders are entered with --recursive)' if others else ''
        raise RFDNError(f'no picture was found in {looked}{hint}')
    lr_names = {scale: _match_lr(scale, folder, [name for _, name in found]) for scale, folder in spec.lr.items()}
    sources = []
    owners: dict[str, Path] = {}
    for folder, name in found:
        key = key_of(name)
        if key in owners:
            raise RFDNError(f'{owners[key]} and {folder / name} would have the same key {key}: rename one of them')
        owners[key] = folder / name
        lr = {scale: names[name] for scale, names in lr_names.items()}
        sources.append(_Source(folder / name, name.as_posix(), key, lr))
    if spec.shard:
        index, count = spec.shard
        sources = sources[(index - 1) * len(sources) // count : index * len(sources) // count]
        if not sources:
            raise RFDNError(f'shard {index}/{count} is empty: there are only {len(found)} pictures')
    return sources, others


def key_of(name: Path) -> str:
    """The LMDB key of a picture: its path below the folder without the suffix, as ASCII without dots.

    Dots become underscores, other characters than ASCII their UTF-8 in percent notation.
    """
    text = unicodedata.normalize('NFC', name.with_suffix('').as_posix())
    key = quote(text.replace('.', '_'), safe=''.join(map(chr, range(32, 127))))
    if len(key) > _LONGEST_NAME:
        raise RFDNError(f'the name of {name} is too long for a key of LMDB ({len(key)} bytes): rename it')
    return key


def _match_lr(scale: int, folder: Path, hr_names: list[Path]) -> dict[Path, Path]:
    """For each HR picture its LR: `NAMExS` where all of them are so called (DIV2K), else `NAME`."""
    found, _ = find_pictures([folder], recursive=any(len(name.parts) > 1 for name in hr_names))
    by_stem: dict[str, Path] = {}
    for _, name in found:
        stem = name.with_suffix('').as_posix()
        if stem in by_stem:
            raise RFDNError(f'{folder} holds {by_stem[stem].name} and {name.name}: one LR for each HR is needed')
        by_stem[stem] = folder / name
    stems = [name.with_suffix('').as_posix() for name in hr_names]
    fewest_missing: list[str] = stems
    for ending in (f'x{scale}', ''):
        missing = [stem + ending for stem in stems if stem + ending not in by_stem]
        if not missing:
            return {name: by_stem[stem + ending] for name, stem in zip(hr_names, stems, strict=True)}
        if len(missing) < len(fewest_missing) or fewest_missing is stems:
            fewest_missing = missing
    raise RFDNError(
        f'{folder} lacks the LR x{scale} of {len(fewest_missing)} of {len(stems)} HR pictures '
        f'({_listed(fewest_missing[:5])}{" ..." if len(fewest_missing) > 5 else ""}): is it the folder of this set?'
    )


def _refuse_other_pictures(writers: dict[int, DatabaseWriter], sources: list[_Source]) -> None:
    """What is in the databases must be the first of the pictures that are there now, all of them if it is finished."""
    for writer in writers.values():
        for number, record in enumerate(writer.records):
            if number < len(sources):
                source = sources[number]
                size = source.path.stat().st_size
                if (record['source'], record['bytes']) == (source.name, size):
                    continue
                now = f'{source.name} ({size} bytes)'
            else:
                now = 'missing'
            raise RFDNError(
                f'the pictures changed since {writer.path.name} was made: {record["source"]} ({record["bytes"]} bytes) '
                f'there, {now} now; put them back, give another --out, or delete the databases'
            )
        if writer.finished and len(writer.records) < len(sources):
            raise RFDNError(
                f'{writer.path} is finished with {len(writer.records)} pictures, there are {len(sources)} now '
                f'({sources[len(writer.records)].name} is new): give another --out, or delete the databases'
            )


def _report_start(
    spec: PrepareSpec, writers: dict[int, DatabaseWriter], sources: list[_Source], report: Callable[[str], None]
) -> None:
    done = min(writer.taken for writer in writers.values() if not writer.finished)
    ongoing = f', going on after {done}' if done else ''
    needed = _estimated_bytes(spec, sources[done:])
    free = shutil.disk_usage(spec.folder).free
    report(
        f'{len(sources)} pictures to {spec.folder}{ongoing}; about {needed / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free'
    )
    if needed > free:
        report('  this will probably not fit; what is written stays, and the same command goes on after making room')


def _estimated_bytes(spec: PrepareSpec, sources: list[_Source], samples: int = 50) -> float:
    """Bytes that the pictures will take, from the headers of some of them."""
    chosen = sources[:: max(len(sources) // samples, 1)]
    pixels, read = 0, 0
    for source in chosen:
        try:
            with Image.open(source.path) as header:
                width, height = header.size
        except (OSError, Image.DecompressionBombError):  # not usable; the worker will say why
            continue
        tiles = tiles_of(height, width, spec.crop_size, spec.stride)
        pixels += sum(tile.height * tile.width for tile in tiles)
        read += 1
    share = 1 + sum(1 / scale**2 for scale in spec.scales)
    return pixels / max(read, 1) * len(sources) * share * _BYTES_PER_PIXEL[spec.encoding]


def _compression(spec: PrepareSpec) -> int:
    return spec.level if spec.encoding == 'png' else 0


# --- the work on one picture, in a worker process ------------------------------------------------------------------
def _work_on(spec: PrepareSpec, source: _Source, scales: tuple[int, ...]) -> tuple[dict, dict[int, list[bytes]]]:
    """One picture: its record, and its encoded sub-images for the databases of `scales` (1 for HR)."""
    record: dict = {'source': source.name, 'bytes': source.path.stat().st_size}
    try:
        pictures, notices = _pictures_of(spec, source)
    except PictureError as error:
        return record | {'skipped': error.kind, 'detail': error.detail}, {}
    height, width = pictures[1].shape[:2]
    tiles = tiles_of(height, width, spec.crop_size, spec.stride)
    values = {
        scale: [
            encode(
                _cut(pictures[scale], tile.top, tile.left, tile.height, tile.width, scale), spec.encoding, spec.level
            )
            for tile in tiles
        ]
        for scale in scales
    }
    if source.key != Path(source.name).with_suffix('').as_posix():
        notices.add('renamed')
    if min(height, width) < spec.crop_size:
        notices.add('small')
    return record | {'key': source.key, 'height': height, 'width': width, 'notices': sorted(notices)}, values


def _cut(picture: np.ndarray, top: int, left: int, height: int, width: int, scale: int) -> np.ndarray:
    top, left, height, width = (length // scale for length in (top, left, height, width))
    return picture[top : top + height, left : left + width]


def _pictures_of(spec: PrepareSpec, source: _Source) -> tuple[dict[int, np.ndarray], set[str]]:
    """RGB of the HR picture (1) and of its LR at each scale, cropped to fit each other; the notices of reading them."""
    hr = read_picture(source.path)
    notices = set(hr.notices)
    cropped = mod_crop(hr.rgb, spec.multiple)
    height, width = cropped.shape[:2]
    if min(height, width) < max(spec.min_size, 1):
        raise PictureError('too-small', '{}x{}'.format(*hr.rgb.shape[:2]))
    pictures = {1: cropped}
    for scale in spec.scales:
        if scale not in source.lr:
            pictures[scale] = downscale(cropped, scale, spec.border)
            continue
        try:
            lr = read_picture(source.lr[scale])
        except PictureError as error:
            raise PictureError(error.kind, f'LR x{scale} {source.lr[scale].name} {error.detail}'.strip()) from error
        sizes = list(zip(hr.rgb.shape[:2], lr.rgb.shape[:2], strict=True))
        if any(of_lr not in (of_hr // scale, -(-of_hr // scale)) for of_hr, of_lr in sizes):
            (hr_height, lr_height), (hr_width, lr_width) = sizes
            raise PictureError('lr-mismatch', f'HR {hr_height}x{hr_width}, LR x{scale} {lr_height}x{lr_width}')
        notices.update(lr.notices)
        pictures[scale] = lr.rgb[: height // scale, : width // scale]
    return pictures, notices


def _worked_through(
    spec: PrepareSpec, sources: list[_Source], writers: dict[int, DatabaseWriter]
) -> Iterator[tuple[dict, dict[int, list[bytes]]]]:
    """The results for the pictures that some database lacks, in order, from the worker processes."""
    done = {scale: len(sources) if writer.finished else writer.taken for scale, writer in writers.items()}
    jobs = (
        (source, tuple(scale for scale in writers if done[scale] <= number))
        for number, source in enumerate(sources)
        if number >= min(done.values())
    )
    # Forked workers start at once; a thread that another library runs in this process does not reach them.
    context = multiprocessing.get_context('fork' if 'fork' in multiprocessing.get_all_start_methods() else None)
    with ProcessPoolExecutor(spec.workers, mp_context=context, initializer=_start_worker) as pool:
        waiting: deque[Future] = deque()
        try:
            for source, scales in jobs:
                waiting.append(pool.submit(_work_on, spec, source, scales))
                if len(waiting) > spec.workers + 1:  # enough to keep them busy, few enough to bound the memory
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RFDNError(
                'a worker process died (killed, or out of memory): run the same command again to go on, '
                'perhaps with fewer --workers'
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)  # the processes are the parallelism
    cv2.utils.logging.setLogLevel(
        cv2.utils.logging.LOG_LEVEL_SILENT
    )  # what OpenCV would print about a damaged picture is in the record
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)  # a killed parent cannot end its workers


# --- around the work -----------------------------------------------------------------------------------------------
@contextlib.contextmanager
def one_process_only(folder: Path) -> Iterator[None]:
    """Refuse to write where another process is writing; where the system cannot lock, go on without."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RFDNError(f'another process is writing to {folder}: wait until it is done') from error
        except OSError:  # some network file systems have no locks
            pass
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def errors_for_people(folder: Path) -> Iterator[None]:
    """What interrupts the writing, as one line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise RFDNError('stopped: run the same command again to go on') from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RFDNError(
            f'no space left for {folder} ({shutil.disk_usage(folder).free / 1e6:.0f} MB free): '
            'make room and run the same command again, it goes on from where it stopped'
        ) from error


def _summary(spec: PrepareSpec, writers: dict[int, DatabaseWriter], others: list[tuple[Path, PictureError]]) -> Summary:
    records = next(iter(writers.values())).all_records()
    return Summary.of(records, others, [writer.path for writer in writers.values()], spec.crop_size, spec.stride)


def _listed(items: object) -> str:
    return ' '.join(map(str, items))
