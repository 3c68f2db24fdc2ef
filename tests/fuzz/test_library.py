"""The client library: the gateway takes what it lets through; what it reads, it understands or refuses."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from slip_sockets.client.connection import Connection, error_response, parse_request
from slip_sockets.client.control_client import control_call
from slip_sockets.client.responses import ControlResponse, Target
from slip_sockets.protocol.errors import ControlApiError, InvalidEvents
from slip_sockets.protocol.events import (
    MAX_KEPT,
    Action,
    AnyReport,
    BackendRequest,
    CloseChannel,
    CloseConnection,
    ControlEvent,
    History,
    Keep,
    Members,
    Open,
    Presence,
    PublishText,
    SendText,
    SetMetadata,
    Subscribe,
    Text,
    Unsubscribe,
    decode_control,
    decode_reply,
    encode_request,
)
from slip_sockets.protocol.tokens import mint

from ..gateway.doubles import ME, SECRET, YOU
from .bodies import CHANNELS, IDS, POSITIONS
from .mutator import NUMBERS, Mutator
from .play import play

pytestmark = pytest.mark.fuzz

TOKEN = {"Authorization": f"Bearer {mint('WebSocketEvent', SECRET, lifetime_s=86_400)}"}
KEPT = {"position": "k3J9:1", "data": "hi", "publishedAt": 1_796_000_000_123}
REPORTS = {
    "message": "processed successfully",
    "events": [
        {"matched": 2, "sent": 1, "gone": 1, "queued": 0, "position": "k3J9:1"},
        {"position": "k3J9:1", "messages": [KEPT], "more": False, "recovered": True},
    ],
}


class Point(NamedTuple):
    x: int


STRANGE: tuple[Any, ...] = (
    b"bytes", {1: 2}, {None: 1}, {1, 2}, (1, 2), object(), 1j, Point, Point(1), math.nan, math.inf, {"a": math.nan},
    2**70, range(3), "\ud800", {"\ud800": 1}, ["\udfff"], Open(ME), iter([]), Exception("x"), NotImplemented,
)  # fmt: skip
"""Values of Python that JSON does not have, or writes otherwise."""


@dataclass(frozen=True)
class Written:
    """Events as an application makes them."""

    events: tuple[ControlEvent, ...]


@dataclass(frozen=True)
class Received:
    """A POST of the gateway, or an answer of the control API."""

    is_post: bool
    status: int
    body: bytes


class Library:
    def draw(self, mutator: Mutator, faults: int) -> Written | Received:
        kind = mutator.chance()
        if kind < 0.6:
            return Written(tuple(self._event(mutator, faults) for _ in range(1 + int(mutator.chance() * 3))))
        if kind < 0.8:
            metadata = json.dumps(mutator.json(), allow_nan=False).encode()
            event = Open(ME) if mutator.chance() < 0.5 else Text(ME, mutator.text())
            body = json.loads(encode_request(ME, metadata, [event], mutator.one_of((None, "ann"))))
        else:
            body = REPORTS
        for _ in range(faults):
            body = mutator.spoilt(body)
        written = mutator.json_bytes(body)
        if faults > 1 and mutator.chance() < 0.5:
            written = mutator.spoilt_bytes(written)
        return Received(kind < 0.8, mutator.one_of((200, 200, 200, 400, 403, 429, 500, 503)), written)

    def _event(self, mutator: Mutator, faults: int) -> ControlEvent:
        text: Any = mutator.text()
        channel: Any = mutator.one_of(CHANNELS)
        metadata: Any = mutator.json()
        connection_id = mutator.one_of(IDS)
        since: Any = mutator.one_of(POSITIONS)
        count: Any = mutator.one_of((1, 100, MAX_KEPT))
        keep: Any = mutator.one_of((None, Keep(count, 1), Keep(1, count)))
        recover: Any = mutator.chance() < 0.5
        presence: Any = mutator.one_of((Presence(), Presence(metadata)))
        for _ in range(faults):
            kind = mutator.chance()
            if kind < 0.2:
                text = mutator.spoilt_text(str(text))
            elif kind < 0.4:
                channel = mutator.spoilt_text(str(channel))
            elif kind < 0.6:
                metadata = mutator.one_of((mutator.spoilt(mutator.json()), mutator.deep(), mutator.one_of(STRANGE)))
            elif kind < 0.7:
                text = mutator.one_of(STRANGE)
            elif kind < 0.8:
                channel = mutator.one_of(STRANGE)
            elif kind < 0.85:
                since = mutator.one_of((mutator.spoilt_text(str(since)), mutator.one_of(STRANGE)))
            elif kind < 0.95:
                count = mutator.one_of((*STRANGE, *NUMBERS, True, MAX_KEPT + 1))
                keep = mutator.one_of((count, Keep(count, 1), Keep(1, count), {"count": 1, "seconds": 1}))
            else:
                recover = mutator.one_of((*STRANGE, 0, 1, None))
                presence = mutator.one_of(({"info": 1}, Presence("x" * 1_023)))
        events: tuple[ControlEvent, ...] = (
            SendText(connection_id, text),
            PublishText(channel, text),
            PublishText(channel, text, mutator.one_of((None, "1", channel)), keep),
            Subscribe(connection_id, channel),
            Subscribe(connection_id, channel, recover, since),
            Subscribe(connection_id, channel, presence=presence),
            History(channel, since, count),
            Members(channel),
            Unsubscribe(YOU, channel),
            SetMetadata(ME, metadata),
            CloseChannel(channel, mutator.one_of((None, connection_id, text))),
            CloseConnection(connection_id),
        )
        return mutator.one_of(events)

    def play(self, given: Written | Received) -> bool:
        if isinstance(given, Written):
            return self._plays_written(given)
        return self._plays_post(given) if given.is_post else self._plays_answer(given)

    def _plays_written(self, given: Written) -> bool:
        """The publisher and the connection object agree with each other, and with the gateway."""
        try:
            body = control_call(given.events).body
        except InvalidEvents as error:
            self._holds_refusal(given, error)
            return False
        for event, understood in zip(given.events, decode_control(body), strict=True):
            assert type(event) is type(understood)
            _is_same(event, understood)
        answer = _recorded(given.events)
        assert decode_reply(answer)
        return True

    def _holds_refusal(self, given: Written, error: InvalidEvents) -> None:
        assert error.index is not None
        assert error_response(error).status == 400
        event = given.events[error.index]
        if not isinstance(event, History | Members):  # a backend's reply has none
            with pytest.raises(InvalidEvents):
                _recorded([event])

    def _plays_post(self, given: Received) -> bool:
        try:
            connection = parse_request(TOKEN, given.body, secrets=[SECRET])
        except InvalidEvents as error:
            body, status, _ = error_response(error)
            self._holds_error_response(status, body.decode())
            return False
        assert isinstance(connection.connection_id, str)
        assert isinstance(connection.user, str | None)
        assert all(isinstance(text, str) for text in connection.texts)
        connection.accept()
        assert decode_reply(connection.response().body)
        return True

    def _holds_error_response(self, status: int, body: str) -> None:
        assert status == 400
        assert body.removesuffix("\n").isprintable()

    def _plays_answer(self, given: Received) -> bool:
        call = control_call([PublishText("hall", "x"), History("hall")])
        response = ControlResponse(given.status, given.body)
        reports, error = _reports(response, call.count)
        if error is not None:
            assert error.status == given.status
            assert str(error).isprintable()
            return False
        assert given.status == 200
        assert len(reports) == 2
        return True


def _reports(response: ControlResponse, count: int) -> tuple[list[AnyReport | None], ControlApiError | None]:
    try:
        return response.reports(Target("https://control.example/", "a.token", None), count), None
    except ControlApiError as error:
        return [], error


def _recorded(events: Any) -> bytes:
    """Return what the connection object makes of events. Raises InvalidEvents."""
    connection = Connection(BackendRequest(ME, None, [Open(ME)]))
    connection.accept()
    for event in events:
        match event:
            case SendText():
                connection.send_text(event.data, connection_id=event.connection_id)
            case PublishText():
                connection.publish_text(event.channel, event.data, message_id=event.message_id, keep=event.keep)
            case Subscribe():
                connection.subscribe(
                    event.channel,
                    recover=event.recover,
                    since=event.since,
                    presence=event.presence or False,
                    connection_id=event.connection_id,
                )
            case Unsubscribe():
                connection.unsubscribe(event.channel, connection_id=event.connection_id)
            case SetMetadata():
                connection.set_metadata(event.metadata)
            case CloseChannel():
                connection.close_channel(event.channel, except_connection_id=event.except_connection_id)
            case CloseConnection():
                connection.close()
    return connection.response().body


def _is_same(event: Action, understood: Action) -> None:
    match event, understood:
        case SetMetadata(metadata=metadata), SetMetadata(metadata=arrived):
            try:
                plain = json.loads(json.dumps(metadata, allow_nan=False))
            except (TypeError, ValueError, RecursionError):  # msgspec can say more of Python than json
                return
            if "Point" not in repr(metadata) and not isinstance(metadata, dict):
                assert arrived == plain
        case PublishText(message_id=None), PublishText():
            assert (event.channel, event.data, event.keep) == (understood.channel, understood.data, understood.keep)
        case _:
            assert event == understood


def test_the_library_and_the_gateway_agree() -> None:
    play("library", Library, accepted=(0.3, 0.8), secrets=(SECRET,))
