"""Pages in a headless Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aperture_dagster_tests.marks import why_missing

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=why_missing("Chromium", "chromium"))


@contextmanager
def open_page(address: str, *flags: str) -> Iterator[Any]:
    """Open a page of the size of a laptop's screen, for paths below an address."""
    from playwright.sync_api import sync_playwright

    # Its processes would wait for ever with a shifted clock, on which pages do not depend.
    own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags], env=own)
        try:
            screen = {"width": 1440, "height": 900}
            yield browser.new_context(viewport=screen, base_url=address, timezone_id="UTC").new_page()
        finally:
            browser.close()
