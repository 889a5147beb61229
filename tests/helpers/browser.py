"""A headless browser, where there is one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

PROGRAMS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')


WEBGPU_WITHOUT_GPU = (
    '--enable-unsafe-webgpu',
    '--use-webgpu-adapter=swiftshader',
    '--enable-features=Vulkan',
    '--use-vulkan=swiftshader',
)
"""Arguments of Chromium for WebGPU computed by the processor."""


@contextlib.contextmanager
def browser_page(arguments: Sequence[str] = (), **settings: Any) -> Iterator[Any]:
    """A page of playwright's in the Chromium that is installed; the test is skipped where either is missing."""
    playwright = pytest.importorskip('playwright.sync_api', reason='the package playwright is not installed')
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f'no Chromium is installed ({", ".join(PROGRAMS)})')
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=program, args=['--no-sandbox', *arguments])
        try:
            page = browser.new_page(**settings)
            page.set_default_timeout(300_000)  # a machine with much else to do needs minutes to start a browser
            yield page
        finally:
            browser.close()
