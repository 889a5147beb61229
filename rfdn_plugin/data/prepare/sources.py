"""Which images go into the databases, under which keys, with which LR."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rfdn_plugin.data.images import ImageError, find_images, read_file
from rfdn_plugin.data.pairing import pair_names, stems_of
from rfdn_plugin.data.prepare.spec import PrepareSpec, listed
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.text import counted, shown, some_of

# In BasicSR a key is ASCII, read up to the first dot; LMDB takes up to 511 bytes, `_s001` and more among them.
_LONGEST_NAME = 480
_PRINTABLE = ''.join(map(chr, range(32, 127)))


@dataclass(frozen=True)
class Source:
    """One HR image, the LR images given for it, and the key made from its name."""

    path: Path
    name: str  # below its folder, with '/'
    key: str
    lr: dict[int, Path]

    @property
    def bytes(self) -> int:
        """Its size on the disk; 0 for a link that leads nowhere."""
        return self.path.stat().st_size if self.path.exists() else 0

    def changed_after(self, moment: float) -> bool:
        """Whether a file of it may have another content than at a moment in seconds: written, replaced or renamed."""
        files = [path.stat() for path in (self.path, *self.lr.values()) if path.exists()]
        return any(max(file.st_mtime, file.st_ctime) > moment for file in files)

    def digest(self) -> str:
        """A digest of the bytes of the image and of its given LR, '' where one of them cannot be read."""
        try:
            return digest_of([read_file(self.path), *(read_file(self.lr[scale]) for scale in sorted(self.lr))])
        except ImageError:
            return ''


def digest_of(files: Iterable[bytes]) -> str:
    """Equal for files of equal bytes and, for all practical purposes, for those only."""
    digest = hashlib.blake2b(digest_size=16)
    for data in files:
        digest.update(hashlib.blake2b(data, digest_size=16).digest())
    return digest.hexdigest()


def find_sources(spec: PrepareSpec) -> tuple[list[Source], list[tuple[Path, ImageError]]]:
    """The images of a spec (of its shard) in the order of their names, and the other files with their reasons.

    Raises:
        RFDNError: A folder is missing or holds no images, two images have one key, LR images are missing.
    """
    found, others = find_images(spec.hr, spec.recursive)
    if not found:
        looked = listed(spec.hr)
        hint = f' (it holds {len(others)} other entries; subfolders are entered with --recursive)' if others else ''
        raise RFDNError(f'no image was found in {looked}{hint}: give the folder that holds the image files')
    lr_names: dict[int, dict[Path, Path]] = {}
    for scale, folder in spec.lr.items():
        lr_names[scale], more = _match_lr(scale, folder, [name for _, name in found])
        others += more
    stems = Counter((folder, name.with_suffix('')) for folder, name in found)
    sources = []
    owners: dict[str, Path] = {}
    for folder, name in found:
        key = key_of(name)
        if stems[folder, name.with_suffix('')] > 1 and not spec.lr:  # photo.jpg beside photo.png
            key = key_of(name.with_name(f'{name.stem}_{name.suffix[1:].lower()}.{name.suffix[1:]}'))
        if key in owners:
            both = [str(owners[key]), str(folder / name)]
            if len({unicodedata.normalize('NFC', one) for one in both}) == 1:  # they look alike: accents in two parts
                both = [ascii(one) for one in both]
            raise RFDNError(f'{shown(" and ".join(both))} would have the same key {key}: rename one of them')
        owners[key] = folder / name
        lr = {scale: names[name] for scale, names in lr_names.items()}
        sources.append(Source(folder / name, name.as_posix(), key, lr))
    if spec.shard:
        index, count = spec.shard
        sources = sources[(index - 1) * len(sources) // count : index * len(sources) // count]
        if not sources:
            raise RFDNError(f'shard {index}/{count} is empty, of {counted(len(found), "image")}: take fewer shards')
    return sources, others


def key_of(name: Path) -> str:
    """The LMDB key of an image: its path below the folder without the suffix, as ASCII without dots.

    Dots become underscores, other characters than ASCII their UTF-8 in percent notation.
    """
    text = unicodedata.normalize('NFC', name.with_suffix('').as_posix())
    key = quote(text.replace('.', '_'), safe=_PRINTABLE, errors='surrogateescape')
    if len(key) > _LONGEST_NAME:
        raise RFDNError(f'the name of {name} is too long for a key of LMDB ({len(key)} bytes): rename it')
    return key


def _match_lr(scale: int, folder: Path, hr_names: list[Path]) -> tuple[dict[Path, Path], list[tuple[Path, ImageError]]]:
    """For each HR image its LR, named in one of the ways that `pairing` knows; and what is left over."""
    found, others = find_images([folder], recursive=any(len(name.parts) > 1 for name in hr_names))
    try:
        files = stems_of(name.as_posix() for _, name in found)
    except RFDNError as error:
        raise RFDNError(f'{folder}: one LR for each HR is needed: {error}') from error
    stems = {name: name.with_suffix('').as_posix() for name in hr_names}
    pairing = pair_names(stems.values(), files, scale)
    if pairing.missing:
        missing = some_of(pairing.lr_of[stem] for stem in pairing.missing)
        raise RFDNError(
            f'{folder} lacks the LR x{scale} of {len(pairing.missing)} of {len(stems)} HR images ({missing}): '
            'is it the folder of this set?'
        )
    matched = {name: folder / files[pairing.lr_of[stem]] for name, stem in stems.items()}
    return matched, others + [(folder / files[stem], ImageError('lr-without-hr')) for stem in pairing.surplus]
