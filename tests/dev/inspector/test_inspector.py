"""What the inspector serves, over HTTP. Its page in a browser: tests/browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from slip_sockets.dev.inspector.recorder import MAX_RECORDS
from slip_sockets.dev.inspector.records import MAX_KEPT_BYTES
from slip_sockets.dev.server import DevServer
from slip_sockets.gateway.values import Membership

from ...contract.wire import (
    TIMEOUT_S,
    Control,
    accept,
    connect,
    joined,
    publish,
    refusal,
    replies,
    running,
    set_metadata,
    subscribe,
    text,
)
from ...gateway.doubles import ME, YOU
from ...scripted_backend import ScriptedBackend


class Viewer:
    """A page that looks on: it puts together what the stream has sent so far."""

    def __init__(self, session: aiohttp.ClientSession, url: str, stream: aiohttp.ClientResponse) -> None:
        self.session = session
        self.url = url
        self.records: dict[int, dict[str, Any]] = {}
        self.connections: dict[str, dict[str, Any]] = {}
        self.failing: Any = None
        self.urls: dict[str, str] = {}
        self._stream = stream

    async def until(self, condition: Any) -> None:
        """Read on until `condition()` is true."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                line = await self._stream.content.readline()
                assert line, "the stream has ended"
                if line.startswith(b"data: "):
                    self._take(json.loads(line.removeprefix(b"data: ")))

    async def record(self, kind: str) -> dict[str, Any]:
        """Wait until an event of this kind is over, and return the whole of its record."""

        def over() -> list[int]:
            return [n for n, record in self.records.items() if record["kind"] == kind and record["ms"] is not None]

        await self.until(over)
        record: dict[str, Any] = await self.get(f"/records/{over()[-1]}")
        return record

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as response:
            return await response.json()

    def _take(self, message: dict[str, Any]) -> None:
        self.urls = message.get("urls", self.urls)
        self.failing = message.get("failing", self.failing) if "failing" in message else self.failing
        self.records |= {record["number"]: record for record in message.get("records", [])}
        self.connections |= {connection["id"]: connection for connection in message.get("connections", [])}
        for gone in message.get("gone", []):
            self.connections.pop(gone, None)


@asynccontextmanager
async def viewing(server: DevServer) -> AsyncIterator[Viewer]:
    url = server.inspector_url
    assert url is not None
    async with aiohttp.ClientSession() as session, session.get(f"{url}/stream") as stream:
        viewer = Viewer(session, url, stream)
        await viewer.until(lambda: viewer.urls)
        yield viewer


@pytest.fixture
async def viewer(server: DevServer) -> AsyncIterator[Viewer]:
    async with viewing(server) as viewer:
        yield viewer


async def test_a_record_shows_the_post_its_response_and_what_was_done(
    server: DevServer, backend: ScriptedBackend, viewer: Viewer
) -> None:
    backend.script = replies(TEXT=lambda post: [publish("lobby", "hi all"), text(post.connection_id, "hi you")])
    async with joined(server, backend, "lobby") as member:
        await member.client.send("hello")
        post = await backend.next_post("TEXT")
        record = await viewer.record("TEXT")
    assert (record["connectionId"], record["subject"], record["status"]) == (member.connection_id, "hello", 200)
    assert record["request"] == {"text": "hello", "bytes": 5}
    (exchange,) = record["exchanges"]
    assert exchange["url"] == backend.url
    assert json.loads(exchange["body"]["text"]) == post.body
    assert exchange["headers"]["Authorization"] == post.headers["Authorization"]
    assert exchange["status"] == 200
    assert [event["type"] for event in json.loads(exchange["response"]["text"])["events"]] == ["PUBLISH_TEXT", "TEXT"]
    assert [(step["text"], (step["data"] or {}).get("text")) for step in record["steps"]] == [
        (f"Sent a text to {member.connection_id}", "hi all"),
        (f"Sent a text to {member.connection_id}", "hi you"),
    ]
    assert 0 < exchange["ms"] <= record["ms"]
    assert record["advice"] is None


