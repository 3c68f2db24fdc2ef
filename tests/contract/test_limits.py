"""Section 7: limits count UTF-8 bytes and are inclusive, in control bodies and replies alike."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from slip_sockets.dev.server import DevServer

from ..scripted_backend import Events, ScriptedBackend
from .raw import raw_client
from .wire import (
    UNKNOWN_ID,
    Control,
    Event,
    Warnings,
    accept,
    close_channel,
    joined,
    publish,
    replies,
    report,
    set_metadata,
    subscribe,
    text,
    unsubscribe,
)

MAX_TEXT = 131_072
MAX_METADATA = 65_536
LONGEST_CHANNEL = "\u20ac" * 341 + "a"  # 3 bytes each
LONGEST_TEXT = "\u20ac" * 43_690 + "ab"
LONGEST_METADATA = "\u20ac" * 21_844 + "ab"  # and its two quotation marks
RESERVED = "needs a name that does not begin with $connection:"


def in_channel_events(channel: str) -> list[Event]:
    return [
        subscribe(UNKNOWN_ID, channel),
        unsubscribe(UNKNOWN_ID, channel),
        publish(channel, "x"),
        close_channel(channel),
    ]


CHANNELS = [
    ("", "needs 1 to 1024 bytes of UTF-8, got 0"),
    ("a" * 1025, "needs 1 to 1024 bytes of UTF-8, got 1025"),
    ("\u20ac" * 342, "needs 1 to 1024 bytes of UTF-8, got 1026"),
    ("$connection:", RESERVED),
    (f"$connection:{UNKNOWN_ID}", RESERVED),
]

BROKEN: list[tuple[Event, str, str]] = [
    (event, "channel" if "channel" in event else "channelId", f"{event['type']} {problem}")
    for channel, problem in CHANNELS
    for event in in_channel_events(channel)
]
BROKEN += [
    (event, "data", f"{event['type']} needs at most 131072 bytes of UTF-8, got {size}")
    for data, size in (("a" * (MAX_TEXT + 1), 131_073), (LONGEST_TEXT + "b", 131_073), ("\u00e9" * 65_537, 131_074))
    for event in (text(UNKNOWN_ID, data), publish("lobby", data))
]
BROKEN += [
    (publish("lobby", "x", id=""), "id", "PUBLISH_TEXT needs 1 to 128 bytes of UTF-8, got 0"),
    (publish("lobby", "x", id="\u00e9" * 65), "id", "PUBLISH_TEXT needs 1 to 128 bytes of UTF-8, got 130"),
    (
        set_metadata(UNKNOWN_ID, LONGEST_METADATA + "a"),
        "metadata",
        "SET_METADATA needs at most 65536 bytes of JSON, got 65537",
    ),
]


def ids(value: object) -> str:
    return str(value)[:60]


@pytest.mark.parametrize(("event", "field", "problem"), BROKEN, ids=ids)
async def test_broken_limit_refuses_control_body_and_reply_alike(
    server: DevServer,
    backend: ScriptedBackend,
    control: Control,
    warnings: Warnings,
    event: Event,
    field: str,
    problem: str,
) -> None:
    error = f"events[1].{field}: {problem}"
    async with joined(server, backend, "lobby") as member:
        refused = await control(publish("lobby", "never"), event)
        assert refused.status == 400
        assert refused.json == {"message": "invalid commands", "error": error, "index": 1, "field": field}

        backend.script = replies(TEXT=lambda _: [publish("lobby", "never"), event])
        await member.client.send("x")
        await backend.next_post("TEXT")
        assert await member.received(control) == []
        subject = f"TEXT of connection {member.connection_id}: backend {backend.url}"
        assert warnings()[1:] == [f"{subject} responded with 200 and a body that is not valid: {error}"]


async def test_values_at_their_limits_are_fine(server: DevServer, backend: ScriptedBackend, control: Control) -> None:
    def everything(connection_id: str) -> Events:
        return [
            unsubscribe(connection_id, LONGEST_CHANNEL),
            subscribe(connection_id, LONGEST_CHANNEL),
            publish(LONGEST_CHANNEL, LONGEST_TEXT, id="\u00e9" * 64),
            text(connection_id, "a" * MAX_TEXT),
            publish("\u00e9" * 512, ""),
            subscribe(connection_id, "$connection"),
            publish("$connection", ""),
            set_metadata(connection_id, LONGEST_METADATA),
            subscribe(connection_id, "$"),
        ]

    async with joined(server, backend) as member:
        assert (await control(*everything(member.connection_id))).status == 200
        assert await member.received(control) == [LONGEST_TEXT, "a" * MAX_TEXT, ""]
        backend.script = replies(
            TEXT=lambda post: [*everything(post.connection_id)[3:], close_channel(LONGEST_CHANNEL)]
        )
        await member.client.send("x")
        assert [await member.recv(), await member.recv()] == ["a" * MAX_TEXT, ""]
        assert await member.close_code() == 1000
    assert (await backend.next_post("CLOSE")).body["metadata"] == LONGEST_METADATA


async def test_batch_of_10000_is_done_and_of_one_more_refused(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with joined(server, backend, "lobby") as member:
        connection_id = member.connection_id
        most = [subscribe(connection_id, "more"), *([unsubscribe(connection_id, "x")] * 9_998), publish("more", "in")]
        done = await control(*most)
        assert (done.status, len(done.json["events"])) == (200, 10_000)
        assert done.json["events"][-1] == report(1, 1)
        refused = await control(*most, publish("lobby", "never"))
        assert refused.status == 400
        assert refused.json == {
            "message": "invalid commands",
            "error": "events: a batch has at most 10000 events, got 10001",
            "field": "events",
        }
        backend.script = replies(TEXT=lambda _: [*most, publish("lobby", "never")])
        await member.client.send("x")
        await backend.next_post("TEXT")
        assert await member.received(control) == ["in"]
        backend.script = replies(TEXT=lambda _: most)
        await member.client.send("x")
        assert await member.recv() == "in"


@pytest.mark.parametrize(("size", "status"), [(10 * 1024 * 1024, 101), (10 * 1024 * 1024 + 1, 400)])
async def test_response_of_10_mib_is_read_and_a_larger_one_is_invalid(
    server: DevServer, backend: ScriptedBackend, warnings: Warnings, size: int, status: int
) -> None:
    backend.script = lambda post: web.Response(
        body=json.dumps({"events": [accept(post.connection_id)]}).encode().ljust(size)
    )
    async with raw_client(server) as client:
        assert (await client.handshake())[0] == status
    connection_id = backend.posts[0].connection_id
    detail = f"backend {backend.url} responded with more than 10485760 bytes; refused with 400"
    assert warnings()[:1] == ([f"OPEN of connection {connection_id}: {detail}"] if status == 400 else [])
