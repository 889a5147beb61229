"""A network as one HTML file: the model, ONNX Runtime Web and a page around them, which opens without a server.

The runtime comes from the npm registry when the first page is made, and is kept in the user's cache folder.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_write

PACKAGE, VERSION = 'onnxruntime-web', '1.30.0'
LOADER, RUNTIME = 'ort.webgpu.bundle.min.mjs', 'ort-wasm-simd-threaded.asyncify.wasm'
"""The two files of the package that run a model by WebGPU, and by WebAssembly where there is none."""

NPM_SECONDS = 120
"""How long npm may take to fetch them (16 MB)."""

SIDE = 768
"""Images of up to this many pixels squared are enlarged whole: a few GB in the browser, whose limit is 4."""

OVERLAP = 32
"""LR pixels that a part sees around it; the convolutions of four blocks look 19 away, attention at all of them."""


def web_page(model: bytes, card: Mapping[str, str]) -> str:
    """The page of a model.

    Args:
        model: An ONNX model, `input` N x 3 x H x W, RGB, 0..1, to `output`.
        card: What it says of itself: 'network' and 'upscale' at least.

    Returns:
        HTML.

    Raises:
        RFDNError: The runtime is not in the cache and cannot be fetched.
    """
    folder = runtime_folder()
    here = Path(__file__).parent
    settings = {
        'scale': int(card['upscale']),
        'side': SIDE,
        'overlap': OVERLAP,
        'providers': ['webgpu', 'wasm'],
    }
    told = {**card, 'runtime': f'ONNX Runtime Web {VERSION} (Microsoft, MIT licence)'}
    # Text of files goes into <script> and <style>; nothing of it comes from the model's card, which is escaped.
    return (
        Environment(autoescape=True)
        .from_string((here / 'page.html.j2').read_text(encoding='utf-8'))
        .render(
            title=f'{card["network"]} ×{card["upscale"]}',
            scale=card['upscale'],
            card=told,
            style=_as_is((here / 'page.css').read_text(encoding='utf-8')),
            script=_as_is((here / 'page.js').read_text(encoding='utf-8')),
            worker=_as_is((here / 'worker.js').read_text(encoding='utf-8')),
            settings=_as_is(json.dumps(settings)),
            model=_packed(model),
            runtime=_packed((folder / RUNTIME).read_bytes()),
            loader=_packed((folder / LOADER).read_bytes()),
        )
    )


def _as_is(text: str) -> str:
    from markupsafe import Markup

    return Markup(text)  # our own files, not a user's words


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def runtime_folder() -> Path:
    """The folder in the user's cache that holds ONNX Runtime Web, fetched from the npm registry where it is not there.

    Raises:
        RFDNError: npm is not installed, or the registry does not give the package.
    """
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    folder = cache / 'rfdn_plugin' / f'{PACKAGE}-{VERSION}'
    if all((folder / name).is_file() for name in (LOADER, RUNTIME)):
        return folder
    npm = shutil.which('npm')
    if npm is None:
        raise RFDNError(
            f'a web page needs {PACKAGE} {VERSION}: install npm, which fetches it, or put {LOADER} and {RUNTIME} of its '
            f'folder dist into {folder}.'
        )
    with tempfile.TemporaryDirectory(prefix='rfdn-npm-') as place:
        command = [npm, 'pack', '--silent', f'{PACKAGE}@{VERSION}']  # npm compares the archive with the registry's hash
        try:
            done = subprocess.run(
                command, cwd=place, capture_output=True, text=True, errors='replace', timeout=NPM_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RFDNError(
                f'npm did not fetch {PACKAGE}@{VERSION} within {NPM_SECONDS} s: is the npm registry within reach?'
            ) from error
        archives = list(Path(place).glob('*.tgz'))
        if done.returncode != 0 or len(archives) != 1:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise RFDNError(f'npm cannot fetch {PACKAGE}@{VERSION} ({lines[-1] if lines else done.returncode}).')
        with tarfile.open(archives[0]) as archive:
            for name in (LOADER, RUNTIME):
                content = archive.extractfile(f'package/dist/{name}')
                if content is None:
                    raise RFDNError(f'{PACKAGE}@{VERSION} holds no dist/{name}: report it.')
                with atomic_write(folder / name) as stream:
                    shutil.copyfileobj(content, stream)
    return folder
