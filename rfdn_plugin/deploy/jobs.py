"""Which files `rfdn upscale` is asked to upscale, and under which names the results are written."""

from __future__ import annotations

import glob
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rfdn_plugin.data.images import IMAGE_SUFFIXES, find_images, image_size
from rfdn_plugin.data.lmdb import is_lmdb
from rfdn_plugin.deploy.writing import SUFFIXES
from rfdn_plugin.utils.errors import UsageError

MOST_PIXELS = 1 << 30
"""A file that declares more is not opened: OpenCV does not decode it."""

_VIDEOS = {'.mp4', '.m4v', '.mov', '.mkv', '.avi', '.webm', '.mpg', '.mpeg', '.wmv', '.ts', '.flv'}


@dataclass(frozen=True)
class Job:
    """One image to be upscaled.

    Attributes:
        source: Path of the image.
        output: Path of the result.
        pixels: Of the image by its header; 0 where that cannot be read.
    """

    source: Path
    output: Path
    pixels: int


@dataclass
class Jobs:
    """What was found.

    Attributes:
        images: In the order in which they are worked on.
        ignored: Files in the folders that are no images by their names, counted by their suffix.
    """

    images: list[Job]
    ignored: Counter = field(default_factory=Counter)

    @property
    def typical_side(self) -> int:
        """Of a square as large as the median image."""
        return round(statistics.median(job.pixels for job in self.images) ** 0.5)


def find_jobs(inputs: Sequence[str], folder: Path, format: str) -> Jobs:
    """Find the images.

    Args:
        inputs: Images, folders (with all that lies below them; the tree is kept), or glob patterns.
        folder: Path of the folder for the results. Where it lies inside an input folder, what it holds is no input.
        format: A key of `writing.SUFFIXES`.

    Raises:
        UsageError: An input does not exist, is a video, or is the folder for the results; that is named like an image;
            there is no image at all; two images would have one result; or a result would replace an image that is upscaled.
    """
    if folder.suffix.lower() in IMAGE_SUFFIXES and not folder.exists():
        raise UsageError(f'-o {folder}: results have the names of their images: name a folder for them.')
    found = Jobs([])
    sources: dict[Path, Path] = {}  # the image, and its result
    for path, relative in _files(inputs, folder, found.ignored):
        sources.setdefault(path, folder / relative.with_name(relative.stem + SUFFIXES[format]))
    if not sources:
        if databases := [path for path in inputs if is_lmdb(Path(path))]:
            raise UsageError(f'{databases[0]} is an LMDB: name the folder of images that it was made from.')
        raise UsageError(f'no images in {", ".join(inputs)}: name images, or a folder that holds some.')
    _refuse_clashes(sources)
    for source, output in sources.items():
        height, width = image_size(source, most_pixels=MOST_PIXELS) or (0, 0)
        found.images.append(Job(source, output, height * width))
    return found


def _files(inputs: Sequence[str], results: Path, ignored: Counter) -> Iterator[tuple[Path, Path]]:
    """Each image and its path below the folder of the results."""
    for text in inputs:
        for path in _expanded(text):
            if not path.is_dir():
                _refuse_video(path)
                yield path, Path(path.name)
                continue
            target = results.resolve()
            if target == path.resolve():
                raise UsageError(f'{path} is the folder of the images: name another one for the results (-o).')
            is_inside = path.resolve() in target.parents
            candidates, others = find_images([path], recursive=True)
            for root, relative in candidates:
                if not (is_inside and target in (root / relative).resolve().parents):
                    yield root / relative, relative
            for other, error in others:
                if error.kind == 'not-an-image' and not other.name.startswith('.'):
                    ignored[other.suffix.lower() or other.name] += 1


def _expanded(text: str) -> list[Path]:
    """A path as it is where it exists, else what a glob pattern finds, sorted."""
    path = Path(text).expanduser()
    if path.exists():
        return [path]
    found = sorted(map(Path, glob.glob(str(path), recursive=True)))
    if not found:
        is_pattern = any(sign in text for sign in '*?[')
        raise UsageError(
            f'{text}: {"no file matches" if is_pattern else "there is no such file or folder"}: check the path.'
        )
    return [other for other in found if other.is_dir() or other.suffix.lower() in IMAGE_SUFFIXES]


def _refuse_video(path: Path) -> None:
    if path.suffix.lower() in _VIDEOS:
        raise UsageError(
            f'{path} is a video: take its images out first (ffmpeg -i {path.name} frames/%06d.png) and upscale the folder.'
        )


def _refuse_clashes(sources: dict[Path, Path]) -> None:
    results: dict[Path, Path] = {}
    inputs = {source.resolve() for source in sources}
    for source, output in sources.items():
        if output.resolve() in inputs:
            raise UsageError(f'{output} is one of the images to upscale: name another folder for the results (-o).')
        if (first := results.setdefault(output, source)) != source:
            raise UsageError(
                f'{first} and {source} would both become {output}: rename one, or upscale them separately.'
            )
