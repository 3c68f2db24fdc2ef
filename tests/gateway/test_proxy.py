"""Events are JSON, which can say an unpaired surrogate; a backend's request is UTF-8, which cannot."""

from __future__ import annotations

import pytest

from slip_sockets.gateway.proxy import Connect, Disconnect, Message, parse_websocket_event

from .doubles import ME, World
from .test_gateway import ACCEPT, socket_event

HANDSHAKE = socket_event(
    "CONNECT",
    headers={"X-\ud800": "a\udfffb", "X-Pair": "\U0001f600"},
    multiValueQueryStringParameters={"\udc00name": ["\ud83dvalue", "fine é"]},
)


def test_a_surrogate_of_a_handshake_becomes_a_question_mark() -> None:
    assert parse_websocket_event(HANDSHAKE) == Connect(
        ME, {"X-?": "a?b", "X-Pair": "\U0001f600"}, {"?name": ["?value", "fine é"]}, "203.0.113.7", ()
    )


@pytest.mark.parametrize(
    ("written", "told"),
    [("a\ud800", "a?"), ("\udfff\ud800", "??"), ("\U0001f600 é \0", "\U0001f600 é \0"), ("", "")],
)
def test_a_surrogate_of_a_text_or_a_reason_becomes_a_question_mark(written: str, told: str) -> None:
    assert parse_websocket_event(socket_event("MESSAGE", body=written)) == Message(ME, told)
    left = socket_event("DISCONNECT", context={"disconnectStatusCode": 1000, "disconnectReason": written})
    assert parse_websocket_event(left) == Disconnect(ME, 1000, told)


async def test_a_client_with_surrogates_is_served_to_its_end(world: World) -> None:
    world.client.will_answer(ACCEPT)
    assert (await world.gateway.on_websocket_event(HANDSHAKE))["statusCode"] == 200
    world.client.will_answer()
    for event in (
        socket_event("MESSAGE", body="\ud800"),
        socket_event("DISCONNECT", context={"disconnectReason": "\ud800"}),
    ):
        assert (await world.gateway.on_websocket_event(event))["statusCode"] == 200
    opened, text, closed = (told["events"][0] for told in world.client.told)
    assert (opened["type"], text["data"], closed["reason"]) == ("OPEN", "?", "?")
    assert [told["metadata"]["headers"]["X-?"] for told in world.client.told] == ["a?b"] * 3
