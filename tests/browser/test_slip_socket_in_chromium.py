"""`slip-sockets.js` in a real browser, against the development server with limits that are soon reached."""

from __future__ import annotations

import pytest

from slip_sockets.dev.edge import Limits
from slip_sockets.dev.server import DevServer

from ..contract.wire import Control, accept, close_channel, publish, replies, running, subscribe_as_asked, text
from ..scripted_backend import ScriptedBackend
from .chromium import PATIENCE_S
from .socket_page import SocketPage

pytestmark = pytest.mark.browser


async def test_texts_go_both_ways_by_the_chosen_subprotocol(
    page: SocketPage, server: DevServer, backend: ScriptedBackend
) -> None:
    backend.script = replies(
        OPEN=lambda post: [accept(post.connection_id, subprotocol="v2")],
        TEXT=lambda post: [text(post.connection_id, f"you said {post.event['data']}")],
    )
    assert await page.run("return caught(() => begin('ws://127.0.0.1:1/', { keepalive: 1 }))") == (
        "TypeError: SlipSocket has no option keepalive; it has protocols, keepAliveText, keepAliveMs, maxAgeMs, "
        "overlapMs, firstPauseMs, longestPauseMs, steadyMs, numberTexts, recover, positions, sessionKey, openTimeoutMs"
    )
    await page.begin(server.websocket_url, protocols=["v1", "v2"])
    (opened,) = await page.until_heard(1, "open")
    assert opened["replaces"] is False
    assert await page.run("return [socket.state, socket.protocol, socket.send('hi')]") == ["open", "v2", True]
    assert await page.until_texts(1) == ["you said hi"]
    assert [event["type"] for event in await page.heard()] == ["connecting", "open", "message"]


async def test_a_text_that_cannot_be_sent_is_reported(page: SocketPage, server: DevServer) -> None:
    await page.begin(server.websocket_url)
    await page.until_heard(1, "open")
    assert await page.run("return caught(() => socket.send({ a: 1 }))") == (
        "TypeError: SlipSocket sends text, got object; JSON.stringify it"
    )
    assert await page.run("return caught(() => socket.send('é'.repeat(16385)))") == (
        "RangeError: API Gateway takes 32768 bytes of a browser, got 32770"
    )
    assert await page.run("return socket.send('é'.repeat(16384))") is True
    for url in ("http://127.0.0.1/", "nowhere"):
        assert str(await page.run("return caught(() => begin(arguments[0]))", url)).startswith("TypeError: ")


async def test_texts_are_numbered_where_the_page_asks_for_it(page: SocketPage, backend: ScriptedBackend) -> None:
    async with running(backend.url, is_ordered=True) as server:
        await page.begin(server.websocket_url, numberTexts=True)
        await page.until_heard(1, "open")
        assert await page.run("return [socket.send('one'), socket.send('two')]") == [True, True]
        assert await page.run("return caught(() => socket.send('x'.repeat(32766)))") == (
            "RangeError: API Gateway takes 32768 bytes of a browser, got 32769"
        )
        seen: list[str] = []
        while len(seen) < 2:
            post = await backend.next_post("TEXT")
            seen += [event["data"] for event in post.body["events"]]
        assert seen == ["one", "two"]
        await server.inbound.settle(PATIENCE_S)
        (connection_id,) = server.edge.connection_ids
        stored = await server.connections.get(connection_id)
        assert stored is not None
        assert stored.next_number == 3


