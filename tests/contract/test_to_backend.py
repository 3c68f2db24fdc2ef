"""Section 1: one POST to the backend for each event of a socket."""

from __future__ import annotations

import re
import time

import jwt

from slip_sockets.dev.server import DevServer

from ..conftest import SECRET
from ..scripted_backend import ScriptedBackend
from .raw import HANDSHAKE, raw_client
from .wire import Control, accept, connect, joined, replies, set_metadata


async def test_open_is_one_post_with_token_type_and_body(server: DevServer, backend: ScriptedBackend) -> None:
    async with raw_client(server) as client:
        status, _ = await client.handshake()
        assert status == 101
        post = await backend.next_post("OPEN")

    assert post.headers["Content-Type"] == "application/websocket-events"
    assert re.fullmatch(r"[A-Za-z0-9_-]{15}=", post.connection_id)
    headers = post.body["metadata"]["headers"]
    forwarded = {
        "X-Amzn-Trace-Id": headers["X-Amzn-Trace-Id"],
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Port": str(server.port),
        "X-Forwarded-Proto": "http",
    }
    assert post.body == {
        "connectionId": post.connection_id,
        "metadata": {"headers": dict(HANDSHAKE) | forwarded, "ip": "127.0.0.1", "query": {}},
        "events": [{"type": "OPEN", "connectionId": post.connection_id}],
    }
    assert [post.event["type"] for post in backend.posts] == ["OPEN"]


async def test_token_is_for_the_backend_and_lives_one_minute(server: DevServer, backend: ScriptedBackend) -> None:
    async with connect(server) as client:
        await client.send("hello")
        await backend.next_post("TEXT")
    await backend.next_post("CLOSE")

    assert len(backend.posts) == 3
    for post in backend.posts:
        scheme, token = post.headers["Authorization"].split(" ")
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="WebSocketEvent", issuer="slip-sockets")
        assert scheme == "Bearer"
        assert jwt.get_unverified_header(token)["alg"] == "HS256"
        assert claims == {
            "iss": "slip-sockets",
            "aud": "WebSocketEvent",
            "iat": claims["iat"],
            "exp": claims["iat"] + 60,
        }
        assert 0 <= time.time() - claims["iat"] < 30


async def test_repeated_header_arrives_as_the_last_under_the_name_as_written(
    server: DevServer, backend: ScriptedBackend
) -> None:
    async with raw_client(server) as client:
        await client.handshake("/", (*HANDSHAKE, ("x-rOOm", "first"), ("x-rOOm", "second"), ("Cookie", "a=b")))
        headers = (await backend.next_post("OPEN")).body["metadata"]["headers"]

    assert (headers["x-rOOm"], headers["Cookie"]) == ("second", "a=b")
    assert "X-Room" not in headers


async def test_header_that_is_not_ascii_refuses_no_client(server: DevServer, backend: ScriptedBackend) -> None:
    async with connect(server, additional_headers={"X-Name": "Zo\u00eb"}):  # HTTP's own ISO 8859-1
        post = await backend.next_post("OPEN")
    assert post.body["metadata"]["headers"]["X-Name"] == "Zo\u00eb"


async def test_query_arrives_as_lists_with_blanks_kept(server: DevServer, backend: ScriptedBackend) -> None:
    async with connect(server, "?room=a&room=b&empty=&bare&sp+ace=%C3%A9%26"):
        post = await backend.next_post("OPEN")
    query = post.body["metadata"]["query"]
    assert query == {"room": ["a", "b"], "empty": [""], "bare": [""], "sp ace": ["\u00e9&"]}


async def test_text_has_the_message_and_the_metadata_of_open(server: DevServer, backend: ScriptedBackend) -> None:
    async with connect(server, "?room=a") as client:
        opened = await backend.next_post("OPEN")
        for data in ("hello", "", 'gr\u00fc\u00dfe \U0001f44b "\u0000\n'):
            await client.send(data)
            post = await backend.next_post("TEXT")
            assert post.body == {
                "connectionId": opened.connection_id,
                "metadata": opened.body["metadata"],
                "events": [{"type": "TEXT", "connectionId": opened.connection_id, "data": data}],
            }


async def test_each_message_is_one_post(server: DevServer, backend: ScriptedBackend) -> None:
    async with connect(server) as client:
        for number in range(50):
            await client.send(str(number))
        seen = {(await backend.next_post("TEXT")).event["data"] for _ in range(50)}
    await backend.next_post("CLOSE")
    assert seen == {str(number) for number in range(50)}
    assert len(backend.posts) == 52


async def test_metadata_is_the_last_stored_and_null_once_cleared(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    stored = {"user": "Zo\u00eb", "roles": [1, 2.5, None, True], "": {}}
    backend.script = replies(OPEN=lambda post: [accept(post.connection_id), set_metadata(post.connection_id, stored)])
    async with joined(server, backend) as member:
        await member.client.send("1")
        assert (await backend.next_post("TEXT")).body["metadata"] == stored
        await control(set_metadata(member.connection_id, "later"), set_metadata(member.connection_id, 0))
        await member.client.send("2")
        assert (await backend.next_post("TEXT")).body["metadata"] == 0
        await control(set_metadata(member.connection_id, None))
        await member.client.send("3")
        assert (await backend.next_post("TEXT")).body["metadata"] is None
    assert (await backend.next_post("CLOSE")).body["metadata"] is None


async def test_close_is_posted_with_the_stored_metadata(server: DevServer, backend: ScriptedBackend) -> None:
    async with connect(server) as client:
        opened = await backend.next_post("OPEN")
        await client.close(4001, "bye")
    post = await backend.next_post("CLOSE")
    assert post.body == {
        "connectionId": opened.connection_id,
        "metadata": opened.body["metadata"],
        "events": [{"type": "CLOSE", "connectionId": opened.connection_id, "code": 4001, "reason": "bye"}],
    }
