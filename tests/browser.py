"""Opens a page in headless Chromium and says what it complained of; the test is skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest


@contextmanager
def opened(url: str, scheme: str = "light") -> Iterator[tuple[Any, list[str]]]:
    """The page, and a list that grows with errors, warnings and requests that leave it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if find_spec("playwright") is None or chromium is None:
        pytest.skip("needs playwright (extra browser) and a Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme=scheme)
        complaints: list[str] = []
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("data:", url)) else complaints.append(r.url))
        page.goto(url)
        page.wait_for_timeout(200)
        yield page, complaints
        browser.close()
