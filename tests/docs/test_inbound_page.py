"""The page about texts in order: its program, its example and its numbers are right."""

from __future__ import annotations

import re
from typing import Any

from slip_sockets import PublishText, Text
from slip_sockets.cost import events
from slip_sockets.cost.workload import Workload
from slip_sockets.gateway.worker import (
    DEFAULT_INBOUND_RETRY_S,
    MAX_INBOUND_PAUSE_S,
    Inbound,
    attempts_within,
    retry_pause_s,
)
from slip_sockets.protocol.events import decode_request, encode_metadata, encode_request
from slip_sockets.testing import flask_client, read_reply, signed_request

from .markdown import Page
from .test_cost_page import usd

PAGE = Page("docs/inbound.md")
(PROGRAM,) = (block.text for block in PAGE.blocks if block.language == "python")
(EXAMPLE,) = (block.text.strip() for block in PAGE.blocks if block.language == "json")
NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def test_the_example_is_what_the_gateway_sends() -> None:
    request = decode_request(EXAMPLE.encode())
    assert [type(event) for event in request.events] == [Text, Text]
    sent = encode_request(request.connection_id, encode_metadata(request.metadata), request.events)
    assert sent.decode() == EXAMPLE


def test_a_text_that_comes_again_is_stored_once() -> None:
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(PROGRAM, PAGE.name, "exec"), namespace)
    post = flask_client(namespace["app"].test_client(), "/slip")
    received = decode_request(EXAMPLE.encode()).events
    request = signed_request(*received, jwt_secret="change-me")
    replies = [read_reply(*post(request.headers, request.body)) for _ in range(2)]
    expected = [PublishText("orders", event.data, event.id) for event in received if isinstance(event, Text)]
    assert replies == [expected, expected]
    assert list(namespace["orders"].values()) == [event.data for event in expected]


def test_pauses_and_attempts_are_as_the_page_says() -> None:
    text = " ".join(PAGE.path.read_text().split())
    pauses = [f"{retry_pause_s(attempt, MAX_INBOUND_PAUSE_S):g}" for attempt in range(1, 6)]
    assert f"pauses of {', '.join(pauses[:4])} and then {pauses[4]} seconds" in text
    attempts = NUMBERS[attempts_within(DEFAULT_INBOUND_RETRY_S, MAX_INBOUND_PAUSE_S)]
    assert f"with {DEFAULT_INBOUND_RETRY_S}, the default, there are {attempts} attempts" in text


def test_a_million_texts_cost_what_the_page_on_cost_says() -> None:
    (row,) = (row for row in PAGE.rows("Which") if row[0].text == "cost of a million texts")
    found = [re.findall(r"[\d.]+ USD", cell.text) for cell in row[1:]]
    ways = (Workload(), Workload(inbound=Inbound.ORDERED))
    assert found == [[f"{usd(events.text(workload)):.2f} USD"] for workload in ways]
