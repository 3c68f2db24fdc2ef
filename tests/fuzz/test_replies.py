"""Backends' replies to OPEN, TEXT and CLOSE: a valid one is performed, any other has no effect."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from slip_sockets.aws.queue import MAX_BATCH_BYTES, decode, encode
from slip_sockets.gateway.deferred import LateLook
from slip_sockets.gateway.values import HttpResponse

from ..gateway.doubles import ME, SECRET, socket_event
from .bodies import THEY, USERS, a_body, an_event
from .mutator import Mutator
from .oracle import REPLY, Event, Unsure, events_of, fit_frames
from .play import play, run, run_in_loop
from .small_world import OPEN, SmallWorld

pytestmark = pytest.mark.fuzz

NEW = "NNNNNNNNNNNNNNN="
KINDS = tuple(kind for kind in REPLY if kind != "ACCEPT")
STATUSES = (200, 200, 200, 201, 204, 299, 100, 300, 302, 307, 400, 403, 404, 429, 500, 503, 599)
OFFERED = ("v2.chat", "v1.chat", "slip.v1")
WHAT_SQS_TAKES = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""


@dataclass(frozen=True)
class Posted:
    """An event of a client, and the backend's response to it."""

    kind: str
    connection_id: str
    status: int
    body: bytes


class Replies:
    def draw(self, mutator: Mutator, faults: int) -> Posted:
        kind = mutator.one_of(("CONNECT", "CONNECT", "MESSAGE", "DISCONNECT"))
        connection_id = NEW if kind == "CONNECT" else ME
        events = [an_event(mutator, KINDS) for _ in range(int(mutator.chance() * 4))]
        if kind == "CONNECT":
            for event in events:
                if "connectionId" in event and mutator.chance() < 0.6:
                    event["connectionId"] = NEW
            at = 0 if mutator.chance() < 0.8 else int(mutator.chance() * (len(events) + 1))
            accept: Event = {"type": "ACCEPT", "connectionId": NEW}
            if mutator.chance() < 0.3:
                accept["subprotocol"] = mutator.one_of(OFFERED)
            if mutator.chance() < 0.3:
                accept["user"] = mutator.one_of((None, *USERS, *([NEW] if faults else [])))
            events.insert(at, accept)
        status = mutator.one_of(STATUSES) if faults and mutator.chance() < 0.1 else 200
        body = a_body(mutator, events, faults)
        if kind != "CONNECT" and mutator.chance() < 0.02:
            body = mutator.one_of((b"", b" \n"))
        return Posted(kind, connection_id, status, body)

    def play(self, given: Posted) -> bool:
        world = SmallWorld()
        world.client.response = HttpResponse(given.status, body=given.body)
        if given.kind == "DISCONNECT":  # whatever the response is, its rows are gone
            run(world.store.remove(ME))
        before = world.seen()
        headers = {"Sec-WebSocket-Protocol": [", ".join(OFFERED)]}
        event = socket_event(
            given.kind, context={"connectionId": given.connection_id}, body="hi", multiValueHeaders=headers
        )
        status = run_in_loop(world.websocket(event))["statusCode"]
        assert world.client.requests[-1].get("user") == ("ann" if given.kind == "MESSAGE" else None)
        if not 200 <= given.status < 300:
            is_sent_later = given.kind == "DISCONNECT" and (given.status == 429 or given.status >= 500)
            assert status == (200 if is_sent_later else 500)
            assert world.seen()[:-1] == before[:-1]
            assert len(world.queue.messages) == is_sent_later
            return False
        assert status in (200, 400)
        if status == 400:
            assert world.seen() == before, "a refused reply had an effect"
        try:
            events = [] if not given.body.strip() else events_of(given.body, REPLY)
        except Unsure:
            return bool(status == 200)
        if events is not None and given.kind == "CONNECT" and not _lets_in(events):
            events = None
        if events is not None and not fit_frames(events, _framed(events, given)):
            events = None
        assert (status == 200) == (events is not None), "the oracle sees it differently"
        if events is not None:
            self._holds_effect(world, given, events)
        return events is not None

    def _holds_effect(self, world: SmallWorld, given: Posted, events: list[Event]) -> None:
        model = world.model()
        if given.kind == "CONNECT":
            model.metadata[NEW] = {"headers": {}, "ip": "203.0.113.7", "query": {}}
            user = next(event.get("user") for event in events if event["type"] == "ACCEPT")
            model.channels[NEW] = set() if user is None else {f"$user:{user}"}
            assert world.store.user_of(NEW) == user
            assert sum(not isinstance(message, LateLook) for message in world.queue.messages) <= 1
            assert NEW not in dict(world.sender.sent), "something was sent to a socket that is not open"
            if NEW in _framed(events, given):
                model.framed.add(NEW)
            for message in list(world.queue.messages):
                body = encode(message)
                assert len(body) <= MAX_BATCH_BYTES
                assert WHAT_SQS_TAKES.fullmatch(body)
                assert decode(body) == message
                if not isinstance(message, LateLook):  # its time has not come
                    run_in_loop(world.defer(decode(body)))
            events = _as_opened(events)
        elif given.kind == "DISCONNECT":
            del model.metadata[ME], model.channels[ME]
        for event in events:
            model.take(event)
        if given.kind == "CONNECT":
            # A connection that the reply subscribes in vain is sent its own publishes all the same: that costs a call.
            in_vain = {event["connectionId"] for event in events if event["type"] == "SUBSCRIBE"} - {NEW, *OPEN}
            world.leave_out(in_vain, model)
        world.matches(model)


def _framed(events: list[Event], given: Posted) -> set[str]:
    """Return the connections of slip.v1. That of a new one is the first ACCEPT's."""
    accepts = [event for event in events if event["type"] == "ACCEPT"] if given.kind == "CONNECT" else []
    return {THEY, NEW} if accepts and accepts[0].get("subprotocol") == "slip.v1" else {THEY}


def _as_opened(events: list[Event]) -> list[Event]:
    """Return the events of a reply to OPEN in the order of their effects.

    Of the client's SUBSCRIBEs that come before all else, the last one for each channel counts. What they send comes
    behind all that only writes, and before all else.
    """
    writes, recovers = [], dict[str, Event]()
    at = 0
    for event in events:
        is_own = event.get("connectionId") == NEW
        if event["type"] in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if is_own and (event.get("recover") or event.get("since") is not None):
                recovers[event["channel"]] = event
            elif is_own and event["type"] == "UNSUBSCRIBE":
                recovers.pop(event["channel"], None)
            writes.append({**event, "recover": False, "since": None} if is_own else event)
        elif event["type"] == "ACCEPT" or (event["type"] == "SET_METADATA" and is_own):
            writes.append(event)
        else:
            break
        at += 1
    return [*writes, *recovers.values(), *events[at:]]


def _lets_in(events: list[Event]) -> bool:
    accepts = [event for event in events if event["type"] == "ACCEPT"]
    if not accepts or any(event["connectionId"] != NEW for event in accepts):
        return False
    early = events[: events.index(accepts[0])]
    if any(event["type"] == "SET_METADATA" and event["connectionId"] == NEW for event in early):
        return False
    if re.fullmatch("[A-Za-z0-9_-]{15}=", accepts[0].get("user") or ""):
        return False
    return accepts[0].get("subprotocol") in (None, *OFFERED)


def test_replies_are_performed_or_refused_as_a_whole() -> None:
    play("replies", Replies, accepted=(0.25, 0.75), secrets=(SECRET,))
