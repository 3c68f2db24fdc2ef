"""The inspector's page in a real browser.

`INSPECTOR_SCREENSHOTS` names a folder to keep pictures in.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from slip_sockets.dev.server import DevServer
from slip_sockets.dialects import Dialect
from slip_sockets.gateway.values import Membership
from slip_sockets.grip.framing import Event

from ..contract.wire import (
    Control,
    accept,
    connect,
    joined,
    publish,
    replies,
    running,
    set_metadata,
    subscribe,
    text,
)
from ..grip.backend import GripScript, reply
from ..grip.backend import Post as GripPost
from ..grip.backend import text as grip_text
from ..scripted_backend import Events, Post, ScriptedBackend
from .chromium import Chromium
from .page import Page

pytestmark = pytest.mark.browser

MANY = 1_000
A_LOT = 1_000
"""Events, at a hundred a second or more."""
ROUNDS = 5
FROZEN_MS = 1_000
"""Nobody would call a page that is late by less frozen, whatever else this machine does."""


class InspectorPage(Page):
    """A window with the inspector in it."""

    async def do(self, act: Callable[[InspectorPage], object]) -> None:
        await asyncio.to_thread(act, self)

    def find(self, selector: str) -> WebElement:
        return self.chromium.driver.find_element(By.CSS_SELECTOR, selector)

    def type(self, selector: str, *keys: str) -> None:
        self.find(selector).send_keys(*keys)

    async def see(self, selector: str, words: str) -> None:
        await self.until(
            "[...document.querySelectorAll(arguments[0])].some((one) => one.checkVisibility() "
            "&& one.innerText.includes(arguments[1]))",
            selector,
            words,
        )

    async def keep(self, name: str) -> None:
        if folder := os.environ.get("INSPECTOR_SCREENSHOTS"):
            await asyncio.to_thread(self.chromium.driver.save_screenshot, str(Path(folder) / name))


@pytest.fixture
async def server(backend: ScriptedBackend) -> AsyncIterator[DevServer]:
    async with running(backend.url, backend_timeout_s=5, inspector=True) as server:
        yield server


async def opened(windows: Chromium, server: DevServer) -> InspectorPage:
    page = InspectorPage(windows)
    await page.do(lambda _: windows.open(str(server.inspector_url)))
    await page.do(lambda _: windows.driver.set_window_size(1440, 900))
    await page.see("#live", "Live")
    return page


@pytest.fixture
async def page(server: DevServer, windows: Chromium) -> InspectorPage:
    return await opened(windows, server)


async def test_the_page_shows_an_event_and_all_that_came_of_it(
    server: DevServer, backend: ScriptedBackend, page: InspectorPage
) -> None:
    backend.script = replies(TEXT=lambda post: [publish("lobby", "<b>said</b>")])
    async with joined(server, backend, "lobby") as member:
        await page.see("#connections li", member.connection_id)
        await member.client.send("<img src=x onerror=alert(1)>")
        await page.see("#records .subject", "<img src=x onerror=alert(1)>")
        await page.do(lambda page: page.type("#records", Keys.END))
        await page.see("#details", "Its response")
        await page.see("#details .steps", "<b>said</b>")
        post = backend.posts[-1]
        assert post.headers["Authorization"] in await page.run("return document.querySelector('#details').textContent")
        assert await page.run("return document.querySelectorAll('#records img, #details img, #details b').length") == 0
        await page.keep("light.png")
    await page.see("#records .kind", "CLOSE")
    await page.until("document.querySelectorAll('#connections li').length === 0")


async def test_frames_of_grip_are_shown_apart_and_control_messages_indented(windows: Chromium) -> None:
    async def script(post: GripPost) -> web.Response:
        if post.events[0].type == "OPEN":
            control = grip_text('c:{"type":"subscribe","channel":"lobby","filters":["skip-self"]}')
            return reply(Event("OPEN"), control, Sec_WebSocket_Extensions="grip", Set_Meta_Name="ada")
        return reply(*(grip_text(f"m:{each}") for each in post.texts), Event("CLOSE", b"\x03\xe8"))

    backend = GripScript(script)
    await backend.start()
    try:
        async with running(backend.url, backend_protocol=Dialect.GRIP, inspector=True) as server:
            page = await opened(windows, server)
            async with connect(server) as client:
                await page.see("#records .kind", "OPEN")
                await page.do(lambda page: page.type("#records", Keys.END))
                await page.see("#details .frames pre", 'c:{\n  "type": "subscribe",\n  "channel": "lobby",')
                await page.keep("grip-open.png")
                await client.send("<b>hello</b>")
                assert await client.recv() == "<b>hello</b>"
                await page.see("#records .kind", "TEXT")
                await page.do(lambda page: page.find("#records .kind.TEXT").click())
                await page.see("#details .frames li", "TEXT\n14 bytes\nm:<b>hello</b>")
                await page.see("#details .frames li", "CLOSE\n2 bytes\n1000")
                await page.keep("grip-text.png")
    finally:
        await backend.aclose()


async def test_the_page_counts_calls_failures_and_deliveries(
    server: DevServer, backend: ScriptedBackend, page: InspectorPage
) -> None:
    async def shown() -> dict[str, str]:
        pairs = "[...document.querySelectorAll('#metrics div')].map(({ children: [name, value] }) => "
        found: dict[str, str] = await page.run(
            f"return Object.fromEntries({pairs} [name.textContent, value.textContent]))"
        )
        return found

    async def count(name: str, value: str) -> None:
        await page.until(
            "[...document.querySelectorAll('#metrics div')].some(({ children: [name, value] }) => "
            "name.textContent === arguments[0] && value.textContent === arguments[1])",
            name,
            value,
        )

    assert await shown() == {"Backend calls": "0", "Failures": "0", "Sent": "0", "Gone": "0", "Queued": "0"}
    backend.script = replies(TEXT=lambda post: [publish("lobby", "to both")])
    async with joined(server, backend, "lobby") as ada, joined(server, backend, "lobby") as eve:
        await ada.client.send("hello")
        assert [await member.recv() for member in (ada, eve)] == ["to both"] * 2
        await count("Sent", "2")
        await count("Backend calls", "3")
        assert re.fullmatch(r"\d+(\.\d)? ms", (await shown())["Median"])
        assert re.fullmatch(r"\d+(\.\d)? ms", (await shown())["95th percentile"])
        backend.script = replies(TEXT=lambda _: web.Response(status=500))
        await ada.client.send("boom")
        await count("Backend calls", "4, 1 failed")
        await count("Failures", "1")
        await page.keep("metrics.png")


async def test_a_failing_backend_stands_out_and_says_what_to_do(
    server: DevServer, backend: ScriptedBackend, page: InspectorPage
) -> None:
    backend.script = replies(TEXT=lambda _: web.Response(status=500, text="KeyError: 'user'"))
    driver = page.chromium.driver
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    await page.do(lambda _: driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark))
    async with joined(server, backend, "lobby") as member:
        await member.client.send("boom")
        await page.see("#failing", "Your backend responded with 500 Internal Server Error")
        await page.see("#failing", "Look at its log")
        await page.do(lambda page: page.find("#failing-show").click())
        await page.see("#details pre", "KeyError: 'user'")
        await page.see("#records .failed .status", "backend 500")
        await page.keep("dark.png")
        backend.script = replies(TEXT=lambda _: [])
        await member.client.send("fine")
        await page.until("document.querySelector('#failing').hidden")


async def test_the_page_can_send_publish_and_close(
    server: DevServer, backend: ScriptedBackend, page: InspectorPage
) -> None:
    async with joined(server, backend, "lobby") as member:
        await page.see("#connections li", member.connection_id)
        await page.do(lambda page: page.type("#connections", Keys.ARROW_DOWN))
        await page.see("#details h2", member.connection_id)
        await page.do(lambda page: page.type("#details input", "for you", Keys.ENTER))
        assert await member.recv() == "for you"
        await page.do(lambda page: page.find(".channels button").click())
        await page.see("#details h2", "lobby")
        await page.do(lambda page: page.find(".actions > button").click())
        await page.do(lambda page: page.type("#publish-text", "for all"))
        await page.do(lambda page: page.find("#publish button").click())
        assert await member.recv() == "for all"
        await page.see("#publish-result", "1 matched: 1 sent, 0 gone, 0 queued.")
        await page.do(lambda page: page.find("#details .channels button").click())
        await page.see("#details h2", member.connection_id)
        await page.do(lambda page: page.find(".actions > button").click())
        assert await member.close_code() == 1000
        await page.see("#details", "No longer open")


async def test_the_page_shows_who_is_at_a_connection_and_reaches_them(
    server: DevServer, backend: ScriptedBackend, page: InspectorPage
) -> None:
    async with joined(server, backend, "lobby", user="ann") as member, joined(server, backend, user="ann") as other:
        await page.see("#connections .user", "ann")
        assert "$user:" not in await asyncio.to_thread(lambda: page.find("#connections").text)
        await page.do(lambda page: page.find(f"#connections [data-id='{member.connection_id}']").click())
        await page.see("#details .facts", "user ann")
        await page.do(lambda page: page.find(".channels button").click())
        await page.do(lambda page: page.type("#publish-text", "to ann"))
        await page.do(lambda page: page.find("#publish button").click())
        assert [await member.recv(), await other.recv()] == ["to ann", "to ann"]


async def test_the_page_shows_who_is_in_a_channel(
    server: DevServer, backend: ScriptedBackend, page: InspectorPage
) -> None:
    async with joined(server, backend, "lobby") as member:
        await page.see("#connections li", member.connection_id)
        await page.do(lambda page: page.type("#connections", Keys.ARROW_DOWN))
        await page.do(lambda page: page.find(".channels button").click())
        await page.see("#details", "None. Those are members who are subscribed with presence.")
        await server.connections.subscribe(member.connection_id, "lobby", None, Membership("ann", b'{"name":"<b>"}'))
        backend.script = replies(TEXT=lambda post: [set_metadata(post.connection_id, {"n": 1})])
        await member.client.send("something happens")
        await page.see("#details .members code", "ann")
        await page.see("#details .members pre", '{\n  "name": "<b>"\n}')
        await page.see("#details h3 small", "1")


async def test_a_test_socket_speaks_and_hears_from_the_page(
    server: DevServer, backend: ScriptedBackend, page: InspectorPage
) -> None:
    def script(post: Post) -> Events:
        id_ = post.connection_id
        if post.event["type"] == "OPEN":
            return [accept(id_, subprotocol="v1"), set_metadata(id_, post.body["metadata"]["query"])]
        return (
            [text(id_, f"{post.body['metadata']['name'][0]}: {post.event['data']}")]
            if post.event["type"] == "TEXT"
            else []
        )

    backend.script = script
    await page.do(lambda page: page.type("#test-query", "name=ada"))
    await page.do(lambda page: page.type("#test-protocols", "v1, v2", Keys.ENTER))
    await page.see("#test-log", "Open, with v1")
    await page.do(lambda page: page.type("#test-text", "hello", Keys.ENTER))
    await page.see("#test-log .in", "ada: hello")
    await page.do(lambda page: page.find("#test-button").click())
    await page.see("#test-log", "Closed: 1000")
    backend.script = lambda _: []
    await page.do(lambda page: page.find("#test-button").click())
    await page.see("#test-log", "Refused, or cut: see the timeline")
    await page.see("#records .status", "refused 400")


async def test_the_timeline_is_filtered_and_paused_by_keyboard(
    server: DevServer, backend: ScriptedBackend, page: InspectorPage
) -> None:
    visible = "[...document.querySelectorAll('#records li')].filter((row) => !row.hidden).length"
    async with joined(server, backend, "lobby") as ada, joined(server, backend, "lobby") as eve:
        for member, said in ((ada, "tea"), (eve, "coffee")):
            await member.client.send(said)
        await page.until("document.querySelectorAll('#records li').length === 4")
        await page.do(lambda page: page.type("body", "/coffee"))
        await page.until(f"{visible} === 1")
        await page.do(lambda page: page.type("#filter", Keys.CONTROL, "a", Keys.NULL, Keys.DELETE, Keys.ESCAPE))
        await page.until(f"{visible} === 4")
        await page.do(lambda page: page.type("#connections", Keys.HOME, Keys.ENTER))
        await page.until(f"{visible} === 2")
        await page.do(lambda page: page.find("#of-all").click())
        await page.do(lambda page: page.type("body", "p"))
        await page.see("#live", "Paused")
        await ada.client.send("unseen")
        await backend.next_post("TEXT")
        await backend.next_post("TEXT")
        await backend.next_post("TEXT")
        await page.do(lambda page: page.type("body", "p"))
        await page.see("#records .subject", "unseen")


async def test_a_page_comes_back_when_the_server_does(backend: ScriptedBackend, windows: Chromium) -> None:
    page = InspectorPage(windows)
    async with running(backend.url, inspector=True) as server:
        await page.do(lambda _: windows.open(str(server.inspector_url)))
        await page.see("#live", "Live")
    await page.see("#live", "Server away")
    async with (
        running(backend.url, inspector=True, port=server.port) as again,
        joined(again, backend, "lobby") as member,
    ):
        await page.see("#live", "Live")
        await page.see("#connections li", member.connection_id)


async def test_many_connections_and_events_do_not_freeze_the_page(
    server: DevServer, backend: ScriptedBackend, page: InspectorPage
) -> None:
    backend.script = lambda post: [accept(post.connection_id), subscribe(post.connection_id, "lobby")]
    gaps = """window.longest = 0; let last = performance.now();
    (function look() { const now = performance.now(); longest = Math.max(longest, now - last); last = now;
      setTimeout(look, 0); })();"""
    clients = []
    async with Control.open(server.control_api) as control:
        for _ in range(MANY // 50):
            clients += await asyncio.gather(*(connect(server) for _ in range(50)))
        await page.until(f"document.querySelectorAll('#connections li').length === {MANY}")
        await page.run(gaps)
        newest = "Number(document.querySelector('#records li:last-child').id.slice(2))"
        pauses: list[float] = []
        for _ in range(ROUNDS):
            before = await page.run(f"window.longest = 0; return {newest}")
            for number in range(A_LOT // ROUNDS // 10):
                await asyncio.gather(*(control(publish("nobody", f"{number}-{n}")) for n in range(10)))
            await page.until(
                "[...document.querySelectorAll('#records li')].at(-1)?.querySelector('.ms').textContent !== '…' "
                f"&& {newest} >= arguments[0]",
                before + A_LOT // ROUNDS,
            )
            pauses.append(await page.run("return longest"))
        assert await page.run("return document.querySelectorAll('#records li').length") == 500
        # What the page itself takes is there each time; what a busy machine takes from it is not.
        assert min(pauses) < FROZEN_MS, pauses
        await page.keep("many.png")
        await asyncio.gather(*(client.close() for client in clients))
