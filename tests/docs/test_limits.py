"""Each number in the tables of docs/limits.md is that of the constant in the code, or AWS's where the code has none."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from websockets.http11 import MAX_LINE_LENGTH

from local_aws.quotas import SECRETS_MANAGER_READS
from slip_sockets.apigateway.limits import BACKEND_TIMEOUT_S
from slip_sockets.aws.connections import PAGE_SIZE
from slip_sockets.aws.queue import MAX_BATCH_BYTES, SHARDS
from slip_sockets.client.control_client import RESPONSE_TIMEOUT_S
from slip_sockets.cost.model import CALLS_PER_S, CONNECTS_PER_S
from slip_sockets.dev import edge, front_door, http_server, server, websocket
from slip_sockets.dev.inspector import recorder, records
from slip_sockets.gateway import backend, delivery_rate, fan_out, members, plan_presence, plan_publish
from slip_sockets.gateway.deferred import MAX_TEXTS, MAX_TEXTS_BYTES
from slip_sockets.gateway.deferred_base import RETRY_FOR_S
from slip_sockets.gateway.ports import CLAIM_LIFETIME_S, MAX_PAST_BYTES
from slip_sockets.gateway.worker import (
    DEFAULT_INBOUND_RETRY_S,
    MAX_INBOUND_PAUSE_S,
    MAX_INBOUND_RETRY_S,
    MAX_RETRY_PAUSE_S,
    MIN_INBOUND_RETRY_S,
    retry_pause_s,
)
from slip_sockets.grip import backend as grip_backend
from slip_sockets.grip import controls
from slip_sockets.grip import publish as grip_publish
from slip_sockets.grip import tokens as grip_tokens
from slip_sockets.http import reader
from slip_sockets.protocol import tokens
from slip_sockets.protocol.events import (
    MAX_EVENTS,
    MAX_INFO_BYTES,
    MAX_KEPT,
    MAX_KEPT_S,
    MAX_MESSAGE_ID_BYTES,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_POLL_TIMEOUT_MS,
    MAX_TEXT_BYTES,
    MAX_USER_BYTES,
)
from slip_sockets.protocol.patterns import MAX_CHANNEL_BYTES, MAX_PATTERN_SEGMENTS
from stacks import control_api, deferred_queue, settings, slip_sockets_stack, websocket_api

from .markdown import Page

PAGE = Page("docs/limits.md")

UNITS = {"KB": 1024, "MB": 1024 * 1024, "minute": 60, "hour": 60 * 60, "day": 24 * 60 * 60, "ms": 1 / 1000}
"""The value of a unit in bytes or seconds. A number without one of these counts by itself."""

EDGE = edge.Limits()
STAGING, PRODUCTION = settings.read_settings({"TARGET_URL": "https://app.example/", "JWT_SECRET": "x" * 32})[0]
STAGES = [each for one in (PRODUCTION, STAGING) for each in (one.throttling_rate_limit, one.throttling_burst_limit)]

KB, MB = UNITS["KB"], UNITS["MB"]

ROWS: dict[str, dict[str, Sequence[float]]] = {
    "Clients": {
        "kinds of messages": [1003],
        "a frame from a client": [EDGE.max_frame_bytes, 1009],
        "a message from a client": [EDGE.max_message_bytes, 1009],
        "a socket without a text": [EDGE.idle_timeout_s, 1001],
        "any socket": [EDGE.max_duration_s, 1001],
        "new connections": [CONNECTS_PER_S],
        "open connections": [CONNECTS_PER_S, EDGE.max_duration_s, CONNECTS_PER_S * EDGE.max_duration_s],
        "connects and texts of a stage": [*STAGES, 429],
        "a handshake's URL": [4096],
        "a handshake's headers": [],
        "one event": [EDGE.integration_timeout_s, 504],
        "close codes": [1000],
    },
    "The protocol": {
        "a channel's name": [1, MAX_CHANNEL_BYTES],
        "segments of a pattern": [MAX_PATTERN_SEGMENTS],
        "a user": [1, MAX_USER_BYTES],
        "a text": [MAX_TEXT_BYTES],
        "a connection's metadata": [MAX_METADATA_BYTES, 400 * KB],
        "nesting of arrays and objects in it": [MAX_METADATA_DEPTH],
        "the id of a message": [1, MAX_MESSAGE_ID_BYTES],
        "how long an id is remembered": [CLAIM_LIFETIME_S],
        "count of a message that is kept": [1, MAX_KEPT],
        "seconds of it": [1, MAX_KEPT_S, MAX_KEPT_S],
        "its frame": [MAX_TEXT_BYTES],
        "messages of a HISTORY": [MAX_KEPT, MAX_PAST_BYTES],
        "the info of a member": [MAX_INFO_BYTES],
        "members in a report": [members.MAX_MEMBERS],
        "members that are sent": [plan_presence.MAX_LISTED],
        "events in a batch": [MAX_EVENTS],
        "the timeout of POLL_FOR_CONNECTION": [MAX_POLL_TIMEOUT_MS / 1000, server.CONTROL_TIMEOUT_S],
        "channels of a connection": [],
    },
    "Your backend": {
        "its time to respond": [BACKEND_TIMEOUT_S, 504, EDGE.integration_timeout_s],
        "its response": [backend.MAX_RESPONSE_BYTES, 400],
        "its response's head": [reader.MAX_LINE_BYTES, reader.MAX_HEAD_BYTES],
        "texts in one POST": [slip_sockets_stack.INBOUND_BATCH, MAX_TEXTS],
        "their size together": [MAX_TEXTS_BYTES],
        "how long they are repeated": [DEFAULT_INBOUND_RETRY_S, MIN_INBOUND_RETRY_S, MAX_INBOUND_RETRY_S],
        "pauses between these": [retry_pause_s(1, MAX_INBOUND_PAUSE_S), MAX_INBOUND_PAUSE_S],
        "how long CLOSE": [RETRY_FOR_S],
        "pauses between repetitions": [retry_pause_s(1), MAX_RETRY_PAUSE_S],
    },
    "The control API": {
        "a call": [server.MAX_CONTROL_EVENT_BYTES],
        "a call, for API Gateway": [server.MAX_CONTROL_BYTES, 413],
        "the request line": [10_240],
        "the time to respond": [server.CONTROL_TIMEOUT_S, 503],
        "calls of a stage": [*STAGES, 429],
    },
    "Tokens and secrets": {
        "how long our tokens": [tokens.LIFETIME_S, 403],
        "clocks": [tokens.LEEWAY_S, 403],
        "JWT_SECRET": [tokens.RECOMMENDED_SECRET_BYTES],
        "JWT_SECRET and JWT_PREVIOUS_SECRETS": [settings.MAX_SECRETS_BYTES],
        "functions that start": [SECRETS_MANAGER_READS.rate],
    },
    "GRIP": {
        "a backend's response": [grip_backend.MAX_RESPONSE_BYTES, 502],
        "the body of a publish": [grip_publish.MAX_BODY_BYTES, 400],
        "a control message": [controls.MAX_CONTROL_BYTES],
        "channels of a connection": [controls.MAX_CHANNELS],
        "how long a Grip-Sig": [grip_tokens.SIG_LIFETIME_S],
    },
    "Fan-out": {
        "calls to all APIs": [CALLS_PER_S, 5000, 2500, 1250, 429],
        "Lambda functions": [1000],
        "subscribes and unsubscribes": [1000],
        "subscribers of a publish": [fan_out.INLINE_LIMIT, 0, settings.MAX_INLINE_LIMIT],
        "the time for that": [fan_out.INLINE_FOR_S],
        "the time for counting": [fan_out.COUNT_FOR_S],
        "subscribers of a page": [PAGE_SIZE, SHARDS],
        "functions that work": [
            settings.DELIVER_CONCURRENCY,
            settings.MIN_DELIVER_CONCURRENCY,
            settings.MAX_DELIVER_CONCURRENCY,
        ],
        "calls a second for publishes": [
            delivery_rate.DEFAULT_FAN_OUT_RATE,
            delivery_rate.MIN_FAN_OUT_RATE,
            delivery_rate.MAX_FAN_OUT_RATE,
        ],
        "connections of a chunk": [plan_publish.MAX_SLOW],
        "a queue message": [MAX_BATCH_BYTES, MB],
        "how long a message": [RETRY_FOR_S],
        "how long a dead letter": [deferred_queue.DEAD_LETTER_RETENTION_S],
    },
    "Settings of a deployment": {
        "STACK_NAME": [settings.MAX_STACK_NAME_LENGTH],
        "DOMAIN_NAME": [settings.MAX_DOMAIN_LENGTH],
        "PROVISIONED_CONCURRENCY": [0, settings.MAX_PROVISIONED_CONCURRENCY],
        "INBOUND_RETRY_S": [MIN_INBOUND_RETRY_S, MAX_INBOUND_RETRY_S],
    },
    "The development server": {
        "a request's head": [MAX_LINE_LENGTH, front_door.MAX_HEAD_BYTES, 431, 414],
        "the time for it, and for a body": [front_door.HEAD_TIMEOUT_S, http_server.BODY_TIMEOUT_S, 408],
        "connections without a whole head": [front_door.MAX_WAITING],
        "texts of one client": [edge.MAX_CONCURRENT_TEXTS],
        "requests to the backend": [server.MAX_BACKEND_CALLS],
        "unread data of a client": [websocket.WRITE_BUFFER_BYTES, websocket.STALLED_AFTER_S],
        "the inspector's memory": [recorder.MAX_RECORDS, records.MAX_KEPT_BYTES],
    },
}
"""The numbers of each row after its first cell, in bytes and seconds, by heading and by how the row begins."""


def numbers(text: str) -> list[float]:
    found = re.findall(rf"(\d[\d,]*(?:\.\d+)?)(?: ({'|'.join(UNITS)})s?\b)?", text)
    return [float(number.replace(",", "")) * UNITS.get(unit, 1) for number, unit in found]


@pytest.mark.parametrize("heading", ROWS)
def test_each_row_has_the_numbers_of_the_code(heading: str) -> None:
    rows = PAGE.rows(heading)
    assert len(rows) == len(ROWS[heading])
    shown = {
        begins: numbers(" ".join(cell.text for cell in row[1:]))
        for (begins, _), row in zip(ROWS[heading].items(), rows, strict=True)
        if row[0].text.startswith(begins)
    }
    assert shown == {begins: list(expected) for begins, expected in ROWS[heading].items()}


def test_every_table_is_held() -> None:
    assert [heading for heading in PAGE.headings if PAGE.rows(heading)] == list(ROWS)


def test_a_body_in_base64_is_a_quarter_smaller() -> None:
    (text,) = [token.content for token in PAGE.tokens if "base64" in token.content]
    assert numbers(text.partition("base64")[2]) == [server.MAX_CONTROL_EVENT_BYTES * 3 / 4]


def test_a_limit_of_both_sides_is_the_same_on_both() -> None:
    assert EDGE.max_message_bytes == MAX_TEXT_BYTES
    assert EDGE.integration_timeout_s == slip_sockets_stack.INTEGRATION_TIMEOUT_S
    assert EDGE.integration_timeout_s == websocket_api.INTEGRATION_TIMEOUT_MS / 1000
    assert server.CONTROL_TIMEOUT_S == control_api.INTEGRATION_TIMEOUT_MS / 1000 == RESPONSE_TIMEOUT_S