async def test_connections_are_shown_with_channels_and_metadata_as_they_change(
    server: DevServer, backend: ScriptedBackend, viewer: Viewer
) -> None:
    backend.script = replies(
        TEXT=lambda post: [set_metadata(post.connection_id, {"user": "ada"}), subscribe(post.connection_id, "tea")]
    )
    async with joined(server, backend, "lobby") as member:
        connection_id = member.connection_id
        await viewer.until(lambda: connection_id in viewer.connections)
        assert viewer.connections[connection_id]["channels"] == ["lobby"]
        await member.client.send("x")
        await viewer.until(lambda: viewer.connections[connection_id]["channels"] == ["lobby", "tea"])
        assert viewer.connections[connection_id]["metadata"] == '{"user":"ada"}'
    await viewer.until(lambda: connection_id not in viewer.connections)
    assert await viewer.get(f"/connections/{connection_id}") is None


async def test_who_is_at_a_connection_is_shown(server: DevServer, backend: ScriptedBackend, viewer: Viewer) -> None:
    async with joined(server, backend, "lobby", user="ann") as ann, joined(server, backend) as nobody:
        await viewer.until(lambda: {ann.connection_id, nobody.connection_id} <= viewer.connections.keys())
        shown = viewer.connections[ann.connection_id]
        assert (shown["user"], shown["channels"]) == ("ann", ["$user:ann", "lobby"])
        assert viewer.connections[nobody.connection_id]["user"] is None


async def test_the_members_of_a_channel_are_shown(server: DevServer, viewer: Viewer) -> None:
    nobody = await viewer.get("/channel?name=tea")
    assert nobody == {"count": 0, "members": [], "more": False}
    ann = Membership("ann", b'{"name":"Ann"}')
    for id_ in (ME, YOU):
        await server.connections.open(id_, b"1", ["a/b ?"], memberships={"a/b ?": ann})
    report = await viewer.get("/channel?name=a%2Fb%20%3F")
    (member,) = report["members"]
    assert (report["count"], member["user"], member["connections"]) == (1, "ann", 2)
    assert (member["info"], type(member["since"])) == ({"name": "Ann"}, int)
    await server.connections.remove(ME)
    await server.connections.remove(YOU)
    assert await viewer.get("/channel?name=a%2Fb%20%3F") == nobody


async def test_a_later_viewer_gets_all_that_is_kept(server: DevServer, backend: ScriptedBackend) -> None:
    async with joined(server, backend, "lobby") as member, viewing(server) as viewer:
        await viewer.until(lambda: member.connection_id in viewer.connections)
        assert [record["kind"] for record in viewer.records.values()] == ["OPEN"]
        assert viewer.urls["backend"] == backend.url


async def test_a_failing_backend_stands_out_until_it_is_fixed(
    server: DevServer, backend: ScriptedBackend, viewer: Viewer
) -> None:
    backend.script = replies(TEXT=lambda _: web.Response(status=500, text="KeyError: 'user'"))
    async with joined(server, backend) as member:
        await member.client.send("x")
        record = await viewer.record("TEXT")
        await viewer.until(lambda: viewer.failing)
        assert record["isFailed"]
        assert record["exchanges"][0]["response"]["text"] == "KeyError: 'user'"
        assert viewer.failing == record["advice"] | {"number": record["number"]}
        assert viewer.failing["problem"] == "Your backend responded with 500 Internal Server Error"
        assert "responded with 500" in record["lines"][0]["text"]
        backend.script = replies(TEXT=lambda _: [])
        await member.client.send("y")
        await viewer.until(lambda: viewer.failing is None)


async def test_an_error_body_that_stalls_is_not_waited_for(server: DevServer, backend: ScriptedBackend) -> None:
    stalled = asyncio.Event()

    class Stalling(web.StreamResponse):
        async def write_eof(self, data: bytes = b"") -> None:
            await stalled.wait()

    backend.script = lambda _: Stalling(status=503, headers={"Content-Length": "100"})
    assert await refusal(server) == 500  # and not 504, as a backend that is too slow
    stalled.set()


async def test_a_refused_client_is_seen_and_is_not_a_failure(
    server: DevServer, backend: ScriptedBackend, viewer: Viewer
) -> None:
    backend.script = lambda _: []
    assert await refusal(server, "?name=eve") == 400
    record = await viewer.record("OPEN")
    assert (record["status"], record["subject"], record["isFailed"]) == (400, "?name=eve", False)


async def test_deferred_messages_and_calls_of_the_control_api_are_seen(
    server: DevServer, backend: ScriptedBackend, viewer: Viewer, control: Control
) -> None:
    backend.script = lambda post: [accept(post.connection_id), text(post.connection_id, "welcome")]
    async with connect(server) as client:
        assert await client.recv() == "welcome"
        assert (await viewer.record("DEFERRED"))["steps"][-1]["data"]["text"] == "welcome"
        assert (await control(publish("lobby", "x"))).status == 200
        record = await viewer.record("CONTROL")
        assert record["subject"] == "PUBLISH_TEXT lobby"
        assert '"matched":0' in record["response"]["text"]


