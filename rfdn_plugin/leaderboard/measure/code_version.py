"""What the leaderboard's results depend on in the code, so that results of other code are not taken for these."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from rfdn_plugin.utils.version import __version__

_PACKAGE = Path(__file__).parents[2]
_FOLDERS = ('archs', 'weights', 'deploy')
_MEASURES = ('metrics', 'predictors', 'sets', 'complexity', 'probe', 'foreign')
_OTHERS = ('data/bicubic.py', 'data/lr_check.py', 'data/images.py', 'data/pairing.py')


@lru_cache
def code_version() -> str:
    """Changes with what this package's networks and evaluation do, and with the libraries that compute."""
    import basicsr
    import cv2
    import torch

    sources = [path for folder in _FOLDERS for path in (_PACKAGE / folder).rglob('*.py')]
    sources += [_PACKAGE / 'leaderboard' / 'measure' / f'{name}.py' for name in _MEASURES]
    sources += [_PACKAGE / name for name in _OTHERS]
    versions = [__version__, torch.__version__, basicsr.__version__, cv2.__version__]
    digest = hashlib.sha256('\n'.join(versions).encode())
    for path in sorted(sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()
