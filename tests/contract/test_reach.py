"""A client's bytes are data: they reach the backend, and do nothing to any connection by themselves.

One client sends whatever could be taken for something else, while another one looks on. Where the control API's token
would be needed, the client has a valid one: if a request has no effect then, it is because of its place.
"""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import quote

import pytest

from slip_sockets.protocol.tokens import bearer_token, mint, verify

from ..conftest import SECRET
from .raw import HANDSHAKE, RawClient, handshake, raw_client
from .scene import Scene, fill_in, scene
from .wire import (
    joined,
    replies,
    text,
)

__all__ = ["scene"]

NOTHING = b'{"events": []}'

# Text

TEXTS = {
    "a control body": "BODY",
    "an event": '{"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "from the attacker"}',
    "a list of events": '[{"type": "CLOSE", "connectionId": "ID"}]',
    "a POST of the gateway": '{"connectionId": "ID", "metadata": null, "events": [{"type": "CLOSE"}]}',
    "the end of a POST, and another event": '"}, {"type": "CLOSE", "connectionId": "ID"}]}',
    "a route of API Gateway": '{"action": "$disconnect", "routeKey": "$disconnect", "message": "x"}',
    "a proxy event": '{"requestContext": {"eventType": "DISCONNECT", "connectionId": "ID"}}',
    "a continuation": '{"kind": "continuation", "connectionId": "ID", "events": []}',
    "a control request": "POST /control HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\n\r\nBODY",
    "WebSocket-over-HTTP": 'OPEN\r\nTEXT 15\r\nc:{"type": "x"}\r\nCLOSE 2\r\n\x03\x08\r\nDISCONNECT\r\n',
    "a GRIP control message": 'c:{"type": "subscribe", "channel": "lobby"}',
    "chunks": "5\r\nhello\r\n0\r\n\r\n",
    "control characters": "\0\x01\x1b[2J\r\n\u2028\u202e\x7f",
}


@pytest.mark.parametrize("template", TEXTS.values(), ids=TEXTS.keys())
async def test_text_is_posted_as_it_is_and_does_nothing(scene: Scene, template: str) -> None:
    sent = fill_in(template, scene)
    async with joined(scene.server, scene.backend) as attacker:
        before = scene.states()
        metadata = json.loads(before[attacker.connection_id][0] or b"")
        await attacker.client.send(sent)
        post = await scene.backend.next_post("TEXT")
        assert post.body == {
            "connectionId": attacker.connection_id,
            "metadata": metadata,
            "events": [{"type": "TEXT", "connectionId": attacker.connection_id, "data": sent}],
        }
        await scene.assert_untouched(before)
        assert await attacker.received(scene.control) == []


async def test_text_that_a_backend_repeats_is_data_there_too(scene: Scene) -> None:
    """The `data` in a reply is sent as a text, whatever it looks like."""
    scene.backend.script = replies(TEXT=lambda post: [text(post.connection_id, post.event["data"])])
    async with joined(scene.server, scene.backend) as attacker:
        before = scene.states()
        for template in TEXTS.values():
            sent = fill_in(template, scene)
            await attacker.client.send(sent)
            assert await attacker.recv() == sent
        await scene.assert_untouched(before)


async def test_reason_of_a_close_is_posted_as_it_is_and_does_nothing(scene: Scene) -> None:
    before = scene.states()
    reason = '"}, {"type": "CLOSE_CHANNEL", "channelId": "lobby"}]}\r\n'
    async with joined(scene.server, scene.backend) as attacker:
        await attacker.client.close(4000, reason)
    post = await scene.backend.next_post("CLOSE")
    connection_id = attacker.connection_id
    assert post.body["events"] == [{"type": "CLOSE", "connectionId": connection_id, "code": 4000, "reason": reason}]
    await scene.assert_untouched(before)


# Headers, query, subprotocol


