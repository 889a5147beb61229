"""`rfdn prepare --folders`: test sets as folders of whole PNGs, as the test options of BasicSR read them.

OUT/HR/NAME.png and OUT/LR_bicubic/X{s}/NAMEx{s}.png; each LR is made of the HR cropped to a multiple of its own scale,
as the published sets are. The HR is kept in full: BasicSR crops it to the LR when it tests.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rfdn_plugin.data.bicubic import downscale, mod_crop
from rfdn_plugin.data.images import ImageError, find_images, read_image
from rfdn_plugin.data.prepare.encoding import encode
from rfdn_plugin.data.prepare.spec import PrepareSpec, listed
from rfdn_plugin.data.prepare.summary import Summary
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_write
from rfdn_plugin.utils.progress import progress
from rfdn_plugin.utils.text import shown


def prepare_folders(spec: PrepareSpec) -> Summary:
    """Write the folders of a spec; crop size, step, encoding, shard and workers of it are not used.

    Files that are there with the same pixels stay as they are, so an interrupted call can be repeated.

    Returns:
        What became of every file.

    Raises:
        RFDNError: A file is there with other pixels, two images have one name, LR is given, HR that lies in its place
            is not PNG, `strict` and a file had to be skipped, or nothing could be used.
    """
    if spec.lr:
        raise RFDNError('--folders makes the LR itself: with LR of your own, the folders are already what is needed')
    found, others = find_images(spec.hr, spec.recursive)
    if not found:
        raise RFDNError(f'no image was found in {listed(spec.hr)}')
    names: dict[str, Path] = {}
    for _, name in found:
        if name.stem in names:
            raise RFDNError(f'{names[name.stem]} and {name} would both become {name.stem}.png: rename one of them')
        names[name.stem] = name
    hr_folder = spec.out / 'HR'
    lr_folders = {scale: spec.out / 'LR_bicubic' / f'X{scale}' for scale in sorted(spec.scales)}
    records = []
    for folder, name in progress(found, description='prepare', unit='images'):
        path = folder / name
        record: dict = {'source': name.as_posix()}
        try:
            image = read_image(path)
            height, width = image.rgb.shape[:2]
            if min(height, width) < max(spec.min_size, *spec.scales):
                raise ImageError('too-small', f'{height}x{width}')
        except ImageError as error:
            if spec.strict:
                raise RFDNError(f'{shown(path)}: {error} (--strict): repair or remove it, then run again') from error
            records.append(record | {'skipped': error.kind, 'detail': error.detail})
            continue
        if folder.resolve() == hr_folder.resolve():
            if name.suffix != '.png':
                raise RFDNError(f'{path} is not named .png, as the LR are: give --hr another folder than OUT/HR')
        else:
            _write(hr_folder / f'{name.stem}.png', image.rgb, spec.level)
        for scale, lr_folder in lr_folders.items():
            lr = downscale(mod_crop(image.rgb, scale), scale, spec.border)
            _write(lr_folder / f'{name.stem}x{scale}.png', lr, spec.level)
        records.append(record | {'height': height, 'width': width, 'notices': image.notices})
    if spec.strict and others:
        raise RFDNError(f'{shown(others[0][0])}: {others[0][1]} (--strict): remove it from the folder')
    return Summary.of(records, others, [hr_folder, *lr_folders.values()], crop_size=0, step=0)


def _write(path: Path, rgb: np.ndarray, level: int) -> None:
    if path.exists():
        try:
            is_equal = np.array_equal(read_image(path).rgb, rgb)
        except ImageError:
            is_equal = False
        if not is_equal:
            raise RFDNError(f'{shown(path)} exists with other pixels: delete it, or give another --out')
        return
    with atomic_write(path) as stream:
        stream.write(encode(rgb, 'png', level))