async def test_records_are_bounded(server: DevServer, backend: ScriptedBackend, control: Control) -> None:
    async with joined(server, backend, "lobby") as member:
        for _ in range(MAX_RECORDS + 5):
            assert (await control(publish("empty", "x"))).status == 200
        assert (await control(publish("lobby", "a" * 131_072))).status == 200
        await member.recv()
    async with viewing(server) as viewer:
        assert len(viewer.records) == MAX_RECORDS
        record = await viewer.get(f"/records/{max(viewer.records) - 1}")
        kept = record["steps"][0]["data"]
        assert (len(kept["text"]), kept["bytes"]) == (MAX_KEPT_BYTES, 131_072)
        async with viewer.session.delete(f"{viewer.url}/records") as response:
            assert response.status == 204
    async with viewing(server) as viewer:
        assert viewer.records == {}


async def test_acting_uses_the_control_api(server: DevServer, backend: ScriptedBackend, viewer: Viewer) -> None:
    async with joined(server, backend, "lobby") as member:
        batch = {"events": [publish("lobby", "by hand"), text(member.connection_id, "for you")]}
        async with viewer.session.post(f"{viewer.url}/control", json=batch) as response:
            assert (response.status, (await response.json())["events"][0]["sent"]) == (200, 1)
        assert [await member.recv(), await member.recv()] == ["by hand", "for you"]
        async with viewer.session.post(f"{viewer.url}/control", json={"events": [publish("", "x")]}) as response:
            assert (response.status, (await response.json())["field"]) == (400, "channelId")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Host": "rebound.example:80", "Origin": "http://rebound.example:80"},
        {"Host": "[no-address"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
    ],
)
async def test_pages_of_other_sites_get_nothing(
    server: DevServer, backend: ScriptedBackend, headers: dict[str, str]
) -> None:
    paths = ("", "/stream", "/records/1", "/connections/x", "/metrics", "/inspector.js")
    async with aiohttp.ClientSession(headers=headers) as session, joined(server, backend, "lobby") as member:
        for path in paths:
            async with session.get(f"{server.inspector_url}{path}") as response:
                assert response.status == 403, path
        async with session.post(
            f"{server.inspector_url}/control", json={"events": [publish("lobby", "x")]}
        ) as response:
            assert response.status == 403
        async with session.delete(f"{server.inspector_url}/records") as response:
            assert response.status == 403
        assert await member.received(Control(session, server.control_api)) == []


async def test_metrics_are_those_of_the_server(server: DevServer, backend: ScriptedBackend, viewer: Viewer) -> None:
    async with joined(server, backend):
        metrics = await viewer.get("/metrics")
        assert metrics == server.metrics.values()
        assert metrics["BackendCalls"] == 1


async def test_a_form_cannot_act(server: DevServer, viewer: Viewer) -> None:
    body = json.dumps({"events": []})
    headers = {"Content-Type": "text/plain"}
    async with viewer.session.post(f"{viewer.url}/control", data=body, headers=headers) as response:
        assert response.status == 415


async def test_without_an_inspector_its_page_is_404(backend: ScriptedBackend) -> None:
    async with running(backend.url) as server, aiohttp.ClientSession() as session:
        assert server.inspector_url is None
        async with session.get(f"http://127.0.0.1:{server.port}/_inspector") as response:
            assert response.status == 404


async def test_two_servers_keep_their_records_apart(backend: ScriptedBackend) -> None:
    async with (
        running(backend.url, inspector=True) as one,
        running(backend.url, inspector=True) as other,
        viewing(one) as of_one,
        viewing(other) as of_other,
    ):
        backend.script = lambda _: []
        assert await refusal(one) == 400
        record = await of_one.record("OPEN")
        assert len(record["lines"]) == 1
        assert of_other.records == {}


async def test_a_server_stops_while_a_page_looks_on(backend: ScriptedBackend) -> None:
    async with running(backend.url, inspector=True) as server:
        url = server.inspector_url
        async with aiohttp.ClientSession() as session:
            stream = await session.get(f"{url}/stream")
            await server.aclose()
            async with asyncio.timeout(TIMEOUT_S):
                while await stream.content.readline():
                    pass
            await server.start()
