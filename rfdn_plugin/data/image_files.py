"""Which files of folders may be images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from rfdn_plugin.data.image_policy import ImageError
from rfdn_plugin.data.lmdb import is_lmdb
from rfdn_plugin.utils.errors import RFDNError

SUFFIXES_OF_FORMATS = {
    'PNG': {'.png', '.apng'},
    'JPEG': {'.jpg', '.jpeg', '.jpe', '.jfif'},
    'MPO': {'.jpg', '.jpeg', '.mpo'},
    'BMP': {'.bmp', '.dib'},
    'DIB': {'.bmp', '.dib'},
    'TIFF': {'.tif', '.tiff'},
    'WEBP': {'.webp'},
    'GIF': {'.gif'},
    'PPM': {'.pbm', '.pgm', '.ppm', '.pnm'},
}
"""The suffixes that fit a format, by Pillow's name of it."""
IMAGE_SUFFIXES = frozenset().union(*SUFFIXES_OF_FORMATS.values(), {'.avif', '.jp2', '.tga'})
"""Suffixes, in lower case, by which a file of a folder is taken for an image."""
_OUR_RECORDS = '.rfdn_'
"""How the names of the files begin that `rfdn upscale` keeps beside its results."""
_SIDE_FILES = {'thumbs.db', 'ehthumbs.db', 'desktop.ini', '.ds_store', '.localized', '@eadir', '__macosx'}


def is_side_file(name: str) -> bool:
    """Whether a file or folder of this name is left beside images by an operating system or a file server."""
    return name.startswith('._') or name.lower() in _SIDE_FILES


def is_special(path: Path) -> bool:
    """Whether something that exists is neither a file nor a folder: reading it could wait for ever."""
    return path.exists() and not path.is_file() and not path.is_dir()


def find_images(
    folders: Iterable[str | os.PathLike], recursive: bool = False
) -> tuple[list[tuple[Path, Path]], list[tuple[Path, ImageError]]]:
    """List the files that may be images, sorted by their path below the folder, and what else lies there.

    A file is a candidate by its name's suffix; whether it is an image is found out when it is read.

    Args:
        folders: Folders, each of which must exist.
        recursive: Enter subfolders, except those named like an image and side folders. A folder that can be reached in
            several ways, through symbolic links, is entered once.

    Returns:
        The candidates as (folder, path below it), and (path, reason) for everything else.

    Raises:
        RFDNError: A folder does not exist, is a file or an LMDB.
    """
    candidates: list[tuple[Path, Path]] = []
    others: list[tuple[Path, ImageError]] = []
    entered: set[Path] = set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            problem = 'is not a folder' if folder.exists() else 'does not exist'
            raise RFDNError(f'the folder of images {folder} {problem}: give the folder that holds the image files')
        if is_lmdb(folder):
            raise RFDNError(f'{folder} is an LMDB: give the folder of images that it was made from')
        if folder.resolve() in entered:
            others.append((folder, ImageError('folder', 'read already')))
            continue
        for path, reason in _walk(folder, folder.resolve(), recursive, entered):
            if reason is not None:
                others.append((path, reason))
            else:
                candidates.append((folder, path.relative_to(folder)))
    candidates.sort(key=lambda item: item[1].as_posix())
    return candidates, others


def _walk(folder: Path, root: Path, recursive: bool, entered: set[Path]) -> Iterator[tuple[Path, ImageError | None]]:
    """The entries of a folder, each with the reason for which it is not a candidate."""
    entered.add(folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.name.startswith(_OUR_RECORDS):
            continue
        is_image_name = path.suffix.lower() in IMAGE_SUFFIXES
        if is_side_file(path.name):
            yield path, ImageError('side-file')
        elif path.is_dir():
            if not recursive:
                yield path, ImageError('folder', '' if is_image_name else 'entered only with --recursive')
            elif is_image_name or path.name.startswith('.'):
                yield path, ImageError('folder')
            elif _is_read_elsewhere(path, root, entered):
                yield path, ImageError('folder', f'a link to {path.resolve()}, which is read already')
            else:
                yield from _walk(path, root, recursive, entered)
        elif is_special(path):
            yield path, ImageError('special-file')
        else:
            yield path, None if is_image_name else ImageError('not-an-image')


def _is_read_elsewhere(path: Path, root: Path, entered: set[Path]) -> bool:
    real = path.resolve()
    if real in entered:
        return True
    # A link into the tree, or to a folder above it: what it leads to is found without the link, or is a loop.
    return path.is_symlink() and (real.is_relative_to(root) or root.is_relative_to(real))
