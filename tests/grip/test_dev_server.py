"""A stage that speaks GRIP, as clients, backends and publishers see it: the development server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from slip_sockets import SlipSocketsPublisher
from slip_sockets.dev.server import DevServer
from slip_sockets.dialects import Dialect
from slip_sockets.grip.framing import Event

from ..conftest import SECRET
from ..contract.wire import TIMEOUT_S, connect, refusal, running
from .backend import GripScript, Post, reply, text

SUBSCRIBE = text('c:{"type":"subscribe","channel":"lobby"}')


async def echo(post: Post) -> web.Response:
    """Let all clients in, subscribe them to `lobby`, and send each text back."""
    match post.events[0].type:
        case "OPEN":
            return reply(Event("OPEN"), SUBSCRIBE, Sec_WebSocket_Extensions="grip")
        case "CLOSE":
            return reply(*post.events)
        case _:
            return reply(*(text(f"m:{each}") for each in post.texts))


@pytest.fixture
async def backend() -> AsyncIterator[GripScript]:
    async with GripScript(echo) as backend:
        yield backend


@pytest.fixture
async def server(backend: GripScript) -> AsyncIterator[DevServer]:
    async with running(backend.url, backend_protocol=Dialect.GRIP, backend_timeout_s=5) as server:
        yield server


async def publish(server: DevServer, *items: object, key: str = SECRET) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.control_api}/publish/", json={"items": items}, headers=headers) as response,
    ):
        return response.status, await response.text()


def item(content: str, **fields: object) -> dict[str, object]:
    return {"channel": "lobby", "formats": {"ws-message": {"content": content}}, **fields}


async def settled(server: DevServer) -> None:
    """Wait until all that has happened on sockets is handled."""
    await server.edge.settle(TIMEOUT_S)
    await server.inbound.settle(TIMEOUT_S)


async def ended(client: object) -> int | None:
    async with asyncio.timeout(TIMEOUT_S):
        await client.wait_closed()  # type: ignore[attr-defined]
    return client.close_code  # type: ignore[attr-defined, no-any-return]


async def test_requests_have_the_handshakes_headers_and_query(server: DevServer, backend: GripScript) -> None:
    headers = {"Cookie": "s=1", "Grip-Sig": "forged", "Meta-User": "forged"}
    async with connect(server, "?room=1&room=2", additional_headers=headers, user_agent_header="test") as client:
        await client.send("hi")
        assert await client.recv() == "hi"
    posts = [await backend.next_post(kind) for kind in ("OPEN", "TEXT", "CLOSE")]
    for post in posts:
        assert post.target == "/ws?room=1&room=2"
        assert {name: post.headers.get(name) for name in ("Host", "User-Agent", "Cookie", "Meta-User")} == {
            "Host": f"127.0.0.1:{server.port}",
            "User-Agent": "test",
            "Cookie": "s=1",
            "Meta-User": None,
        }
        assert post.headers.getall("Grip-Sig") != ["forged"]
    assert posts[-1].events == [Event("CLOSE", b"\x03\xe8")]


async def test_requests_go_where_the_settings_say(backend: GripScript) -> None:
    root = backend.url.removesuffix("/ws")
    async with (
        running(root, backend_protocol=Dialect.GRIP, grip_path_from="query:path", grip_host="app.example") as server,
        connect(server, "?path=ws&a=1") as client,
    ):
        await client.send("hi")
        assert await client.recv() == "hi"
    assert {(post.target, post.headers["Host"]) for post in backend.posts} == {("/ws?a=1", "app.example")}


async def test_channel_with_the_name_of_a_pattern_is_a_channel() -> None:
    async def subscribe(post: Post) -> web.Response:
        control = text('c:{"type":"subscribe","channel":"orders:*"}')
        return reply(Event("OPEN"), control, Sec_WebSocket_Extensions="grip")

    async with (
        GripScript(subscribe) as backend,
        running(backend.url, backend_protocol=Dialect.GRIP) as server,
        connect(server) as client,
    ):
        for channel in ("orders:1", "orders:*", "orders:2"):
            status, _ = await publish(server, item(channel, channel=channel))
            assert status == 200
        await publish(server, item("end", channel="orders:*"))
        assert [await client.recv() for _ in range(2)] == ["orders:*", "end"]


async def test_several_headers_of_one_name_come_as_one(server: DevServer, backend: GripScript) -> None:
    async with connect(server, additional_headers=[("X-A", "1"), ("X-A", "2")]):
        pass
    assert (await backend.next_post("OPEN")).headers.getall("X-A") == ["1, 2"]


async def test_long_query_reaches_the_backend(server: DevServer, backend: GripScript) -> None:
    query = f"?name={'x' * 6_000}"
    async with connect(server, query):
        assert (await backend.next_post("OPEN")).target == f"/ws{query}"


async def test_published_texts_reach_the_subscribers_in_order_and_an_id_once(
    server: DevServer, backend: GripScript
) -> None:
    async with connect(server) as client:
        assert await publish(server, item("a", id="1"), item("b"), item("a", id="1")) == (200, "Published\n")
        assert await publish(server, item("c")) == (200, "Published\n")
        assert [await client.recv() for _ in range(3)] == ["a", "b", "c"]


async def test_published_close_ends_the_connections_and_the_backend_hears_of_it(
    server: DevServer, backend: GripScript
) -> None:
    async with connect(server) as client:
        close = {"channel": "lobby", "ws-message": {"action": "close", "code": 4000}}
        assert (await publish(server, close))[0] == 200
        assert await ended(client) == 1000
    await backend.next_post("CLOSE")


async def test_publisher_with_another_key_is_refused(server: DevServer) -> None:
    assert await publish(server, item("a"), key="x") == (403, "Invalid token\n")


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/publish/", 405, "Method not allowed: GET.\n"),
        ("POST", "/publish", 400, "Body is not valid JSON.\n"),
        ("GET", "/", 404, "Not Found\n"),
    ],
)
async def test_control_api_responds_as_pushpins(
    server: DevServer, method: str, path: str, status: int, text: str
) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, server.control_api + path, headers=headers) as response,
    ):
        assert (response.status, await response.text()) == (status, text)


async def test_our_own_publisher_is_understood_too(server: DevServer) -> None:
    async with connect(server) as client:
        with SlipSocketsPublisher(control_api=server.control_api, jwt_secret=SECRET) as ours:
            report = await asyncio.to_thread(ours.publish_text, "lobby", "hi")
        assert report is not None
        assert report.sent == 1
        assert await client.recv() == "hi"


async def test_backend_gets_the_texts_of_a_connection_one_request_at_a_time_in_order(
    server: DevServer, backend: GripScript
) -> None:
    running_now = 0

    async def slow(post: Post) -> web.Response:
        nonlocal running_now
        running_now += 1
        assert running_now == 1
        await asyncio.sleep(0)
        running_now -= 1
        return await echo(post)

    sent = [str(number) for number in range(50)]
    async with connect(server) as client:
        backend.script = slow
        for each in sent:
            await client.send(each)
        assert [await client.recv() for _ in sent] == sent
    await backend.next_post("CLOSE")
    assert [each for post in backend.posts for each in post.texts] == sent


@pytest.mark.parametrize(("status", "client_status"), [(401, 401), (302, 502), (500, 500), (204, 502)])
async def test_backend_refuses_a_client_with_its_status(
    server: DevServer, backend: GripScript, status: int, client_status: int
) -> None:
    async def refuse(post: Post) -> web.Response:
        return web.Response(status=status)

    backend.script = refuse
    assert await refusal(server) == client_status
    assert len(backend.posts) == 1


async def test_client_chooses_among_the_backends_subprotocols(server: DevServer, backend: GripScript) -> None:
    async def choose(post: Post) -> web.Response:
        return reply(Event("OPEN"), Sec_WebSocket_Protocol="v2")

    backend.script = choose
    async with connect(server, subprotocols=["v1", "v2"]) as client:
        assert client.subprotocol == "v2"
    post = await backend.next_post("OPEN")
    assert post.headers["Sec-WebSocket-Protocol"] == "v1, v2"


async def test_meta_goes_to_and_fro(server: DevServer, backend: GripScript) -> None:
    async def count(post: Post) -> web.Response:
        seen = int(post.headers.get("Meta-Count", "0")) + 1
        return reply(*([Event("OPEN")] if seen == 1 else [text(str(seen))]), Set_Meta_Count=str(seen))

    backend.script = count
    async with connect(server) as client:
        for expected in ("2", "3"):
            await client.send("x")
            assert await client.recv() == expected


@pytest.mark.parametrize(
    "response",
    [
        web.Response(status=500),
        web.Response(text="not events"),
        reply(Event("OPEN")),
    ],
    ids=["500", "another type", "OPEN again"],
)
async def test_failing_backend_ends_the_connection_and_hears_nothing_more(
    server: DevServer, backend: GripScript, response: web.Response
) -> None:
    async def fail(post: Post) -> web.Response:
        return response

    async with connect(server) as client:
        backend.script = fail
        await client.send("a")
        await client.send("b")
        assert await ended(client) == 1000
    await settled(server)
    assert [post.events[0].type for post in backend.posts] == ["OPEN", "TEXT"]
    assert len(server.connections) == 0


async def test_detached_connection_is_published_to_alone(server: DevServer, backend: GripScript) -> None:
    async def detach(post: Post) -> web.Response:
        if post.events[0].type == "TEXT":
            return reply(text('c:{"type":"detach"}'))
        return await echo(post)

    backend.script = detach
    async with connect(server) as client:
        await client.send("a")
        await backend.next_post("CLOSE")
        await client.send("b")
        assert await publish(server, item("still here")) == (200, "Published\n")
        assert await client.recv() == "still here"
    await settled(server)
    assert [event for post in backend.posts for event in post.events] == [
        Event("OPEN"),
        Event("TEXT", b"a"),
        Event("CLOSE"),
    ]


async def test_filtered_messages_are_not_sent_or_are_others(server: DevServer, backend: GripScript) -> None:
    async def join(post: Post) -> web.Response:
        if post.events[0].type != "OPEN":
            return await echo(post)
        user = post.target.partition("=")[2]
        subscribe = text('c:{"type":"subscribe","channel":"lobby","filters":["skip-self","var-subst"]}')
        set_meta = text(f'c:{{"type":"set-meta","name":"user","value":"{user}"}}')
        return reply(Event("OPEN"), subscribe, set_meta, Sec_WebSocket_Extensions="grip")

    backend.script = join
    async with connect(server, "?user=ada") as ada, connect(server, "?user=bob") as bob:
        await publish(server, item("of ada", meta={"sender": "ada"}), item("for %(user)s"))
        assert await ada.recv() == "for ada"
        assert [await bob.recv() for _ in range(2)] == ["of ada", "for bob"]


async def test_what_api_gateway_cannot_do_is_logged_once_for_a_connection(
    server: DevServer, backend: GripScript, caplog: pytest.LogCaptureFixture
) -> None:
    async def binary(post: Post) -> web.Response:
        if post.events[0].type == "TEXT":
            return reply(Event("BINARY", b"m:x"), text("m:x"))
        return await echo(post)

    backend.script = binary
    with caplog.at_level(logging.WARNING, "slip_sockets"):
        async with connect(server) as client:
            for _ in range(2):
                await client.send("a")
                assert await client.recv() == "x"
    connection_id = backend.posts[0].connection_id
    assert [record.getMessage() for record in caplog.records] == [
        f"connection {connection_id}: skipped in the reply: BINARY: API Gateway sends texts only"
    ]


async def test_outputs_have_the_grip_url_without_the_secret(backend: GripScript, tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    async with running(backend.url, backend_protocol=Dialect.GRIP, outputs_path=path) as server:
        outputs = json.loads(path.read_text())["slip-sockets"]
    assert outputs["gripUrl"] == f"{server.control_api}?iss=slip-sockets&verify-iss=slip-sockets-gateway"
    assert SECRET not in path.read_text()
    assert server.grip_url == f"{outputs['gripUrl']}&key={SECRET}"


async def test_item_waits_for_the_one_that_it_names(server: DevServer, backend: GripScript) -> None:
    async with connect(server) as client:
        first, third, second = (item(id_, id=id_, **{"prev-id": before}) for id_, before in ("10", "32", "21"))
        await publish(server, first, third)
        await publish(server, second)
        assert [await client.recv() for _ in range(3)] == ["1", "2", "3"]


async def test_timers_run_until_the_client_leaves(
    server: DevServer, backend: GripScript, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(post: Post) -> web.Response:
        if post.events[0].type != "OPEN":
            return await echo(post)
        delayed = text('c:{"type":"send-delayed","content":"later"}')
        keep_alive = text('c:{"type":"keep-alive","content":"still there","timeout":1}')
        return reply(Event("OPEN"), delayed, keep_alive, Sec_WebSocket_Extensions="grip", Keep_Alive_Interval="20")

    backend.script = ask
    async with connect(server) as client:
        received = [await client.recv() for _ in range(3)]
    assert sorted(received) == ["later", "still there", "still there"]
    await backend.next_post("CLOSE")
    await server.aclose()
    assert "lost" not in caplog.text
