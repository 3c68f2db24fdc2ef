"""The answer in pieces: pieces are joined, and a page that comes back goes on where it was."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from html import unescape

import aiohttp
import pytest
import websockets

from examples.stream.coalescing import coalesced
from slip_sockets.dev.server import DevServer

from ..contract.wire import TIMEOUT_S, connect
from .stream_site import Model, Site, running_site


class Pause:
    """A pause that the test ends."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._ended = asyncio.Event()

    async def __call__(self) -> None:
        self.begun.set()
        await self._ended.wait()
        self._ended.clear()

    def end(self) -> None:
        self._ended.set()


async def test_the_first_piece_comes_at_once_and_then_all_since_together() -> None:
    model, pause = Model(), Pause()
    frames = coalesced(model.write(), pause=pause)
    model.put("a")
    assert await anext(frames) == "a"
    following = asyncio.ensure_future(anext(frames))
    await pause.begun.wait()
    model.put(*"bcd" * 300)
    pause.end()
    assert await following == "bcd" * 300


async def test_the_last_pieces_are_not_lost_when_the_end_comes_within_a_pause() -> None:
    model, pause = Model(), Pause()
    frames = coalesced(model.write(), pause=pause)
    model.put("a")
    assert await anext(frames) == "a"
    following = asyncio.ensure_future(anext(frames))
    await pause.begun.wait()
    model.put("b", "c")
    model.finish()
    pause.end()
    assert await following == "bc"
    pause.end()
    assert [frame async for frame in frames] == []


async def test_nothing_written_is_no_frame() -> None:
    model = Model()
    model.put("", "")
    model.finish()
    assert [frame async for frame in coalesced(model.write())] == []


async def test_what_came_before_an_error_is_published_first() -> None:
    async def failing() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        raise ConnectionError("the model is gone")

    frames = coalesced(failing(), pause=lambda: asyncio.sleep(0))
    assert await anext(frames) == "ab"
    with pytest.raises(ConnectionError, match="the model is gone"):
        await anext(frames)


class Reader:
    """A page: `text` is what it shows. It takes kept messages as slip-sockets.js does, in order and once."""

    def __init__(self, server: DevServer, url: str, page: str) -> None:
        self.url = url
        self.text = unescape(re.findall(r"<p id=\"answer\"[^>]*>([^<]*)</p>", page)[0])
        (self._query,) = re.findall(r"data-url=\"[^\"?]*(\?[^\"]*)\"", page)
        (self.position,) = re.findall(r"data-position=\"([^\"]*)\"", page)
        (self._channel,) = re.findall(r"data-channel=\"([^\"]*)\"", page)
        self.is_complete = 'data-state="complete"' in page
        self._server = server

    async def read(self, *, until: str | None = None) -> None:
        """Open a socket, and read until the text ends so, or is complete. Then the socket is lost."""
        async with asyncio.timeout(TIMEOUT_S), connect(self._server, self._query, subprotocols=["slip.v1"]) as client:
            newest = json.loads(await client.recv())
            assert newest["slip"] == "subscribed"
            await client.send(json.dumps({"slip": "recover", "channel": self._channel, "since": self.position}))
            while not (self.is_complete or (until is not None and self.text.endswith(until))):
                self._take(json.loads(await client.recv()))
            client.transport.abort()

    def _take(self, frame: dict[str, str]) -> None:
        if frame["slip"] != "message":
            assert frame["recovered"]
            return
        epoch, offset = self.position.split(":")
        new = frame["position"].split(":")
        assert new[0] == epoch
        if int(new[1]) <= int(offset):
            return
        assert int(new[1]) == int(offset) + 1
        self.position = frame["position"]
        piece = json.loads(frame["data"])
        self.text += piece["text"]
        self.is_complete = piece["isComplete"]


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with running_site(monkeypatch) as site:
        yield site


async def ask(site: Site, question: str) -> Reader:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{site.url}/ask", data={"question": question}) as response,
    ):
        assert response.status == 200
        return Reader(site.server, str(response.url), await response.text())


async def reload(site: Site, reader: Reader) -> Reader:
    async with aiohttp.ClientSession() as http, http.get(reader.url) as response:
        return Reader(site.server, reader.url, await response.text())


async def test_an_answer_goes_on_in_the_middle_after_a_reload(site: Site) -> None:
    first = await ask(site, "Why?")
    words = [f"word{number} " for number in range(2_000)]
    site.model.put(*words[:10])
    await first.read(until="word9 ")
    assert first.text == "".join(words[:10])
    site.model.put(*words[10:1_000])
    again = await reload(site, first)
    assert again.text.startswith("".join(words[:10]))
    await again.read(until="word999 ")
    site.model.put(*words[1_000:])
    site.model.finish()
    await again.read()
    assert again.text == "".join(words)
    assert int(again.position.split(":")[1]) < 100


async def test_a_lost_socket_misses_nothing_without_a_reload(site: Site) -> None:
    reader = await ask(site, "Why?")
    site.model.put("one ")
    await reader.read(until="one ")
    site.model.put("two ", "three")
    site.model.finish()
    await reader.read()
    assert reader.text == "one two three"
    whole = await reload(site, reader)
    assert (whole.text, whole.is_complete) == ("one two three", True)


async def test_a_piece_is_text_in_the_page(site: Site) -> None:
    reader = await ask(site, "Why?")
    site.model.put("<b>&</b>")
    site.model.finish()
    await reader.read()
    assert (await reload(site, reader)).text == "<b>&</b>"


async def test_an_answer_that_is_unknown_has_no_page_and_no_socket(site: Site) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{site.url}/answers/nobody") as response:
        assert response.status == 404
    with pytest.raises(websockets.InvalidStatus, match="HTTP 400"):
        await websockets.connect(f"{site.server.websocket_url}?answer=nobody", proxy=None)
