"""The page of docs/getting-started.md in two tabs, in front of the backend that stands beside it there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from slip_sockets.dev.server import DevServer, DevSettings

from ..docs.test_getting_started import HTML, PROGRAM
from ..examples.servers import running
from .chromium import Chromium
from .page import Page

pytestmark = pytest.mark.browser

LINES = "[...document.querySelectorAll('li')].map((line) => line.textContent).join()"
SAY = """
document.querySelector("input").value = arguments[0];
document.querySelector("button").click();
"""


@pytest.fixture
async def site(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[str]:
    """The backend and a development server run. Yields the URL of the page."""
    async with DevServer(DevSettings(f"http://127.0.0.1:{unused_tcp_port}/slip", "change-me", port=0)) as server:
        (tmp_path / "static").mkdir()
        (tmp_path / "static" / "page.html").write_text(HTML.replace("8787", str(server.port)))
        (tmp_path / "first.py").write_text(PROGRAM.replace("8787", str(server.port)))
        async with running(
            ("-m", "flask", "--app", "first.py", "run", "--port", str(unused_tcp_port)), cwd=tmp_path
        ) as url:
            yield url


async def test_two_tabs_see_each_other(site: str, windows: Chromium) -> None:
    page, driver = Page(windows), windows.driver
    ann = windows.open(f"{site}/?name=Ann")
    await page.until(f"{LINES} === 'Ann came'")
    bob = windows.open(f"{site}/?name=Bob")
    await page.until(f"{LINES} === 'Bob came'")
    await page.run(SAY, "Hello ☕")
    await page.until(f"{LINES} === 'Bob came,Bob: Hello ☕'")
    driver.switch_to.window(ann)
    await page.until(f"{LINES} === 'Ann came,Bob came,Bob: Hello ☕'")
    await page.run(SAY, "<b>hi</b>")
    driver.switch_to.window(bob)
    await page.until(f"{LINES} === 'Bob came,Bob: Hello ☕,Ann: <b>hi</b>'")
