"""The check over backends whose subscribers are members."""

from __future__ import annotations

import pytest
from aiohttp import web

from slip_sockets import Connection, Presence
from slip_sockets.check.judge import Level

from .backends import answering, events, taking
from .test_play import results


def members(connection: Connection) -> None:
    if connection.is_opening:
        connection.accept()
        name = connection.metadata["query"].get("name", [""])[0]
        connection.subscribe("lobby", presence=Presence({"name": name[:200]}))
    for _ in connection.texts:
        connection.subscribe("lobby", presence=True)


async def test_subscribing_members_is_right() -> None:
    found = await results(taking(members))
    assert [result for result in found.values() if result.verdict.level is not Level.RIGHT] == []


@pytest.mark.parametrize(
    ("presence", "problem"),
    [
        (True, "events[0].presence: SUBSCRIBE needs an object or null, got bool"),
        (
            {"info": "x" * 1_023},
            "events[0].presence.info: SUBSCRIBE needs at most 1024 bytes of JSON, to 100 levels, got 1025 bytes",
        ),
    ],
)
async def test_a_membership_that_is_not_valid_is_named(presence: object, problem: str) -> None:
    def subscribe(connection: Connection) -> web.Response:
        event = {"type": "SUBSCRIBE", "connectionId": connection.connection_id, "channel": "tea"}
        return events(event | {"presence": presence})

    verdict = (await results(answering("TEXT", subscribe)))["text-plain"].verdict
    assert verdict.level is Level.WRONG
    assert verdict.finding.startswith(f"responded with 200 and a body that is not valid: {problem}: the text is lost")
