"""Sections 3 and 7: the control API."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from websockets.asyncio.client import ClientConnection

from slip_sockets.dev.server import DevServer

from ..scripted_backend import Events, Post, ScriptedBackend
from .wire import (
    UNKNOWN_ID,
    Control,
    Warnings,
    accept,
    close,
    close_channel,
    connect,
    joined,
    poll,
    publish,
    replies,
    report,
    set_metadata,
    subscribe,
    text,
    unsubscribe,
)


async def test_response_has_one_object_for_each_event(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with joined(server, backend, "lobby") as member, joined(server, backend, "lobby", "x") as leaving:
        done = await control(
            text(member.connection_id, "1"),
            publish("lobby", "2"),
            subscribe(member.connection_id, "more"),
            publish("more", "3"),
            unsubscribe(member.connection_id, "more"),
            publish("more", "4"),
            set_metadata(member.connection_id, {"a": 1}),
            close_channel("x"),
            poll(member.connection_id, 0),
            close(UNKNOWN_ID),
        )
        assert done.status == 200
        assert done.headers["Content-Type"] == "application/json"
        assert done.json == {
            "message": "processed successfully",
            "events": [{}, report(2, 2), {}, report(1, 1), {}, report(0, 0), {}, report(1, 1), {}, {}],
        }
        assert await leaving.close_code() == 1000
        assert await member.received(control) == ["1", "2", "3"]
        await member.client.send("metadata?")
        assert (await backend.next_post("TEXT")).body["metadata"] == {"a": 1}


async def test_no_events_is_200_and_does_nothing(control: Control) -> None:
    done = await control()
    assert (done.status, done.json) == (200, {"message": "processed successfully", "events": []})


async def test_unknown_fields_are_ignored(server: DevServer, backend: ScriptedBackend, control: Control) -> None:
    async with joined(server, backend) as member:
        event = text(member.connection_id, "hi") | {"later": {"more": [1]}, "channel": 3}
        done = await control.send(json.dumps({"version": 2, "events": [event]}).encode())
        assert (done.status, done.json["events"]) == (200, [{}])
        assert await member.recv() == "hi"


@pytest.mark.parametrize("path", ["", "/", "/events", "/a/b/c?d=e"])
async def test_every_path_below_is_the_control_api(control: Control, path: str) -> None:
    assert (await control.send(b'{"events": []}', path=path)).status == 200


@pytest.mark.parametrize(
    "content_type",
    ["application/websocket-events", "application/json", "application/json; charset=utf-8", "text/plain", "image/png"],
)
async def test_body_of_any_content_type_is_utf8(
    server: DevServer, backend: ScriptedBackend, control: Control, content_type: str
) -> None:
    async with joined(server, backend, "gr\u00fc\u00dfe") as member:
        data = "\u4f60\u597d \U0001f44b \u00ff"
        body = json.dumps({"events": [publish("gr\u00fc\u00dfe", data)]}, ensure_ascii=False).encode()
        done = await control.send(body, content_type=content_type)
        assert (done.status, done.json["events"]) == (200, [report(1, 1)])
        assert await member.recv() == data


@pytest.mark.parametrize(
    ("bad", "error", "field"),
    [
        (text("{id}", "x") | {"data": 7}, "events[1].data: TEXT needs a string, got int", "data"),
        (
            {"type": "TEXT", "connectionId": "{id}"},
            "events[1].data: TEXT needs this field, and it is missing",
            "data",
        ),
        (
            {"type": "TEXT", "data": "x"},
            "events[1].connectionId: TEXT needs this field, and it is missing",
            "connectionId",
        ),
        (
            text("{id}", "x") | {"connectionId": None},
            "events[1].connectionId: TEXT needs a string, got null",
            "connectionId",
        ),
        (
            publish("c", "x") | {"channelId": 1},
            "events[1].channelId: PUBLISH_TEXT needs a string, got int",
            "channelId",
        ),
        (
            {"type": "PUBLISH_TEXT", "channel": "c", "data": "x"},
            "events[1].channelId: PUBLISH_TEXT needs this field, and it is missing",
            "channelId",
        ),
        (
            {"type": "SUBSCRIBE", "channelId": "c", "connectionId": "{id}"},
            "events[1].channel: SUBSCRIBE needs this field, and it is missing",
            "channel",
        ),
        (
            {"type": "SET_METADATA", "connectionId": "{id}"},
            "events[1].metadata: SET_METADATA needs this field, and it is missing",
            "metadata",
        ),
        (accept("{id}"), "events[1].type: unknown event type 'ACCEPT'", "type"),
        ({"type": "SHOUT"}, "events[1].type: unknown event type 'SHOUT'", "type"),
        ({"type": 5}, "events[1].type: an event needs a string", "type"),
        ({"connectionId": "{id}"}, "events[1].type: an event needs this field, and it is missing", "type"),
        ("TEXT", "events[1]: an event needs an object, got str", None),
        (None, "events[1]: an event needs an object, got null", None),
        (poll("{id}", "1"), "events[1].timeout: POLL_FOR_CONNECTION needs a number, got str", "timeout"),
        (poll("{id}", -1), "events[1].timeout: POLL_FOR_CONNECTION needs 0 to 25000 ms, got -1.0", "timeout"),
        (poll("{id}", 25_000.5), "events[1].timeout: POLL_FOR_CONNECTION needs 0 to 25000 ms, got 25000.5", "timeout"),
    ],
)
async def test_one_bad_event_refuses_the_whole_batch(
    server: DevServer,
    backend: ScriptedBackend,
    control: Control,
    warnings: Warnings,
    bad: object,
    error: str,
    field: str | None,
) -> None:
    async with joined(server, backend, "lobby") as member:
        refused = await control(publish("lobby", "1"), bad, text(member.connection_id, "3"))
        assert refused.status == 400
        assert refused.headers["Content-Type"] == "application/json"
        place = {"index": 1} if field is None else {"index": 1, "field": field}
        assert refused.json == {"message": "invalid commands", "error": error, **place}
        assert warnings() == [f"control API: {error}; refused with 400, nothing was done"]
        assert await member.received(control) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"{}", {"error": "events: the body needs this field, and it is missing", "field": "events"}),
        (b'{"events": {}}', {"error": "events: the body needs an array, got object", "field": "events"}),
        (b'{"events": null}', {"error": "events: the body needs an array, got null", "field": "events"}),
        (b"[]", {"error": "body: the body needs an object, got array"}),
        (b"null", {"error": "body: the body needs an object, got null"}),
    ],
)
async def test_body_of_another_shape_is_400(control: Control, body: bytes, fault: dict[str, str]) -> None:
    refused = await control.send(body)
    assert (refused.status, refused.json) == (400, {"message": "invalid commands", **fault})


@pytest.mark.parametrize("body", [b"", b"{", b'{"events": []}, more', b"\xff\xfe"])
async def test_body_that_is_not_json_is_400(control: Control, body: bytes) -> None:
    for content_type in ("application/json", "application/websocket-events"):
        refused = await control.send(body, content_type=content_type)
        assert refused.status == 400
        assert refused.json["message"] == "invalid commands"
        assert refused.json["error"].startswith("the body is not JSON: ")
        assert refused.json.keys() == {"message", "error"}


@pytest.mark.parametrize("data", [rb"ok \ud83d", b"ok \xed\xa0\xbd"])
async def test_half_a_character_is_400_with_its_place(control: Control, data: bytes) -> None:
    body = b'{"events": [{"type": "PUBLISH_TEXT", "channelId": "r", "data": "%s"}]}' % data
    for content_type in ("application/json", "application/websocket-events"):
        refused = await control.send(body, content_type=content_type)
        assert (refused.status, refused.json["index"], refused.json["field"]) == (400, 0, "data")
        assert refused.json["error"].startswith("events[0].data: PUBLISH_TEXT needs text, got an unpaired surrogate (")
        assert f" at byte {body.index(b'ok ') + 3})" in refused.json["error"]


async def test_a_byte_order_mark_is_ignored(control: Control) -> None:
    done = await control.send(b'\xef\xbb\xbf{"events": []}')
    assert (done.status, done.json["events"]) == (200, [])


async def test_deeply_nested_body_is_400(control: Control) -> None:
    body = b'{"events": [{"type": "SET_METADATA", "connectionId": "x", "metadata": ' + b"[" * 100_000
    refused = await control.send(body)
    assert (refused.status, refused.json["message"]) == (400, "invalid commands")


async def test_skipped_ids_are_logged_and_the_batch_goes_on(
    server: DevServer, backend: ScriptedBackend, control: Control, warnings: Warnings
) -> None:
    async with joined(server, backend) as gone:
        pass
    await backend.next_post("CLOSE")
    async with joined(server, backend) as member:
        done = await control(
            text("{}", "1"),
            text(gone.connection_id, "2"),
            subscribe(gone.connection_id, "lobby"),
            poll("A" * 16, 0),
            text(member.connection_id, "hi"),
        )
        assert (done.status, done.json["events"]) == (200, [{}, {}, {}, {}, {}])
        assert warnings() == [
            "connection {}: it is refused: Invalid connectionId; skipped",
            f"TEXT skipped: connection {gone.connection_id!r} is not connected",
            f"SUBSCRIBE skipped: connection {gone.connection_id!r} is not connected",
            "POLL_FOR_CONNECTION skipped: connection 'AAAAAAAAAAAAAAAA' did not open in time",
        ]
        assert await member.received(control) == ["hi"]


async def test_poll_waits_until_the_connection_is_open(
    server: DevServer, backend: ScriptedBackend, control: Control, warnings: Warnings
) -> None:
    asked = asyncio.Event()
    admitted = asyncio.Event()

    async def opening(post: Post) -> Events:
        asked.set()
        await admitted.wait()
        return [accept(post.connection_id)]

    async def opened(server: DevServer) -> ClientConnection:
        return await connect(server)

    backend.script = replies(OPEN=opening)
    async with asyncio.TaskGroup() as tasks:
        connecting = tasks.create_task(opened(server))
        await asked.wait()
        connection_id = backend.posts[-1].connection_id
        calling = tasks.create_task(control(poll(connection_id, 25_000), text(connection_id, "you are in")))
        assert (await control(poll(connection_id, 60), text(connection_id, "too early"))).status == 200
        assert warnings() == [
            f"POLL_FOR_CONNECTION skipped: connection {connection_id!r} did not open in time",
            f"TEXT skipped: connection {connection_id!r} is not connected",
        ]
        assert not calling.done()
        admitted.set()
    assert calling.result().json["events"] == [{}, {}]
    client = connecting.result()
    assert await client.recv() == "you are in"
    await client.close()


async def test_poll_for_an_unknown_connection_gives_up_in_time(control: Control) -> None:
    since = time.monotonic()
    done = await control(poll(UNKNOWN_ID, 200))
    assert (done.status, done.json["events"]) == (200, [{}])
    assert 0.2 <= time.monotonic() - since < 10
