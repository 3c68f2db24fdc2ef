"""The chat's page in a real browser, whose sockets and network come and go: nothing is missed, and nothing comes twice.

`CHAT_RECOVERY_SCREENSHOT` names a file to keep a picture of the conversation in.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from examples.chat.app import KEEP, SHOWN
from slip_sockets import AsyncSlipSocketsPublisher
from slip_sockets.dev.edge import Limits
from slip_sockets.dev.server import DevServer, DevSettings

from ..conftest import SECRET
from ..examples.chat_backend import Backend
from ..examples.visitor import visit
from .chromium import Chromium
from .page import Page

pytestmark = pytest.mark.browser

MESSAGES = "[...document.querySelectorAll('.message p')].map((one) => one.textContent)"
ENTER = """
document.getElementById("name").value = arguments[0];
document.querySelector("#who-form button").click();
"""
HOLD_HISTORY = """
const load = window.fetch;
window.fetch = async (...request) => {
  const response = await load(...request);
  await new Promise((resolve) => { window.release = resolve; });
  return response;
};
"""


class Chat:
    """The chat behind a development server, and what is said in its lobby by somebody elsewhere."""

    def __init__(self, server: DevServer, backend: Backend, publisher: AsyncSlipSocketsPublisher) -> None:
        self.server = server
        self.page = backend.url
        self.publisher = publisher
        self.said: list[str] = []

    async def say(self, count: int = 1) -> None:
        for _ in range(count):
            number = str(len(self.said))
            said = {"type": "said", "user": "elsewhere", "name": "Grace", "text": number, "message": number, "at": 1}
            await self.publisher.publish_text("room:lobby", json.dumps(said), keep=KEEP)
            self.said.append(number)


class ChatPage(Page):
    async def enter(self, name: str) -> None:
        await self.until("document.getElementById('who')?.open")
        await self.run(ENTER, name)
        await self.see_note("You are in")

    async def see_note(self, text: str) -> None:
        await self.until("document.getElementById('log').textContent.includes(arguments[0])", text)

    async def until_state(self, state: str) -> None:
        await self.until("document.getElementById('state').dataset.state === arguments[0]", state)

    async def messages(self, count: int) -> Any:
        """Wait for the last of them, and return all that stand in the room."""
        await self.until(f"{MESSAGES}.length >= arguments[0]", count)
        return await self.run(f"return {MESSAGES}")

    async def set_offline(self, is_offline: bool) -> None:
        conditions = {"offline": is_offline, "latency": 0, "throughput": 10_000_000}
        await asyncio.to_thread(self.chromium.driver.set_network_conditions, **conditions)


@asynccontextmanager
async def running(limits: Limits, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Chat]:
    monkeypatch.setenv("OUTPUTS", str(outputs))
    monkeypatch.setenv("JWT_SECRET", SECRET)
    monkeypatch.delenv("STACK_NAME", raising=False)
    with closing(Backend()) as backend:
        settings = DevSettings(f"{backend.url}slip", SECRET, port=0, limits=limits, outputs_path=outputs)
        async with (
            DevServer(settings) as server,
            AsyncSlipSocketsPublisher(control_api=server.control_api, jwt_secret=SECRET) as publisher,
        ):
            with backend.running():
                yield Chat(server, backend, publisher)
                await server.edge.aclose(5)


@pytest.fixture
async def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: Chromium) -> AsyncIterator[Chat]:
    async with running(Limits(), tmp_path / "outputs.json", monkeypatch) as chat:
        yield chat


async def opened(chat: Chat, windows: Chromium) -> ChatPage:
    await asyncio.to_thread(windows.open, chat.page)
    return ChatPage(windows)


async def test_a_newcomer_is_shown_what_was_said_before(chat: Chat, windows: Chromium) -> None:
    await chat.say(3)
    page = await opened(chat, windows)
    await page.enter("Ada")
    await chat.say(2)
    assert await page.messages(5) == chat.said
    await asyncio.to_thread(windows.driver.refresh)
    await page.see_note("You are in")
    await chat.say()
    assert await page.messages(6) == chat.said


async def test_what_is_said_while_the_network_is_off_comes_once_when_it_is_on(chat: Chat, windows: Chromium) -> None:
    page = await opened(chat, windows)
    await page.enter("Ada")
    await chat.say(3)
    assert await page.messages(3) == chat.said
    await page.set_offline(True)
    await chat.publisher.close_channel("room:lobby")
    await page.until_state("reconnecting")
    await chat.say(8)
    await page.set_offline(False)
    await page.until_state("connected")
    await page.see_note("Back after")
    await chat.say(2)
    assert await page.messages(13) == chat.said
    if path := os.environ.get("CHAT_RECOVERY_SCREENSHOT"):
        await asyncio.to_thread(windows.driver.save_screenshot, path)


async def test_a_socket_that_is_cut_at_its_age_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: Chromium
) -> None:
    async with running(Limits(max_duration_s=1.5), tmp_path / "outputs.json", monkeypatch) as chat:
        page = await opened(chat, windows)
        await page.enter("Ada")
        backs = "document.getElementById('log').textContent.split('Back after').length - 1"
        for count in range(1, 4):
            await chat.say(20)
            await page.until_state("reconnecting")
            await chat.say(20)
            await page.until(f"{backs} >= arguments[0]", count)
        await chat.say(20)
        assert await page.messages(len(chat.said)) == chat.said


async def test_more_than_is_kept_is_shown_as_far_as_it_is_and_the_page_says_so(chat: Chat, windows: Chromium) -> None:
    page = await opened(chat, windows)
    await page.enter("Ada")
    await chat.say()
    assert await page.messages(1) == ["0"]
    await page.set_offline(True)
    await chat.publisher.close_channel("room:lobby")
    await page.until_state("reconnecting")
    await chat.say(KEEP.count + 1)
    await page.set_offline(False)
    await page.see_note("may be missing here")
    assert await page.messages(SHOWN + 1) == ["0", *chat.said[-SHOWN:]]
    await chat.say()
    assert await page.messages(SHOWN + 2) == ["0", *chat.said[-SHOWN - 1 :]]


async def test_what_is_said_while_the_history_is_loaded_again_comes_once_and_behind_it(
    chat: Chat, windows: Chromium
) -> None:
    page = await opened(chat, windows)
    await page.enter("Ada")
    await page.set_offline(True)
    await chat.publisher.close_channel("room:lobby")
    await page.until_state("reconnecting")
    await chat.say(KEEP.count + 1)
    await page.run(HOLD_HISTORY)
    await page.set_offline(False)
    await page.until("typeof window.release === 'function'")
    await chat.say(3)
    announced = {"type": "announced", "text": "behind the three", "message": "not kept", "at": 1}
    await chat.publisher.publish_text("room:lobby", json.dumps(announced))
    await page.see_note("behind the three")
    await page.run("release()")
    assert await page.messages(SHOWN + 3) == chat.said[-SHOWN - 3 :]


async def test_a_room_that_one_comes_back_to_has_what_was_said_meanwhile(chat: Chat, windows: Chromium) -> None:
    page = await opened(chat, windows)
    await page.enter("Ada")
    await chat.say(2)
    assert await page.messages(2) == chat.said
    await page.run("location.hash = 'tea'")
    await page.until("document.getElementById('room').textContent === 'tea'")
    await page.see_note("You are in")
    await chat.say(SHOWN + 20)
    await page.run("history.back()")
    await page.see_note("You are back")
    assert await page.messages(SHOWN + 22) == chat.said


async def test_who_has_left_is_not_among_the_people_because_of_what_they_said(chat: Chat, windows: Chromium) -> None:
    async with visit(chat.server.websocket_url, name="Grace", room="lobby") as grace:
        await grace.say("0")
        await grace.hear("said")
    page = await opened(chat, windows)
    await page.enter("Ada")
    assert await page.messages(1) == ["0"]
    await page.until("document.getElementById('count').textContent === '1'")
    assert await page.run("return document.getElementById('people').textContent.includes('Ada')")
