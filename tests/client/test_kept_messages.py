"""Both publishers and the connection object with kept messages, over the development server and real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from slip_sockets import (
    AsyncSlipSocketsPublisher,
    Connection,
    HistoryReport,
    Keep,
    Report,
    SlipSocketsPublisher,
    parse_request,
)
from slip_sockets.dev.server import DevServer

from ..conftest import SECRET
from ..contract.wire import Member, connect
from ..scripted_backend import Post, ScriptedBackend

KEEP = Keep(count=100, seconds=3_600)

Call = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["sync", "async"])
async def call(request: pytest.FixtureRequest, server: DevServer) -> AsyncIterator[Call]:
    """Call a method of a publisher of each kind by its name."""
    settings: dict[str, Any] = {"control_api": server.control_api, "jwt_secret": SECRET}
    if request.param == "async":
        async with AsyncSlipSocketsPublisher(**settings) as publisher:
            yield lambda name, *values, **options: getattr(publisher, name)(*values, **options)
    else:
        with SlipSocketsPublisher(**settings) as blocking:
            yield lambda name, *values, **options: asyncio.to_thread(getattr(blocking, name), *values, **options)


def application(act: Callable[[Connection], None]) -> Callable[[Post], web.Response]:
    """A backend without a framework, which wants `slip.v1`."""

    def respond(post: Post) -> web.Response:
        connection = parse_request(post.headers, json.dumps(post.body), secrets=[SECRET], subprotocol="slip.v1")
        act(connection)
        body, status, headers = connection.response()
        return web.Response(body=body, status=status, headers=headers)

    return respond


def room(connection: Connection) -> None:
    if connection.is_opening:
        connection.accept()
        (since,) = connection.metadata["query"].get("since", [None])
        connection.subscribe("tea", recover=True, since=since)
    for data in connection.texts:
        connection.publish_text("tea", data, keep=KEEP)


@pytest.fixture
def backend(backend: ScriptedBackend) -> ScriptedBackend:
    backend.script = application(room)
    return backend


@asynccontextmanager
async def client(server: DevServer, backend: ScriptedBackend, query: str = "", **options: Any) -> AsyncIterator[Member]:
    async with connect(server, query, **options) as socket:
        yield Member(server, socket, (await backend.next_post("OPEN")).connection_id)


async def frame(member: Member) -> Any:
    return json.loads(await member.recv())


def shown(report: HistoryReport) -> list[tuple[str, str]]:
    return [(message.position, message.data) for message in report.messages]


async def test_what_a_publisher_keeps_is_in_the_history(call: Call) -> None:
    nothing: HistoryReport = await call("history", "tea")
    assert (nothing.position[-2:], nothing.messages, nothing.more) == (":0", [], False)
    assert (await call("publish_text", "tea", "not kept")).position is None
    reports: list[Report] = [await call("publish_text", "tea", data, keep=KEEP) for data in ("one", "two", "é\0")]
    positions = [report.position for report in reports]
    epoch = nothing.position.partition(":")[0]
    assert positions == [f"{epoch}:1", f"{epoch}:2", f"{epoch}:3"]
    whole: HistoryReport = await call("history", "tea")
    assert shown(whole) == [(positions[0], "one"), (positions[1], "two"), (positions[2], "é\0")]
    assert whole.position == positions[2]
    page: HistoryReport = await call("history", "tea", since=nothing.position, limit=1)
    assert (shown(page), page.more, page.recovered) == ([(positions[0], "one")], True, True)
    lost: HistoryReport = await call("history", "tea", since="k3J9:1")
    assert (lost.messages, lost.recovered) == ([], False)


async def test_an_id_that_is_repeated_has_its_position(call: Call) -> None:
    first, second = [await call("publish_text", "tea", "one", message_id="m1", keep=KEEP) for _ in range(2)]
    assert first.position == second.position
    assert len((await call("history", "tea")).messages) == 1


async def test_a_page_that_was_rendered_from_the_history_misses_nothing(
    call: Call, server: DevServer, backend: ScriptedBackend
) -> None:
    await call("publish_text", "tea", "on the page", keep=KEEP)
    rendered: HistoryReport = await call("history", "tea")
    missed = (await call("publish_text", "tea", "missed", keep=KEEP)).position
    async with client(server, backend, f"?since={rendered.position}", subprotocols=["slip.v1"]) as member:
        assert await frame(member) == {"slip": "message", "channel": "tea", "data": "missed", "position": missed}
        end = {
            "slip": "subscribed",
            "channel": "tea",
            "position": missed,
            "recovered": True,
            "since": rendered.position,
        }
        assert await frame(member) == end
        live = (await call("publish_text", "tea", "live", keep=KEEP)).position
        assert await frame(member) == {"slip": "message", "channel": "tea", "data": "live", "position": live}


async def test_a_publisher_may_subscribe_a_connection_since_a_position(
    call: Call, server: DevServer, backend: ScriptedBackend
) -> None:
    begin = (await call("history", "milk")).position
    for data in ("one", "two"):
        await call("publish_text", "milk", data, keep=KEEP)
    async with client(server, backend, subprotocols=["slip.v1"]) as member, client(server, backend) as raw:
        assert (await frame(member))["channel"] == "tea"
        await call("subscribe", member.connection_id, "milk", recover=True, since=begin)
        assert [(await frame(member))["slip"] for _ in range(3)] == ["message", "message", "subscribed"]
        await call("subscribe", raw.connection_id, "milk", since=begin)
        assert [await raw.recv(), await raw.recv()] == ["one", "two"]


async def test_accept_chooses_slip_v1_for_clients_that_offer_it_and_others_stay_as_they_were(
    server: DevServer, backend: ScriptedBackend
) -> None:
    async with (
        client(server, backend, subprotocols=["chat.v1", "slip.v1"]) as member,
        client(server, backend) as raw,
    ):
        assert (member.client.subprotocol, raw.client.subprotocol) == ("slip.v1", None)
        assert (await frame(member))["slip"] == "subscribed"
        await raw.client.send("from a client without it")
        assert await raw.recv() == "from a client without it"
        first = await frame(member)
        assert (first["slip"], first["data"]) == ("message", "from a client without it")
        await member.client.send(json.dumps({"slip": "text", "data": "from a client with it"}))
        assert (await frame(member))["data"] == await raw.recv() == "from a client with it"