HOSTILE_HEADERS = (
    ("Authorization", "Bearer TOKEN"),
    ("authorization", "Bearer TOKEN"),
    ("Content-Type", "application/json"),
    ("Content-Length", "0"),
    ("Connection-Id", "ID"),
    ("connectionId", "ID"),
    ("Meta-User", "admin"),
    ("Set-Meta-User", "admin"),
    ("Sec-WebSocket-Extensions", "grip"),
    ("Sec-WebSocket-Extensions", 'grip; message-prefix=""'),
    ("Grip-Sig", "TOKEN"),
    ("Grip-Channel", "lobby"),
    ("Grip-Hold", "stream"),
    ("Sec-WebSocket-Protocol", "v1.chat, grip"),
    ("X-Forwarded-For", "192.0.2.66"),
    ("x-forwarded-for", "192.0.2.66"),
    ("X-Forwarded-Host", "other.example"),
    ("Forwarded", "for=192.0.2.66"),
    ("X-HTTP-Method-Override", "POST"),
    ("X-Original-URL", "/control"),
    ("X-Rewrite-URL", "/control"),
    ("X-Amz-Target", "DynamoDB_20120810.PutItem"),
    ("X-Events", "BODY"),
    ("Cookie", "connectionId=ID"),
    ("User-Agent", "BODY"),
    ("requestContext", '{"connectionId": "ID"}'),
    ("__proto__", "BODY"),
)


async def test_headers_of_a_client_are_metadata_and_not_the_gateways_own(scene: Scene) -> None:
    (plain,) = scene.backend.posts
    before = scene.states()
    hostile = tuple((name, fill_in(value, scene)) for name, value in HOSTILE_HEADERS)
    async with raw_client(scene.server) as attacker:
        status, head = await attacker.handshake("/", (*HANDSHAKE, *hostile))
        assert status == 101
        assert b"grip" not in head.lower()
        post = await scene.backend.next_post("OPEN")

        assert post.headers.keys() == plain.headers.keys()
        differing = {name for name in post.headers if post.headers[name] != plain.headers[name]}
        assert differing <= {"Authorization", "Content-Length"}
        verify(bearer_token(post.headers["Authorization"]), "WebSocketEvent", [SECRET])
        assert post.body.keys() == plain.body.keys()
        assert post.connection_id != scene.victim.connection_id
        assert post.event == {"type": "OPEN", "connectionId": post.connection_id}
        assert post.body["metadata"].keys() == {"headers", "ip", "query"}
        assert post.body["metadata"]["ip"] == "127.0.0.1"
        assert post.body["metadata"]["headers"]["X-Forwarded-For"] == "127.0.0.1"
        # Of two spellings the last one stays.
        for name, value in {name.lower(): (name, value) for name, value in hostile}.values():
            if name.lower() != "x-forwarded-for":
                assert post.body["metadata"]["headers"][name] == value
        assert scene.states().keys() - before.keys() == {post.connection_id}
        assert scene.states()[post.connection_id][1] == []
        await scene.assert_untouched(before)


QUERIES = {
    "connectionId=ID&connection_id=ID&id=ID": ("connectionId", "ID"),
    "type=SUBSCRIBE&channelId=lobby": ("channelId", "lobby"),
    "events=BODY": ("events", "BODY"),
    "metadata=BODY&metadata[ip]=192.0.2.66": ("metadata[ip]", "192.0.2.66"),
    "a=%0d%0aAuthorization:%20Bearer%20TOKEN%0d%0a%0d%0aBODY": ("a", "\r\nAuthorization: Bearer TOKEN\r\n\r\nBODY"),
    "a=%00%ff%22}]}": ("a", '\0\ufffd"}]}'),
    "a;b=c#d": ("a;b", "c"),
}


