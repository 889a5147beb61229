"""A headless browser, where there is one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

PROGRAMS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')


@contextlib.contextmanager
def browser_page(**settings: Any) -> Iterator[Any]:
    """A page of playwright's in the Chromium that is installed; the test is skipped where either is missing."""
    playwright = pytest.importorskip('playwright.sync_api', reason='the package playwright is not installed')
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f'no Chromium is installed ({", ".join(PROGRAMS)})')
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=program, args=['--no-sandbox'])
        try:
            page = browser.new_page(**settings)
            page.set_default_timeout(300_000)  # a machine with much else to do needs minutes to start a browser
            yield page
        finally:
            browser.close()
