"""What surrounds the gateway in its machine of kept messages: an index that lags, a history, a backend."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from slip_sockets.dev.history import MemoryHistory
from slip_sockets.gateway.values import ChannelState, Form, HttpResponse, Membership, Origin, Page, Publication
from slip_sockets.protocol.positions import Position

from .doubles import FakeClock
from .faulty_store import FaultyStore

CHANNELS = BY_OPEN, BY_TEXT = "hall", "room"


class LaggingStore(FaultyStore):
    """Its index shows some newcomers only `index_lag_s` after their subscription was written."""

    def __init__(self, clock: FakeClock, lag_s: float) -> None:
        super().__init__(clock)
        self.index_lag_s = lag_s
        self.hidden: set[str] = set()
        self.shown_at: dict[tuple[str, str], float] = {}

    async def open(
        self,
        connection_id: str,
        metadata: bytes,
        channels: Sequence[str],
        form: Form = Form.RAW,
        user: str | None = None,
        memberships: Mapping[str, Membership] = {},
    ) -> None:
        await super().open(connection_id, metadata, channels, form, user, memberships)
        for channel in channels:
            self.hide(connection_id, channel)

    async def subscribe(
        self, connection_id: str, channel: str, form: Form | None = None, membership: Membership | None = None
    ) -> Form | None:
        self.hide(connection_id, channel)
        return await super().subscribe(connection_id, channel, form, membership)

    def hide(self, connection_id: str, channel: str) -> None:
        if connection_id in self.hidden:
            self.shown_at.setdefault((connection_id, channel), self._clock.now() + self.index_lag_s)

    async def subscribers(
        self, channel: str, *, after: str | None = None, page_size: int = 1_000, subscribed_before: float | None = None
    ) -> AsyncIterator[Page]:
        async for page in super().subscribers(
            channel, after=after, page_size=page_size, subscribed_before=subscribed_before
        ):
            now = self._clock.now()
            shown = [id_ for id_ in page.connection_ids if self.shown_at.get((id_, channel), 0) <= now]
            yield Page(shown, page.cursor, page.framed)


class RecordingHistory(MemoryHistory):
    """`kept` is all that was ever kept, by channel and position, each channel's newest last."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.kept: dict[str, dict[Position, str]] = defaultdict(dict)
        self.kept_at: dict[Position, float] = {}

    async def keep(self, publication: Publication, origin: Origin, state: ChannelState) -> Position:
        position = await super().keep(publication, origin, state)
        kept = self.kept[publication.channel]
        self.kept_at.setdefault(position, self._clock.now())
        assert kept.setdefault(position, publication.data) == publication.data
        assert position.offset == 1 or Position(position.epoch, position.offset - 1) in kept, "a gap"
        return position


class Backend:
    """Lets each client in and subscribes it to the first channel, to the other one when it asks for that."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpResponse:
        request = json.loads(body)
        id_, event = request["connectionId"], request["events"][0]
        match event["type"]:
            case "OPEN":
                accept = {"type": "ACCEPT", "connectionId": id_, "subprotocol": "slip.v1"}
                events = [accept, _subscribe(id_, BY_OPEN, request["metadata"]["query"].get("since", []))]
            case "TEXT":
                events = [_subscribe(id_, BY_TEXT, event["data"].split())]
            case _:
                events = []
        return HttpResponse(200, body=msgspec.json.encode({"events": events}))


def _subscribe(id_: str, channel: str, since: Sequence[str]) -> dict[str, Any]:
    more = {"since": since[0]} if since else {}
    return {"type": "SUBSCRIBE", "connectionId": id_, "channel": channel, "recover": True, **more}
