"""The check over backends whose subscribers are members."""

from __future__ import annotations

import pytest
from aiohttp import web

from slip_sockets import Connection, Occupied, Presence, Vacated
from slip_sockets.check.judge import Level

from .backends import answering, events, taking
from .test_play import named, results


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


async def test_a_channel_with_members_is_occupied_and_vacated() -> None:
    heard: list[Occupied | Vacated] = []

    def listen(connection: Connection) -> None:
        members(connection)
        heard.extend(event for event in connection.events if isinstance(event, Occupied | Vacated))

    found = await results(taking(listen))
    assert heard == [Occupied("lobby"), Occupied("lobby"), Vacated("lobby")]
    assert {found[name].verdict.level for name in ("occupied", "occupied-again", "vacated")} == {Level.RIGHT}


async def test_a_channel_without_members_is_neither() -> None:
    assert not {"occupied", "vacated"} & (await results(taking())).keys()


async def test_a_backend_that_fails_on_a_second_occupied_is_warned() -> None:
    known = set()

    def fail(connection: Connection) -> web.Response | None:
        members(connection)
        for event in connection.events:
            if isinstance(event, Occupied) and event.channel in known:
                return web.Response(status=500, text="a row with this key exists")
            if isinstance(event, Occupied):
                known.add(event.channel)
        return None

    found = await results(taking(fail))
    assert named(found, Level.WRONG) == {}
    (name, finding), *others = named(found, Level.WARNING).items()
    assert (name, others) == ("occupied-again", [])
    assert "the gateway repeats OCCUPIED for 6 hours, then it becomes a dead letter" in finding
    assert "a second one must do no harm" in found[name].hint


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