async def test_a_lost_socket_comes_back_with_a_fresh_url(
    page: SocketPage, server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    await page.run(
        "let calls = 0; begin(async () => `${arguments[0]}?channel=lobby&call=${++calls}`, { firstPauseMs: 50 })",
        server.websocket_url,
    )
    await page.until_heard(1, "open")
    assert (await control(close_channel("lobby"))).status == 200
    assert [event["replaces"] for event in await page.until_heard(2, "open")] == [False, False]
    (waiting,) = await page.heard("waiting")
    assert waiting["code"] == 1000
    assert 0 <= waiting["pauseMs"] <= 50
    opens = [post for post in backend.posts if post.event["type"] == "OPEN"]
    assert [post.body["metadata"]["query"]["call"] for post in opens] == [["1"], ["2"]]
    assert (await control(publish("lobby", "welcome back"))).status == 200
    assert await page.until_texts(1) == ["welcome back"]


async def test_pauses_grow_while_it_is_refused_and_no_socket_is_open(
    page: SocketPage, server: DevServer, backend: ScriptedBackend
) -> None:
    backend.script = lambda post: []
    await page.run("Math.random = () => 1")
    await page.begin(server.websocket_url, firstPauseMs=10, longestPauseMs=40)
    waiting = await page.until_heard(4, "waiting")
    assert [event["pauseMs"] for event in waiting[:4]] == [10, 20, 40, 40]
    assert await page.run("return socket.send('lost')") is False
    backend.script = subscribe_as_asked
    await page.until_heard(1, "open")


async def test_a_url_that_cannot_be_fetched_is_reported_and_fetched_again(page: SocketPage, server: DevServer) -> None:
    await page.run(
        "let calls = 0; begin(() => { if (++calls < 3) throw new Error('no token'); return arguments[0]; },"
        " { firstPauseMs: 1 })",
        server.websocket_url,
    )
    await page.until_heard(1, "open")
    assert [event["error"] for event in await page.heard("waiting")] == ["Error: no token"] * 2


async def test_a_silent_socket_is_kept_alive(page: SocketPage, backend: ScriptedBackend) -> None:
    async with running(backend.url, Limits(idle_timeout_s=2)) as server:
        await page.begin(server.websocket_url, keepAliveMs=400, keepAliveText="still here")
        opened = await backend.next_post("OPEN")
        for _ in range(8):  # longer than the server lets a silent socket live
            post = await backend.next_post("TEXT")
            assert (post.connection_id, post.event["data"]) == (opened.connection_id, "still here")
        assert [event["type"] for event in await page.heard()] == ["connecting", "open"]


async def test_an_ageing_socket_is_replaced_and_every_text_comes_once(
    page: SocketPage, backend: ScriptedBackend
) -> None:
    async with running(backend.url, Limits(max_duration_s=3)) as server, Control.open(server.control_api) as control:
        await page.begin(f"{server.websocket_url}?channel=lobby", maxAgeMs=500, overlapMs=200)
        await page.until_heard(1, "open")
        sent: list[str] = []
        replacements = 0
        while replacements < 8:  # longer than the server lets any socket live
            for _ in range(20):
                sent.append(str(len(sent)))
                assert (await control(publish("lobby", sent[-1]))).status == 200
            replacements = len(await page.heard("open")) - 1
        texts = await page.until_texts(len(sent))
        # A text that only the successor has may come before one that both have.
        assert sorted(texts, key=int) == sent
        first, *others = await page.heard("open")
        assert len(others) >= replacements
        assert [event["replaces"] for event in (first, *others)] == [False] + [True] * len(others)
        assert [event["type"] for event in await page.heard("waiting", "connecting")] == ["connecting"]
        assert (await backend.next_post("CLOSE")).event["code"] == 1005  # the page's, not the server's limit


async def test_the_same_text_twice_is_delivered_twice_while_two_sockets_overlap(
    page: SocketPage, server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    await page.begin(f"{server.websocket_url}?channel=lobby", maxAgeMs=200, overlapMs=60_000)
    await page.until_heard(2, "open")
    assert (await control(publish("lobby", "ping"), publish("lobby", "ping"), publish("lobby", "end"))).status == 200
    await page.until_heard(3, "open")
    assert (await control(publish("lobby", "last"))).status == 200
    assert (await page.texts()).count("ping") == 2


async def test_a_closed_socket_stays_closed(page: SocketPage, server: DevServer, backend: ScriptedBackend) -> None:
    await page.begin(server.websocket_url, firstPauseMs=1)
    await page.until_heard(1, "open")
    await page.run("socket.close(4001, 'enough'); socket.close()")
    closed = await backend.next_post("CLOSE")
    assert (closed.event["code"], closed.event["reason"]) == (4001, "enough")
    await page.run("socket.hurry(); dispatchEvent(new Event('online'))")
    assert await page.run("return [socket.state, socket.protocol, socket.send('x')]") == ["closed", "", False]
    await server.edge.settle(PATIENCE_S)
    assert [event["type"] for event in await page.heard()] == ["connecting", "open", "close"]
    assert len([post for post in backend.posts if post.event["type"] == "OPEN"]) == 1


async def test_after_a_sleep_the_socket_is_taken_for_dead(page: SocketPage, server: DevServer) -> None:
    await page.begin(server.websocket_url, keepAliveMs=300, firstPauseMs=60_000)
    await page.until_heard(1, "open")
    await page.run("const now = Date.now; Date.now = () => now() + 3_600_000")
    opens = await page.until_heard(2, "open")
    assert [event["replaces"] for event in opens] == [False, False]
    assert [event["reason"] for event in await page.heard("waiting")] == ["the machine was asleep"]
