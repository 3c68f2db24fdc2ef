"""Which texts select the route `ping`."""

from __future__ import annotations

import pytest

from slip_sockets.apigateway.routes import PING, ROUTE_SELECTION, selected_route

KEYS = {"$connect", "$disconnect", "$default", PING}


@pytest.mark.parametrize(
    "text",
    [
        '{"slip":"ping"}',
        ' {"slip" : "ping"}\n',
        '{"slip":"p\\u0069ng","more":[1]}',
        '{"a":{"slip":"pong"},"slip":"ping"}',
    ],
)
def test_an_object_whose_slip_is_ping_is_a_ping(text: str) -> None:
    assert selected_route(ROUTE_SELECTION, text, KEYS) == PING


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ping",
        '"ping"',
        '["slip"]',
        "null",
        '{"slip":"pong"}',
        '{"slip":"Ping"}',
        '{"slip":["ping"]}',
        '{"slip":{"ping":1}}',
        '{"slip":null}',
        '{"a":{"slip":"ping"}}',
        '{"slip":"ping"',
        '{"slip":"ping"} {}',
        '{"slip":"$connect"}',
        '{"slip":"$disconnect"}',
        '{"slip":"$default"}',
        "[" * 100_000,
    ],
)
def test_any_other_text_goes_to_the_default_route(text: str) -> None:
    assert selected_route(ROUTE_SELECTION, text, KEYS) == "$default"


def test_a_key_without_a_route_goes_to_the_default_route() -> None:
    assert selected_route(ROUTE_SELECTION, '{"slip":"ping"}', KEYS - {PING}) == "$default"


def test_an_expression_names_a_member_at_any_depth() -> None:
    assert selected_route("$request.body.a.b", '{"a":{"b":"ping"}}', KEYS) == PING
    assert selected_route("$request.body.a.b", '{"a":"ping"}', KEYS) == "$default"
    assert selected_route("$request.header.a", '{"a":"ping"}', KEYS) == "$default"
