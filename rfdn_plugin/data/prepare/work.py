"""The processor work of `rfdn prepare`: one image read, shrunk, cut and encoded, in a pool of processes."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from rfdn_plugin.data.bicubic import downscale, mod_crop
from rfdn_plugin.data.images import ImageError, decode_image, read_file
from rfdn_plugin.data.pairing import explain_sizes
from rfdn_plugin.data.prepare.encoding import encode
from rfdn_plugin.data.prepare.sources import Source, digest_of
from rfdn_plugin.data.prepare.spec import PrepareSpec
from rfdn_plugin.data.prepare.tiles import Tile, tiles_of
from rfdn_plugin.data.workers import in_order, worker_pool

# An image's record (a line of images.jsonl), and its encoded sub-images by scale, 1 for HR.
Result = tuple[dict, Mapping[int, Sequence[bytes | memoryview]]]


def work_through(
    jobs: Iterator[tuple[PrepareSpec, Source, tuple[int, ...]]], workers: int
) -> Generator[Result, None, None]:
    """The results of `jobs` in their order, from `workers` processes.

    Args:
        jobs: For each image: the spec, the image, and the scales (1 for HR) whose sub-images are wanted.

    Yields:
        The record and the values of an image.

    Raises:
        RFDNError: A worker died.
    """
    with worker_pool(workers) as pool:
        for _, result in in_order(pool, _work_on, jobs, workers + 1):
            yield result


# --- one image ---------------------------------------------------------------------------------------------------
def _work_on(spec: PrepareSpec, source: Source, scales: tuple[int, ...]) -> Result:
    """One image: its record, and its encoded sub-images for the databases of `scales` (1 for HR)."""
    record: dict = {'source': source.name, 'bytes': source.bytes, 'digest': ''}
    try:
        files = _files_of(source)
        record['digest'] = digest_of(files.values())
        images, notices = _images_of(spec, source, files)
    except ImageError as error:
        return record | {'skipped': error.kind, 'detail': error.detail}, {}
    height, width = images[1].shape[:2]
    tiles = tiles_of(height, width, spec.crop_size, spec.stride)
    values: dict[int, list[bytes | memoryview]] = {
        scale: [encode(_cut(images[scale], tile, scale), spec.encoding, spec.level) for tile in tiles]
        for scale in scales
    }
    if source.key != Path(source.name).with_suffix('').as_posix():
        notices.add('renamed')
    if min(height, width) < spec.crop_size:
        notices.add('small')
    return record | {'key': source.key, 'height': height, 'width': width, 'notices': sorted(notices)}, values


def _cut(image: np.ndarray, tile: Tile, scale: int) -> np.ndarray:
    top, left, height, width = (length // scale for length in tile)
    return image[top : top + height, left : left + width]


def _files_of(source: Source) -> dict[int, bytes]:
    """The bytes of the HR file (1) and of the LR files that are given, by scale."""
    files = {1: read_file(source.path)}
    for scale in sorted(source.lr):
        with _told_as_lr(source, scale):
            files[scale] = read_file(source.lr[scale])
    return files


@contextlib.contextmanager
def _told_as_lr(source: Source, scale: int) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise ImageError(error.kind, f'LR x{scale} {source.lr[scale].name} {error.detail}'.strip()) from error


def _images_of(spec: PrepareSpec, source: Source, files: dict[int, bytes]) -> tuple[dict[int, np.ndarray], set[str]]:
    """RGB of the HR image (1) and of its LR at each scale, cropped to fit each other; the notices of reading them."""
    hr = decode_image(files[1], source.path.suffix)
    notices = set(hr.notices)
    cropped = mod_crop(hr.rgb, spec.multiple)
    height, width = cropped.shape[:2]
    if min(height, width) < max(spec.min_size, 1):
        raise ImageError('too-small', '{}x{}'.format(*hr.rgb.shape[:2]))
    images = {1: cropped}
    for scale in spec.scales:
        if scale not in source.lr:
            images[scale] = downscale(cropped, scale, spec.border)
            continue
        with _told_as_lr(source, scale):
            lr = decode_image(files[scale], source.lr[scale].suffix)
        sizes = list(zip(hr.rgb.shape[:2], lr.rgb.shape[:2], strict=True))
        if any(of_lr not in (of_hr // scale, -(-of_hr // scale)) for of_hr, of_lr in sizes):
            problem = explain_sizes(hr.rgb.shape, lr.rgb.shape, scale, exact=False)[1]
            (hr_height, lr_height), (hr_width, lr_width) = sizes
            raise ImageError('lr-mismatch', problem or f'HR {hr_height}x{hr_width}, LR x{scale} {lr_height}x{lr_width}')
        notices.update(lr.notices)
        images[scale] = lr.rgb[: height // scale, : width // scale]
    return images, notices