@pytest.mark.parametrize(("template", "expected"), QUERIES.items(), ids=QUERIES.keys())
async def test_query_of_a_client_is_metadata(scene: Scene, template: str, expected: tuple[str, str]) -> None:
    before = scene.states()
    query = quote(fill_in(template, scene), safe="=&%;#")
    async with raw_client(scene.server) as attacker:
        assert (await attacker.handshake(f"/?{query}"))[0] == 101
        post = await scene.backend.next_post("OPEN")
        name, value = expected
        assert post.body["metadata"]["query"][name] == [fill_in(value, scene)]
        assert post.connection_id not in before
        assert post.event == {"type": "OPEN", "connectionId": post.connection_id}
        await scene.assert_untouched(before)


@pytest.mark.parametrize("offered", ["grip", "ID", "BODY", "SUBSCRIBE, lobby", "x,,;,", "\xe9"])
async def test_subprotocol_is_chosen_by_the_backend_alone(scene: Scene, offered: str) -> None:
    before = scene.states()
    async with raw_client(scene.server) as attacker:
        header = ("Sec-WebSocket-Protocol", fill_in(offered, scene))
        status, head = await attacker.handshake("/", (*HANDSHAKE, header))
        assert status in (101, 400)
        assert b"sec-websocket-protocol" not in head.lower()
        await scene.assert_untouched(before)


# Requests behind requests


def control_request(scene: Scene) -> bytes:
    """A whole request, with a valid token."""
    head = "POST /control HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer TOKEN\r\n"
    size = len(fill_in("BODY", scene))
    return fill_in(f"{head}Content-Length: {size}\r\n\r\nBODY", scene).encode()


async def test_control_request_that_stands_alone_takes_effect(scene: Scene) -> None:
    """The other tests rely on it: such a request does reach the victim."""
    async with raw_client(scene.server) as publisher:
        publisher.send(control_request(scene))
        assert (await publisher.read_head())[0] == 200
    assert await scene.victim.recv() == "from the attacker"
    assert await scene.victim.close_code() == 1000


async def smuggle(scene: Scene, head: bytes) -> None:
    """Send a control request behind `head`."""
    before = scene.states()
    async with raw_client(scene.server) as attacker:
        attacker.send(head, control_request(scene))
        await ended(attacker)
        await scene.assert_untouched(before)


async def ended(client: RawClient) -> None:
    """Wait until the server has read all and cut the connection."""
    with suppress(ConnectionError):
        await client.read_to_end()


BEHIND = {
    "a handshake": handshake("/"),
    "a handshake that is refused": handshake("/elsewhere"),
    "a handshake with a body": handshake("/", ("Content-Length", "10")),
    "a handshake in chunks": handshake("/", ("Transfer-Encoding", "chunked")),
    "a handshake with another version": handshake("/").replace(b": 13", b": 8"),
    "a handshake with LF in a header": handshake("/", ("X", "a\nContent-Length: 0\n\n")),
}


@pytest.mark.parametrize("head", BEHIND.values(), ids=BEHIND.keys())
async def test_request_behind_a_handshake_has_no_effect(scene: Scene, head: bytes) -> None:
    await smuggle(scene, head)


@pytest.mark.parametrize(
    "lengths",
    [
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length: +0",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
    ],
)
async def test_request_behind_one_of_doubtful_length_has_no_effect(scene: Scene, lengths: str) -> None:
    head = f"POST /control HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOKEN\r\n{lengths}\r\n\r\n"
    await smuggle(scene, fill_in(head, scene).encode())


# Paths

