"""The control API: a batch is performed as a whole, or refused as a whole with a 4xx and the reason."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from slip_sockets.protocol.events import decode_control, encode_events
from slip_sockets.protocol.tokens import mint

from ..gateway.doubles import SECRET
from .bodies import a_body, an_event
from .mutator import Mutator
from .oracle import CONTROL, Unsure, events_of, fit_frames
from .play import play, run_in_loop
from .small_world import SmallWorld

pytestmark = pytest.mark.fuzz

KINDS = (*CONTROL, "TEXT", "PUBLISH_TEXT", "SUBSCRIBE", "SET_METADATA")
TOKEN = mint("ControlEvent", SECRET, lifetime_s=86_400)
FORGED = mint("ControlEvent", "another secret of at least thirty-two bytes", lifetime_s=86_400)
NAMES = ("authorization", "Authorization", "AUTHORIZATION")
NO_PERMIT = (None, "", TOKEN, f"Basic {TOKEN}", "Bearer ", f"Bearer {FORGED}", f"Bearer {TOKEN}x", "Bearer \ud800")


class Control:
    def __init__(self) -> None:
        self.world = SmallWorld()
        self.model = self.world.model()

    def draw(self, mutator: Mutator, faults: int) -> dict[str, Any]:
        """An HTTP API's event."""
        events = [an_event(mutator, KINDS) for _ in range(1 + int(mutator.chance() * 3))]
        body = a_body(mutator, events, faults)
        headers: dict[str, Any] = {mutator.one_of(NAMES): f"{mutator.one_of(('Bearer', 'bearer'))} {TOKEN}"}
        if mutator.chance() < 0.3:
            headers[mutator.spoilt_text("x-header")] = mutator.spoilt_text("value")
        event: dict[str, Any] = {"version": "2.0", "headers": headers}
        if faults and mutator.chance() < 0.03:
            event["headers"] = mutator.one_of(({"authorization": mutator.one_of(NO_PERMIT)}, {}, None))
        if mutator.chance() < 0.25:
            event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
            if faults and mutator.chance() < 0.1:
                event["body"] = mutator.spoilt_text(event["body"])
        else:
            event |= {"body": body.decode(errors="surrogateescape"), "isBase64Encoded": False}
        return event

    def play(self, given: dict[str, Any]) -> bool:
        before = self.world.seen()
        response = run_in_loop(self.world.control(given))
        status, body = response["statusCode"], response["body"]
        assert status in (200, 400, 403)
        if status == 403:
            assert body == "Invalid token"
            assert not self._is_permitted(given)
        elif status == 400:
            self._holds_refusal(json.loads(body))
        if status != 200:
            assert self.world.seen() == before, "a refused batch had an effect"
            self._must_be(given, accepted=False)
            return False
        assert self._is_permitted(given)
        self._holds_acceptance(given, json.loads(body))
        return True

    def _is_permitted(self, given: dict[str, Any]) -> bool:
        values = [value for name, value in (given["headers"] or {}).items() if name.lower() == "authorization"]
        return values in ([f"Bearer {TOKEN}"], [f"bearer {TOKEN}"])

    def _holds_refusal(self, body: dict[str, Any]) -> None:
        assert body["message"] == "invalid commands"
        assert body["error"].isprintable()
        assert 0 < len(body["error"]) < 500
        assert body.keys() <= {"message", "error", "index", "field"}
        if "index" in body:
            assert body["error"].startswith(f"events[{body['index']}]")

    def _holds_acceptance(self, given: dict[str, Any], report: dict[str, Any]) -> None:
        body = _body(given)
        assert body is not None
        decoded = decode_control(body)
        assert decode_control(encode_events(decoded)) == decoded
        assert report["message"] == "processed successfully"
        assert len(report["events"]) == len(decoded)
        events = self._must_be(given, accepted=True)
        if events is None:  # the oracle does not know: take the gateway's reading
            events = json.loads(encode_events(decoded))["events"]
        for event, reported in zip(events, report["events"], strict=True):
            self.model.take(event)
            if event["type"] == "HISTORY":
                self._holds_history(event, reported)
        self.world.matches(self.model)

    def _holds_history(self, event: dict[str, Any], reported: dict[str, Any]) -> None:
        newest, kept, recovered = self.model.history(event)
        epoch, _, offset = reported["position"].partition(":")
        assert int(offset) == newest
        messages = [(message["position"], message["data"]) for message in reported["messages"]]
        limit = event.get("limit", 100)
        assert messages == [(f"{epoch}:{offset}", data) for offset, data in kept[-limit:]]
        assert reported["more"] == (len(kept) > limit)
        assert reported.get("recovered") == recovered

    def _must_be(self, given: dict[str, Any], *, accepted: bool) -> list[dict[str, Any]] | None:
        if not self._is_permitted(given):
            return None
        body = _body(given)
        try:
            events = events_of(body, CONTROL) if body is not None else None
        except Unsure:
            return None
        if events is not None and not fit_frames(events, self.model.framed):
            events = None
        assert (events is not None) == accepted, "the oracle sees it differently"
        return events


def _body(given: dict[str, Any]) -> bytes | None:
    try:
        if given["isBase64Encoded"]:
            return base64.b64decode(given["body"], validate=True)
        body: str = given["body"]
        return body.encode()
    except ValueError:
        return None


def test_control_batches_are_performed_or_refused_as_a_whole() -> None:
    play("control", Control, accepted=(0.25, 0.75), secrets=(TOKEN, SECRET))
