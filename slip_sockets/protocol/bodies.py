"""Bodies that are not batches of events: the metadata that comes with OPEN, and the control API's responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .decoding import UNREADABLE, without_mark
from .errors import InvalidEvents
from .events import AnyReport, HistoryReport, PresenceReport, Report


def open_metadata(headers: Mapping[str, str], ip: str | None, query: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the metadata of a connection for which nothing has been set: its handshake.

    `headers` are named as the client wrote them; `query` maps each name to its values.
    """
    return {"headers": headers, "ip": ip, "query": query}


DONE = "processed successfully"


def encode_done(reports: Sequence[AnyReport | None]) -> bytes:
    """Return the body of a 200: a report for each event of the batch, `{}` for an event without one."""
    events: list[object] = [{} if report is None else report for report in reports]
    return msgspec.json.encode({"message": DONE, "events": events})


def encode_invalid(error: InvalidEvents) -> bytes:
    """Return the body of a 400: nothing of the batch was done. `index` and `field` locate the fault."""
    place = {"index": error.index, "field": error.field}
    where = {name: value for name, value in place.items() if value is not None}
    return msgspec.json.encode({"message": "invalid commands", "error": str(error), **where})


def encode_not_done(index: int, error: Exception) -> bytes:
    """Return the body of a 503: the events before `index` were done, it and those after it were not."""
    return msgspec.json.encode({"message": "not done", "index": index, "error": str(error)})


class ControlFault(msgspec.Struct, frozen=True):
    """The body of a response other than 200. `error` is empty where the body has none."""

    message: str = ""
    error: str = ""
    index: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether a control API wrote it, rather than something on the way to it."""
        return self.message in ("invalid commands", "not done")


class _Done(msgspec.Struct):
    message: str
    events: Any = None


def decode_done(body: bytes, count: int) -> list[AnyReport | None] | None:
    """Return the reports of a batch of `count` events, None for each event without one.

    The original gateway responds without `events`: then all are None. Returns None if no control API sends such a body.
    """
    try:
        done = msgspec.json.decode(without_mark(body), type=_Done)
    except UNREADABLE:
        return None
    if done.message != DONE:
        return None
    try:
        events = msgspec.convert(done.events, list[dict[str, Any]])
        reports = [_report(event) if event else None for event in events]
    except UNREADABLE:
        reports = []
    return reports if len(reports) == count else [None] * count


def _report(event: dict[str, Any]) -> AnyReport:
    if "messages" in event:
        return msgspec.convert(event, HistoryReport)
    return msgspec.convert(event, PresenceReport) if "members" in event else msgspec.convert(event, Report)


def decode_fault(body: bytes) -> ControlFault:
    try:
        return msgspec.json.decode(without_mark(body), type=ControlFault)
    except UNREADABLE:
        return ControlFault()