PATHS = (
    "/@connections/ID",
    "/%40connections/ID",
    "//@connections/ID",
    "/live/@connections/ID",
    "/./@connections/ID",
    "/x/../@connections/ID",
    "/control/../@connections/ID",
    "/control/%2e%2e/@connections/ID",
    "/_inspector/..%2f@connections/ID",
    "/@connections/../@connections/ID",
    "/@connections/ID?Authorization=AWS4-HMAC-SHA256",
    "/@connections/ID;x",
    "/@connections/ID%00",
    "http://127.0.0.1/@connections/ID",
    "http://x@127.0.0.1/control/../@connections/ID",
)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", PATHS)
async def test_connections_are_not_reached_without_a_signature(scene: Scene, path: str, method: str) -> None:
    before = scene.states()
    token = mint("WebSocketEvent", SECRET)
    async with raw_client(scene.server) as attacker:
        headers = (("Host", "127.0.0.1"), ("Authorization", f"Bearer {token}"), ("Content-Length", "14"))
        head = [f"{method} {fill_in(path, scene)} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        attacker.send("\r\n".join(head).encode(), NOTHING)
        assert (await attacker.read_head())[0] in (400, 403, 404, 405)
        await scene.assert_untouched(before)


UPGRADES = (
    "/control",
    "/control/x",
    "/_inspector",
    "/_inspector/stream",
    "/_inspector/control",
    "/@connections/ID",
    "/live",
    "/..",
    "/../",
    "/.",
    "/%2e",
    "//",
    "//control",
    "/;",
    "*",
    "",
    "control",
    "http://127.0.0.1/control",
    "http://127.0.0.1/@connections/ID",
    "wss://other.example/",
)


@pytest.mark.parametrize("target", UPGRADES)
async def test_socket_opens_at_the_root_and_nowhere_else(scene: Scene, target: str) -> None:
    before = scene.states()
    async with raw_client(scene.server) as attacker:
        token = ("Authorization", f"Bearer {mint('ControlEvent', SECRET)}")
        status, _ = await attacker.handshake(fill_in(target, scene), (*HANDSHAKE, token))
        assert status in (400, 403)
        await scene.assert_untouched(before)
    assert [post.event["type"] for post in scene.backend.posts] == ["OPEN"]  # the victim's


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_control_api_does_nothing_for_a_holder_of_the_backends_token(scene: Scene, method: str) -> None:
    """A token for the backend comes with each POST, so the backend could keep it."""
    before = scene.states()
    body = json.dumps({"events": scene.attacks()}).encode()
    headers = {"Authorization": f"Bearer {mint('WebSocketEvent', SECRET)}", "Content-Type": "application/json"}
    url = scene.server.control_api
    async with scene.control.session.request(method, url, data=body, headers=headers) as response:
        assert response.status in (400, 403, 404, 405)
    await scene.assert_untouched(before)


ELSEWHERE = {
    "in two headers": ("/control", "Authorization: Bearer TOKEN\r\nAuthorization: Bearer x\r\n"),
    "in the second of two headers": ("/control", "Authorization: Bearer x\r\nAuthorization: Bearer TOKEN\r\n"),
    "twice": ("/control", "Authorization: Bearer TOKEN\r\nauthorization: Bearer TOKEN\r\n"),
    "in the query": ("/control?Authorization=Bearer%20TOKEN&access_token=TOKEN", ""),
    "in the path": ("/control/TOKEN", ""),
    "as a user's password": ("http://Bearer:TOKEN@127.0.0.1/control", ""),
    "in a cookie": ("/control", "Cookie: Authorization=Bearer TOKEN\r\n"),
    "in other headers": ("/control", "X-Authorization: Bearer TOKEN\r\nProxy-Authorization: Bearer TOKEN\r\n"),
    "as a subprotocol": ("/control", "Sec-WebSocket-Protocol: TOKEN\r\n"),
    "under a name that looks like it": ("/control", "Authorization\xa0: Bearer TOKEN\r\n"),
}


@pytest.mark.parametrize(("target", "headers"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
async def test_token_counts_in_its_one_header_alone(scene: Scene, target: str, headers: str) -> None:
    before = scene.states()
    body = fill_in("BODY", scene)
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    async with raw_client(scene.server) as attacker:
        attacker.send(fill_in(head, scene).encode("latin-1"), body.encode())
        assert (await attacker.read_head())[0] in (400, 403)
        await scene.assert_untouched(before)
