"""Who is in a channel, over the wire: real sockets, a real backend, the development server.

The frames come after a second or two, and those of a leave after the grace.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from slip_sockets.dev.server import DevServer

from ..scripted_backend import Events, Post, ScriptedBackend
from .wire import Control, Member, accept, connect, subscribe, unsubscribe


def join(connection_id: str, channel: str, **info: object) -> dict[str, Any]:
    return subscribe(connection_id, channel) | {"presence": info}


def let_in_as_asked(post: Post) -> Events:
    """Let clients in as the `user` of their query, with slip.v1 where they offer it, as members of `tea`."""
    if post.kind != "OPEN":
        return []
    (user,) = post.body["metadata"]["query"].get("user", [None])
    who = {} if user is None else {"user": user}
    frames = {} if "Sec-WebSocket-Protocol" not in post.body["metadata"]["headers"] else {"subprotocol": "slip.v1"}
    info = {} if user is None else {"info": {"name": user.title()}}
    return [accept(post.connection_id, **who, **frames), join(post.connection_id, "tea", **info)]


@pytest.fixture
def backend(backend: ScriptedBackend) -> ScriptedBackend:
    backend.script = let_in_as_asked
    return backend


@asynccontextmanager
async def let_in(
    server: DevServer, backend: ScriptedBackend, user: str | None = None, **options: Any
) -> AsyncIterator[Member]:
    options = {"subprotocols": ["slip.v1"], **options}
    async with connect(server, "" if user is None else f"?user={user}", **options) as client:
        yield Member(server, client, (await backend.next_post("OPEN")).connection_id)


async def frame(member: Member) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await member.recv())
    return found


async def members(control: Control, channel: str = "tea") -> dict[str, Any]:
    response = await control({"type": "PRESENCE", "channelId": channel})
    assert response.status == 200
    (report,) = response.json["events"]
    return dict(report)


ANN, BOB = ({"user": name, "info": {"name": name.title()}} for name in ("ann", "bob"))


async def test_presence_reports_who_is_there_now(server: DevServer, backend: ScriptedBackend, control: Control) -> None:
    assert await members(control) == {"count": 0, "members": [], "more": False}
    began = time.time_ns() // 1_000_000
    async with let_in(server, backend, "ann") as laptop, let_in(server, backend, subprotocols=None) as guest:
        async with let_in(server, backend, "ann"):
            report = await members(control)
            assert (report["count"], report["more"]) == (2, False)
            by_user = {member["user"]: member for member in report["members"]}
            ann, unnamed = by_user["ann"], by_user[guest.connection_id]
            assert list(by_user) == sorted(by_user)
            assert (ann["info"], ann["connections"]) == ({"name": "Ann"}, 2)
            assert (unnamed["info"], unnamed["connections"]) == (None, 1)
            assert began <= ann["since"] <= unnamed["since"] <= time.time_ns() // 1_000_000
        await backend.next_post("CLOSE")
        await control(unsubscribe(guest.connection_id, "tea"))
        (left,) = (await members(control))["members"]
        assert (left["user"], left["connections"]) == ("ann", 1)
        await control(join(laptop.connection_id, "tea", info=["away"]), subscribe(laptop.connection_id, "tea"))
        assert (await members(control))["members"][0]["info"] == ["away"]
    await backend.next_post("CLOSE")
    assert (await members(control))["count"] == 0


async def test_frames_tell_who_comes_and_after_the_grace_who_left(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with let_in(server, backend, "ann") as ann:
        presence = {"slip": "presence", "channel": "tea"}
        assert await frame(ann) == presence | {"all": True, "joined": [ANN], "count": 1}
        async with let_in(server, backend, "bob") as bob:
            assert await frame(bob) == presence | {"all": True, "joined": [ANN, BOB], "count": 2}
            assert await frame(ann) == presence | {"joined": [BOB], "count": 2}
            await control(join(bob.connection_id, "tea", info="busy"))
            assert await frame(ann) == presence | {"joined": [{"user": "bob", "info": "busy"}], "count": 2}
        assert await frame(ann) == presence | {"left": ["bob"], "count": 1}


BAD = [
    ("yes", "presence: SUBSCRIBE"),
    ({"info": "x" * 1_023}, "presence.info: SUBSCRIBE needs at most 1024 bytes of JSON, to 100 levels, got 1025 bytes"),
]


@pytest.mark.parametrize(("presence", "problem"), BAD)
async def test_a_membership_that_is_not_valid_is_refused(control: Control, presence: object, problem: str) -> None:
    response = await control(subscribe("L0SM9cOFvHcCIhw=", "tea") | {"presence": presence})
    assert response.status == 400
    assert problem in response.json["error"]
