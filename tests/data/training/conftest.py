from __future__ import annotations

from pathlib import Path

import pytest
from helpers.images import photograph, quiet, spec_for, write

from rfdn_plugin.data.prepare import prepare


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """LMDBs of both encodings, and folders of PNG and BMP files."""
    folder = tmp_path_factory.mktemp('data')
    for number in range(4):
        write(folder / 'images' / f'{number}.png', photograph(number, 150, 201 + number))
    for encoding in ('png', 'bmp'):
        prepare(spec_for(folder / 'images', folder / encoding, encoding=encoding), quiet)
        for number in range(6):
            rgb = photograph(number, 96, 96)
            write(folder / f'files_{encoding}' / 'gt' / f'{number}.{encoding}', rgb)
            write(folder / f'files_{encoding}' / 'lq' / f'{number}.{encoding}', rgb[::2, ::2])
    return folder
