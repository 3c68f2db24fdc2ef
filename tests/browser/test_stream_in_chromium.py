"""The page of the answer in pieces in a real browser, reloaded and cut off in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from slip_sockets import AsyncSlipSocketsPublisher

from ..conftest import SECRET
from ..examples.stream_site import Site, running_site
from .chromium import Chromium
from .page import Page

pytestmark = pytest.mark.browser

ANSWER = "document.getElementById('answer').textContent"
STATE = "document.getElementById('answer').dataset.state"
ASK = """
document.querySelector("input").value = arguments[0];
document.querySelector("button").click();
"""


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch, windows: Chromium) -> AsyncIterator[Site]:
    async with running_site(monkeypatch) as site:
        yield site


async def test_an_answer_goes_on_after_a_reload_and_a_lost_socket(site: Site, windows: Chromium) -> None:
    page = Page(windows)
    await asyncio.to_thread(windows.open, f"{site.url}/")
    await page.run(ASK, "Why?")
    await page.until("location.pathname.startsWith('/answers/')")
    site.model.put("one ")
    await page.until(f"{ANSWER} === 'one '")
    await asyncio.to_thread(windows.driver.refresh)
    site.model.put("two ")
    await page.until(f"{ANSWER} === 'one two '")
    channel = await page.run("return document.getElementById('answer').dataset.channel")
    async with AsyncSlipSocketsPublisher(control_api=site.server.control_api, jwt_secret=SECRET) as publisher:
        await publisher.close_channel(channel)
    site.model.put("three ", "<b>four</b>")
    site.model.finish()
    await page.until(f"{STATE} === 'complete'")
    assert await page.run(f"return {ANSWER}") == "one two three <b>four</b>"
    await asyncio.to_thread(windows.driver.refresh)
    assert await page.run(f"return [{ANSWER}, {STATE}]") == ["one two three <b>four</b>", "complete"]
