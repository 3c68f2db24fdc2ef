"""`slip-sockets.js` with `recover` in a real browser, against the development server: nothing missed, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from slip_sockets.dev.edge import Limits
from slip_sockets.dev.server import DevServer

from ..contract.wire import Control, accept, publish, replies, running, subscribe, text
from ..scripted_backend import Events, Post, ScriptedBackend
from .network import Network, network_to
from .socket_page import SocketPage

pytestmark = pytest.mark.browser

KEEP = {"count": 100, "seconds": 3_600}
QUICK = {"recover": True, "firstPauseMs": 20, "longestPauseMs": 100}


def let_in_with_frames(post: Post) -> Events:
    """Let clients in with slip.v1 and into the channel `tea`; send texts back."""
    if post.kind == "OPEN":
        into_tea = subscribe(post.connection_id, "tea") | {"recover": True}
        return [accept(post.connection_id, subprotocol="slip.v1"), into_tea]
    return [text(post.connection_id, f"you said {event['data']}") for event in post.events if event["type"] == "TEXT"]


@pytest.fixture
def backend(backend: ScriptedBackend) -> ScriptedBackend:
    backend.script = let_in_with_frames
    return backend


@pytest.fixture
async def network(server: DevServer) -> AsyncIterator[Network]:
    async with network_to(server.port) as network:
        yield network


def url_over(network: Network, server: DevServer) -> str:
    return server.websocket_url.replace(str(server.port), str(network.port))


async def keep(control: Control, *texts: str, count: int = 100) -> list[str]:
    """Publish to `tea`, and return the positions."""
    kept = [publish("tea", each, keep={"count": count, "seconds": 3_600}) for each in texts]
    response = await control(*kept)
    assert response.status == 200
    return [report["position"] for report in response.json["events"]]


async def begin(page: SocketPage, url: str, **options: object) -> None:
    """Begin, and wait until the page is subscribed."""
    await page.begin(url, **(QUICK | options))
    await page.until("socket.positions.tea")


async def test_texts_and_messages_go_both_ways(page: SocketPage, server: DevServer, control: Control) -> None:
    await begin(page, server.websocket_url)
    assert await page.run("return [socket.protocol, socket.send('hi')]") == ["slip.v1", True]
    (said,) = await page.until_heard(1, "message")
    assert (said["data"], said.get("channel"), said.get("position")) == ("you said hi", None, None)
    (position,) = await keep(control, "milk")
    assert (await control(publish("tea", "not kept"))).status == 200
    _, kept, not_kept = await page.until_heard(3, "message")
    assert (kept["data"], kept["channel"], kept["position"]) == ("milk", "tea", position)
    assert (not_kept["data"], not_kept["channel"], not_kept.get("position")) == ("not kept", "tea", None)
    assert await page.run("return socket.positions") == {"tea": position}


async def test_what_was_kept_while_the_network_was_away_comes_once(
    page: SocketPage, server: DevServer, network: Network, control: Control
) -> None:
    await begin(page, url_over(network, server))
    await keep(control, "one", "two")
    await page.until_texts(2)
    network.cut()
    await page.until_heard(1, "waiting")
    await keep(control, "three", "four", "five")
    network.mend()
    await page.until_texts(5)
    await keep(control, "six")
    assert await page.until_texts(6) == ["one", "two", "three", "four", "five", "six"]
    assert await page.heard("lost", "error") == []


async def test_after_a_sleep_nothing_is_missing(
    page: SocketPage, server: DevServer, network: Network, control: Control
) -> None:
    await begin(page, url_over(network, server), keepAliveMs=300)
    await keep(control, "one")
    await page.until_texts(1)
    network.fall_silent()
    await keep(control, "two", "three")
    await page.run("const now = Date.now; Date.now = () => now() + 3_600_000")
    assert await page.until_texts(3) == ["one", "two", "three"]
    assert [event["reason"] for event in await page.heard("waiting")] == ["the machine was asleep"]


async def test_a_dead_socket_is_noticed_by_its_ping(
    page: SocketPage, server: DevServer, network: Network, control: Control
) -> None:
    await begin(page, url_over(network, server), keepAliveMs=200, openTimeoutMs=1_000)
    network.fall_silent()
    await keep(control, "one")
    assert await page.until_texts(1) == ["one"]
    assert "no answer to ping" in [event["reason"] for event in await page.heard("waiting")]


async def test_a_reload_goes_on_where_the_page_was(page: SocketPage, server: DevServer, control: Control) -> None:
    await begin(page, server.websocket_url, sessionKey="tea-room")
    await keep(control, "one", "two")
    await page.until_texts(2)
    await page.run(
        "addEventListener('pagehide', () => { sessionStorage.shown ="
        " JSON.stringify(heard.filter(({ type }) => type === 'message').map(({ data }) => data)); })"
    )
    reload = asyncio.create_task(asyncio.to_thread(page.chromium.driver.refresh))
    await keep(control, "three", "four")  # before it, or while no page is there
    await reload
    await page.until_loaded()
    await keep(control, "five")
    shown = await page.run("return JSON.parse(sessionStorage.shown)")
    await begin(page, server.websocket_url, sessionKey="tea-room")
    assert shown + await page.until_texts(5 - len(shown)) == ["one", "two", "three", "four", "five"]
    await page.run("socket.close()")
    await keep(control, "six")
    await page.run("heard.length = 0")
    await begin(page, server.websocket_url, sessionKey="tea-room")
    assert await page.until_texts(1) == ["six"]


async def test_sockets_that_are_replaced_lose_and_repeat_nothing(page: SocketPage, backend: ScriptedBackend) -> None:
    async with running(backend.url, Limits(max_duration_s=3)) as server, Control.open(server.control_api) as control:
        await begin(page, server.websocket_url, maxAgeMs=500, overlapMs=200)
        sent: list[str] = []
        replacements = 0
        while replacements < 8:  # longer than the server lets any socket live
            sent.append(str(len(sent)))
            await keep(control, sent[-1])
            replacements = len(await page.heard("open")) - 1
        assert await page.until_texts(len(sent)) == sent
        assert await page.heard("waiting", "lost", "error") == []


async def test_a_page_that_is_rendered_at_a_position_goes_on_from_there(
    page: SocketPage, server: DevServer, control: Control
) -> None:
    _, rendered, *_ = await keep(control, "one", "two", "three", "four")
    await begin(page, server.websocket_url, positions={"tea": rendered})
    await keep(control, "five")
    assert await page.until_texts(3) == ["three", "four", "five"]


async def test_what_is_kept_no_more_is_lost_once_and_the_page_loads_its_state(
    page: SocketPage, server: DevServer, network: Network, control: Control
) -> None:
    await begin(page, url_over(network, server))
    await keep(control, "one", count=3)
    await page.until_texts(1)
    network.cut()
    await page.until_heard(1, "waiting")
    positions = await keep(control, "two", "three", "four", "five", "six", count=3)
    network.mend()
    (lost,) = await page.until_heard(1, "lost")
    assert (lost["channel"], lost["position"]) == ("tea", positions[-1])
    await page.run("socket.setPosition('tea', arguments[0])", positions[-2])  # of the state
    await keep(control, "seven")
    assert await page.until_texts(3) == ["one", "six", "seven"]
    assert len(await page.heard("lost")) == 1


async def test_another_subprotocol_is_raw(page: SocketPage, server: DevServer, backend: ScriptedBackend) -> None:
    backend.script = replies(
        OPEN=lambda post: [accept(post.connection_id, subprotocol="v1")],
        TEXT=lambda post: [text(post.connection_id, f"you said {post.event['data']}")],
    )
    await page.begin(server.websocket_url, recover=True, protocols="v1")
    await page.until_heard(1, "open")
    assert await page.run("return [socket.protocol, socket.send('hi')]") == ["v1", True]
    assert await page.until_texts(1) == ["you said hi"]


async def test_pings_keep_a_silent_socket_and_do_not_reach_the_backend(
    page: SocketPage, backend: ScriptedBackend
) -> None:
    async with running(backend.url, Limits(idle_timeout_s=1)) as server:
        await page.run(
            "window.sent = []; const { send } = WebSocket.prototype;"
            "WebSocket.prototype.send = function (text) { sent.push(text); send.call(this, text); }"
        )
        await begin(page, server.websocket_url, keepAliveMs=200)
        await page.until("sent.length >= 10")  # longer than the server lets a silent socket live
        assert set(await page.run("return sent")) == {'{"slip":"ping"}'}
        assert [event["type"] for event in await page.heard()] == ["connecting", "open"]
        assert [post.kind for post in backend.posts] == ["OPEN"]
