"""The web page of a model, in headless Chromium, opened as a file: its output is the network's."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.browser import WEBGPU_WITHOUT_GPU, browser_page
from helpers.networks import outputs_of, small_weights

from rfdn_plugin.cli import main
from rfdn_plugin.deploy.formats import web
from rfdn_plugin.utils.errors import RFDNError

ENDED = "document.body.dataset.done === '{number}' || document.getElementById('status').classList.contains('problem')"


@pytest.fixture(scope='module')
def page_and_network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    pytest.importorskip('onnxruntime', reason='the package onnxruntime is not installed')
    folder = tmp_path_factory.mktemp('web')
    weights, network = small_weights(folder, 'E_RFDN', img_range=255.0, interpolation_start=True)
    target = folder / 'a page.html'
    try:
        web.runtime_folder()
    except RFDNError as error:
        pytest.skip(str(error))
    assert main(['export', '--weights', str(weights), '-o', str(target)]) == 0
    return target, network


def enlarged_by_page(page: Any, image: Path, number: int) -> np.ndarray:
    page.set_input_files('#file', image)
    page.wait_for_function(ENDED.format(number=number))
    assert page.locator('#status.problem').count() == 0, page.inner_text('#status')
    address = page.evaluate("document.getElementById('after').toDataURL('image/png')")
    return cv2.imdecode(np.frombuffer(base64.b64decode(address.split(',')[1]), np.uint8), cv2.IMREAD_UNCHANGED)


def outputs_as_image(network: Any, bgr: np.ndarray) -> np.ndarray:
    """What the network makes of an image, H x W x 3 in OpenCV's order, in whole grey levels."""
    x = bgr[..., 2::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    return np.rint(outputs_of(network, x)[0].clip(0, 1) * 255).transpose(1, 2, 0)[..., ::-1]


def test_pixels_are_the_networks(page_and_network: tuple[Path, Any], tmp_path: Path, photographs: Path) -> None:
    target, network = page_and_network
    photo = cv2.imread(str(photographs / 'photo4.png'))[:40, :56]
    opacity = np.tile(np.linspace(0, 255, 56).round().astype(np.uint8), (40, 1))
    cases = {'photo.png': photo, 'small.png': photo[:9, :14], 'one.png': photo[:1, :1]}
    cases['clear.png'] = np.dstack([photo, np.maximum(opacity, 1)])
    with browser_page(viewport={'width': 900, 'height': 900}) as page:
        problems: list[str] = []
        page.on('pageerror', lambda error: problems.append(str(error)))
        requests: list[str] = []
        page.on('request', lambda request: requests.append(request.url))
        page.goto(target.as_uri())
        for number, (name, bgr) in enumerate(cases.items(), 1):  # the first is chosen before the model is ready
            cv2.imwrite(str(tmp_path / name), bgr)
            wanted = outputs_as_image(network, bgr)
            got = enlarged_by_page(page, tmp_path / name, number).astype(float)
            assert got.shape[:2] == wanted.shape[:2]
            if name == 'clear.png':  # opacity goes with the image; colours that hardly show may lose digits
                assert got.shape[2] == 4 and abs(got[..., 3].mean() - opacity.mean()) < 2
                seen = got[..., 3] > 200
                assert abs(got[..., :3] - wanted)[seen].max() <= 2
            else:
                assert abs(got[..., :3] - wanted).max() <= 1
        text = tmp_path / 'text.png'
        text.write_text('no image')
        page.set_input_files('#file', text)
        page.wait_for_selector('#status.problem')
        assert 'text.png is no image' in page.inner_text('#status')
        with page.expect_download() as download:
            page.click('#save')
        assert download.value.suggested_filename == 'clear_x2.png'
        assert problems == []
        # Nothing is fetched: the file holds all.
        assert {url.split(':')[0] for url in requests} <= {'file', 'blob', 'data'}


@pytest.mark.slow  # 15 s, on a busy machine minutes: the processor compiles the programs for a GPU
def test_webgpu_gives_the_same_pixels(page_and_network: tuple[Path, Any], tmp_path: Path) -> None:
    target, network = page_and_network
    image = np.random.randint(0, 256, (24, 32, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'noise.png'), image)
    with browser_page(WEBGPU_WITHOUT_GPU) as page:
        page.goto(target.as_uri())
        if not page.evaluate('async () => Boolean(navigator.gpu && (await navigator.gpu.requestAdapter()))'):
            pytest.skip('this Chromium has no WebGPU without a GPU')
        got = enlarged_by_page(page, tmp_path / 'noise.png', 1)
        assert 'WebGPU' in page.inner_text('#status')
    assert abs(got[..., :3].astype(float) - outputs_as_image(network, image)).max() <= 1


def test_a_page_is_whole_and_the_card_is_escaped(page_and_network: tuple[Path, Any]) -> None:
    target, _ = page_and_network
    html = target.read_text(encoding='utf-8')
    assert 'src=' not in html and 'href=' not in html.replace('link.href', '')
    assert 'E_RFDN' in html and web.VERSION in html
    page = web.web_page(b'model', {'network': 'RFDN', 'upscale': '2', 'source': '</script><script>alert(1)'})
    assert '<script>alert(1)' not in page


def test_without_npm_the_cure_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    pytest.importorskip('onnxruntime', reason='the package onnxruntime is not installed')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setenv('PATH', '')
    weights, _ = small_weights(tmp_path, 'RFDN')
    assert main(['export', '--weights', str(weights), '-o', str(tmp_path / 'page.html')]) == 1
    error = capsys.readouterr().err
    assert 'npm' in error and error.count('\n') == 1
    assert not (tmp_path / 'page.html').exists()
