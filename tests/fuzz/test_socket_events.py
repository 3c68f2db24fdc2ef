"""The bytes of clients in a handshake, a text and a close frame reach the backend as they are, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from slip_sockets.apigateway.functions import websocket_function
from slip_sockets.client.connection import Connection, parse_request
from slip_sockets.gateway.backend import Backend
from slip_sockets.gateway.ports import SystemClock
from slip_sockets.gateway.values import HttpResponse
from slip_sockets.protocol.events import Close, Open, Text
from slip_sockets.slip.backend import SlipBackend

from ..gateway.doubles import SECRET
from .mutator import Mutator
from .play import play, run
from .small_world import SmallWorld

pytestmark = pytest.mark.fuzz

EVENTS = Path(__file__).parents[1] / "events"
CONNECT, MESSAGE, DISCONNECT = (
    json.loads((EVENTS / f"websocket_{name}.json").read_text()) for name in ("connect", "message", "disconnect")
)
CONNECTION_ID = CONNECT["requestContext"]["connectionId"]
NAMES = (
    "X-Connection-Id", "connectionId", "Authorization", "Content-Type", "Sec-WebSocket-Protocol", "X-Forwarded-For",
    "requestContext", "ip", "query", "headers", "metadata", "", "__proto__",
)  # fmt: skip
SURROGATE = re.compile("[\ud800-\udfff]")
USER = "ann \0 \U0001f600"
CODES = (None, 1000, 1001, 1005, 1006, 3000, 4999)


@dataclass
class Raw:
    """A backend that keeps the last POST, and responds with `reply`."""

    posted: tuple[dict[str, str], bytes] = ({}, b"")
    reply: bytes = b""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpResponse:
        self.posted = (dict(headers), body)
        return HttpResponse(200, body=self.reply)

    def connection(self) -> Connection:
        """Return the POST as a backend reads it."""
        return parse_request(*self.posted, secrets=[SECRET])


class SocketEvents:
    def __init__(self) -> None:
        self.world = SmallWorld()
        self.backend = Raw()
        backend = Backend("https://app.example/", SlipBackend(), self.world.secrets, self.backend, SystemClock())
        sockets = self.world.gateway.sockets
        self.sockets = msgspec.structs.replace(
            sockets, replies=msgspec.structs.replace(sockets.replies, backend=backend)
        )

    def draw(self, mutator: Mutator, faults: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """A connect, a text and a disconnect of one client. API Gateway's own fields stay as they are."""
        connect, message = dict(CONNECT), dict(MESSAGE)
        message["body"], reason = mutator.text(), mutator.text()
        for _ in range(faults):
            if mutator.chance() < 0.7:
                connect["multiValueHeaders"] = self._spoilt(mutator, connect["multiValueHeaders"])
                connect["headers"] = {name: values[-1] for name, values in connect["multiValueHeaders"].items()}
            if mutator.chance() < 0.7:
                query = self._spoilt(mutator, connect["multiValueQueryStringParameters"])
                connect["multiValueQueryStringParameters"] = query
            message["body"], reason = mutator.spoilt_text(message["body"]), mutator.spoilt_text(reason)
        if faults:
            for name in ("headers", "multiValueQueryStringParameters", "multiValueHeaders"):
                if mutator.chance() < 0.05:
                    connect[name] = None
        left = {"disconnectStatusCode": mutator.one_of(CODES), "disconnectReason": reason}
        return connect, message, DISCONNECT | {"requestContext": DISCONNECT["requestContext"] | left}

    def _spoilt(self, mutator: Mutator, values: dict[str, list[str]]) -> dict[str, list[str]]:
        """Headers or a query, with one fault. API Gateway delivers nothing but lists of texts."""
        kind = mutator.chance()
        if kind < 0.3:
            return values | {mutator.one_of(NAMES): [mutator.spoilt_text("value"), mutator.text()]}
        key = mutator.one_of(list(values) or [""])
        if kind < 0.7:
            return values | {key: [mutator.spoilt_text(value) for value in values.get(key, [""])]}
        return {mutator.spoilt_text(name) if name == key else name: each for name, each in values.items()}

    def play(self, given: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]) -> bool:
        connect, message, disconnect = given
        others = self.world.seen()
        offered = [
            name.strip()
            for header, values in (connect["multiValueHeaders"] or {}).items()
            if header.lower() == "sec-websocket-protocol"
            for value in values
            for name in value.split(",")
            if name.strip()
        ]
        chosen = next((name for name in offered if _as_utf8(name) == name), None)
        accept = {"type": "ACCEPT", "connectionId": CONNECTION_ID, "subprotocol": chosen, "user": USER}
        self.backend.reply = json.dumps({"events": [accept]}).encode()
        response = run(websocket_function(self.sockets, connect))
        assert response["statusCode"] == 200
        assert response["headers"] == ({} if chosen is None else {"Sec-WebSocket-Protocol": chosen})
        metadata = {
            "headers": _as_stored(connect["headers"] or {}),
            "ip": "192.0.2.1",
            "query": connect["multiValueQueryStringParameters"] or {},
        }
        self._was_posted(metadata, Open(CONNECTION_ID))
        self.backend.reply = b""
        assert run(websocket_function(self.sockets, message))["statusCode"] == 200
        self._was_posted(metadata, Text(CONNECTION_ID, _as_utf8(message["body"])), USER)
        assert run(websocket_function(self.sockets, disconnect))["statusCode"] == 200
        context = disconnect["requestContext"]
        reason = _as_utf8(context["disconnectReason"])
        self._was_posted(metadata, Close(CONNECTION_ID, context["disconnectStatusCode"], reason), USER)
        assert self.world.seen() == others, "another connection has changed"
        written = [metadata, message["body"], context["disconnectReason"]]
        return bool(_as_utf8(written) == written)

    def _was_posted(self, metadata: Any, event: Open | Text | Close, user: str | None = None) -> None:
        connection = self.backend.connection()
        assert connection.connection_id == CONNECTION_ID
        assert connection.metadata == _as_utf8(metadata)
        assert connection.events == (event,)
        assert connection.user == user


def _as_stored(headers: Mapping[str, str]) -> dict[str, str]:
    """Of several spellings of a name the last stays; a value is UTF-8 where its bytes are."""
    stored: dict[str, str] = {}
    for name, value in headers.items():
        stored = {other: each for other, each in stored.items() if other.lower() != name.lower()}
        try:
            stored[name] = value.encode("latin-1").decode()
        except UnicodeError:
            stored[name] = value
    return stored


def _as_utf8(value: Any) -> Any:
    """Return a value as UTF-8 can represent it."""
    if isinstance(value, dict):
        return {_as_utf8(name): _as_utf8(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_utf8(each) for each in value]
    return SURROGATE.sub("?", value) if isinstance(value, str) else value


def test_the_bytes_of_clients_reach_the_backend_and_nothing_else() -> None:
    play("socket_events", SocketEvents, accepted=(0.4, 0.9), secrets=(SECRET,))
