"""What clients write into a handshake, a text and a close frame reaches the backend as it is, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slip_sockets.connection import Connection, parse_request
from slip_sockets.events import Close, Open, Text
from slip_sockets.gateway.backend import Backend
from slip_sockets.gateway.gateway import Gateway
from slip_sockets.gateway.ports import HttpAnswer, SystemClock

from ..gateway.doubles import SECRET
from .mutator import Mutator
from .play import play, run
from .small_world import SmallWorld

pytestmark = pytest.mark.fuzz

EVENTS = Path(__file__).parents[1] / "events"
CONNECT, MESSAGE, DISCONNECT = (
    json.loads((EVENTS / f"websocket_{name}.json").read_text()) for name in ("connect", "message", "disconnect")
)
WHOSE = CONNECT["requestContext"]["connectionId"]
NAMES = (
    "X-Connection-Id", "connectionId", "Authorization", "Content-Type", "Sec-WebSocket-Protocol", "X-Forwarded-For",
    "requestContext", "ip", "query", "headers", "metadata", "", "__proto__",
)  # fmt: skip
SURROGATE = re.compile("[\ud800-\udfff]")
CODES = (None, 1000, 1001, 1005, 1006, 3000, 4999)


@dataclass
class Raw:
    """A backend that keeps what it was told, and lets everybody in."""

    told: tuple[dict[str, str], bytes] = ({}, b"")
    answer: bytes = b""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpAnswer:
        self.told = (dict(headers), body)
        return HttpAnswer(200, self.answer)

    def connection(self) -> Connection:
        """Understand it as a backend does."""
        return parse_request(*self.told, secrets=[SECRET])


class SocketEvents:
    def __init__(self) -> None:
        self.world = SmallWorld()
        self.backend = Raw()
        self.gateway = Gateway(
            backend=Backend("https://app.example/", self.world.secrets, self.backend, SystemClock()),
            store=self.world.store,
            management=self.world.management,
            queue=self.world.queue,
            clock=self.world.clock,
            secrets=self.world.secrets,
        )

    def draw(self, mutator: Mutator, faults: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """A connect, a text and a disconnect of one client. API Gateway's own part of them stays as it is."""
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
        """Headers or a query, with one fault. API Gateway sees to it that there are no others than lists of texts."""
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
        chosen = next((name for name in offered if _said(name) == name), None)
        accept = {"type": "ACCEPT", "connectionId": WHOSE, "subprotocol": chosen}
        self.backend.answer = json.dumps({"events": [accept]}).encode()
        answer = run(self.gateway.on_websocket_event(connect))
        assert answer["statusCode"] == 200
        assert answer["headers"] == ({} if chosen is None else {"Sec-WebSocket-Protocol": chosen})
        metadata = {
            "headers": connect["headers"] or {},
            "ip": "192.0.2.1",
            "query": connect["multiValueQueryStringParameters"] or {},
        }
        self._was_told(metadata, Open(WHOSE))
        self.backend.answer = b""
        assert run(self.gateway.on_websocket_event(message))["statusCode"] == 200
        self._was_told(metadata, Text(WHOSE, _said(message["body"])))
        assert run(self.gateway.on_websocket_event(disconnect))["statusCode"] == 200
        context = disconnect["requestContext"]
        reason = _said(context["disconnectReason"])
        self._was_told(metadata, Close(WHOSE, context["disconnectStatusCode"], reason))
        assert self.world.seen() == others, "somebody else is concerned"
        written = [metadata, message["body"], context["disconnectReason"]]
        return bool(_said(written) == written)

    def _was_told(self, metadata: Any, event: Open | Text | Close) -> None:
        connection = self.backend.connection()
        assert connection.connection_id == WHOSE
        assert connection.metadata == _said(metadata)
        assert connection.events == (event,)


def _said(value: Any) -> Any:
    """Return a value as UTF-8 can say it."""
    if isinstance(value, dict):
        return {_said(name): _said(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_said(each) for each in value]
    return SURROGATE.sub("?", value) if isinstance(value, str) else value


def test_what_clients_write_reaches_the_backend_and_nothing_else() -> None:
    play("socket_events", SocketEvents, accepted=(0.4, 0.9), secrets=(SECRET,))
