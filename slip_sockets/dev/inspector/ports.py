"""The gateway's ports with the recorder listening: each call goes through, and becomes a step of the current record."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from ...gateway.deferred import Deferred
from ...gateway.errors import HttpError
from ...gateway.ports import Connections, History, HttpClient, Presence, Queue, Sender, Subscriptions
from ...gateway.values import (
    ChannelState,
    Count,
    Form,
    HttpResponse,
    MemberConnection,
    Membership,
    Notified,
    Origin,
    Outcome,
    Page,
    Past,
    Publication,
    StoredConnection,
)
from ...protocol.events import user_channel
from ...protocol.positions import Position
from .recorder import Recorder
from .records import Body, Exchange, Step
from .sent import described

T = TypeVar("T")


class RecordingClient:
    """The port HttpClient."""

    def __init__(self, client: HttpClient, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpResponse:
        at_s, began = self._recorder.elapsed_s(), time.perf_counter()
        status: int | None = None
        received_headers: Mapping[str, str] = {}
        received: Body | None = None
        reason: str | None = "broken off: the event took too long"
        try:
            response = await self._client.post(url, headers, body, max_bytes=max_bytes)
            status, received_headers, received, reason = response.status, response.headers, Body.of(response.body), None
            return response
        except HttpError as error:
            reason = str(error)
            raise
        finally:
            duration_s = time.perf_counter() - began
            self._recorder.add_exchange(
                Exchange(url, headers, Body.of(body), status, received_headers, received, reason, at_s, duration_s)
            )


async def _step(
    recorder: Recorder,
    call: Awaitable[T],
    text: Callable[[T | None], str],
    *,
    data: bytes | None = None,
    connection_ids: Sequence[str] = (),
) -> T:
    """Await a call and record it. `text` describes the step, given the result, or None where the call failed."""
    at_s, began = recorder.elapsed_s(), time.perf_counter()
    result: T | None = None
    reason: str | None = "broken off: the event took too long"
    try:
        result = await call
        reason = None
        return result
    except Exception as error:
        reason = str(error)
        raise
    finally:
        body = None if data is None else Body.of(data)
        duration_s = time.perf_counter() - began
        recorder.add_step(Step(text(result), body, reason, at_s, duration_s), connection_ids)


class RecordingConnections:
    """The port Connections."""

    def __init__(self, connections: Connections, recorder: Recorder) -> None:
        self._connections = connections
        self._recorder = recorder

    async def open(
        self,
        connection_id: str,
        metadata: bytes,
        channels: Sequence[str],
        form: Form = Form.RAW,
        user: str | None = None,
        memberships: Mapping[str, Membership] = {},
    ) -> None:
        others = channels if user is None else [each for each in channels if each != user_channel(user)]
        who = f"{connection_id} in" if user is None else f"{connection_id} in as {user!r}"
        text = f"Let {who}" + (f", subscribed to {_listed(others)}" if others else "")
        text += f", a member of {_listed(list(memberships))}" if memberships else ""
        call = self._connections.open(connection_id, metadata, channels, form, user, memberships)
        await _step(self._recorder, call, lambda _: text, connection_ids=[connection_id])

    async def get(self, connection_id: str) -> StoredConnection | None:
        return await self._connections.get(connection_id)

    async def metadata(self, connection_ids: Sequence[str]) -> Mapping[str, bytes]:
        return await self._connections.metadata(connection_ids)

    async def set_metadata(self, connection_id: str, metadata: bytes) -> bool:
        return await _step(
            self._recorder,
            self._connections.set_metadata(connection_id, metadata),
            lambda is_found: _unless_missing(is_found, f"Stored metadata of {connection_id}"),
            data=metadata,
            connection_ids=[connection_id],
        )

    async def set_next_number(self, connection_id: str, number: int) -> bool:
        return await self._connections.set_next_number(connection_id, number)

    async def remove(self, connection_id: str) -> StoredConnection | None:
        call = self._connections.remove(connection_id)
        return await _step(self._recorder, call, lambda _: f"Forgot {connection_id}", connection_ids=[connection_id])


class RecordingSubscriptions:
    """The port Subscriptions."""

    def __init__(self, subscriptions: Subscriptions, recorder: Recorder) -> None:
        self._subscriptions = subscriptions
        self._recorder = recorder

    @property
    def index_lag_s(self) -> float:
        return self._subscriptions.index_lag_s

    @property
    def page_size(self) -> int:
        return self._subscriptions.page_size

    async def subscribe(
        self, connection_id: str, channel: str, form: Form | None = None, membership: Membership | None = None
    ) -> Form | None:
        text = f"Subscribed {connection_id} to {channel!r}"
        text += f", as the member {membership.name!r}" if membership is not None else ""
        return await _step(
            self._recorder,
            self._subscriptions.subscribe(connection_id, channel, form, membership),
            lambda found: _unless_missing(found is not None, text),
            data=None if membership is None or membership.info == b"null" else membership.info,
            connection_ids=[connection_id],
        )

    async def is_subscribed(self, connection_id: str, channel: str) -> bool:
        return await self._subscriptions.is_subscribed(connection_id, channel)

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        call = self._subscriptions.unsubscribe(connection_id, channel)
        text = f"Unsubscribed {connection_id} from {channel!r}"
        await _step(self._recorder, call, lambda _: text, connection_ids=[connection_id])

    async def unsubscribe_all(self, connection_id: str) -> None:
        call = self._subscriptions.unsubscribe_all(connection_id)
        text = f"Unsubscribed {connection_id} from all"
        await _step(self._recorder, call, lambda _: text, connection_ids=[connection_id])

    def subscribers(
        self, channel: str, *, after: str | None = None, page_size: int, subscribed_before: float | None = None
    ) -> AsyncIterator[Page]:
        return self._subscriptions.subscribers(
            channel, after=after, page_size=page_size, subscribed_before=subscribed_before
        )

    async def count(self, channel: str, *, after: str | None, until: float) -> Count:
        return await self._subscriptions.count(channel, after=after, until=until)

    async def prune(self, connection_ids: Sequence[str], *, accepted_before: float) -> Sequence[str]:
        return await self._subscriptions.prune(connection_ids, accepted_before=accepted_before)


class RecordingHistory:
    """The port History."""

    def __init__(self, history: History, recorder: Recorder) -> None:
        self._history = history
        self._recorder = recorder

    async def keep(self, publication: Publication, origin: Origin, state: ChannelState) -> Position:
        call = self._history.keep(publication, origin, state)
        return await _step(
            self._recorder, call, lambda position: f"Kept a text of {publication.channel!r} at {position}"
        )

    async def newest(self, channel: str) -> Position:
        call = self._history.newest(channel)
        return await _step(self._recorder, call, lambda position: f"The newest position of {channel!r} is {position}")

    async def past(self, channel: str, since: Position | None, *, limit: int) -> Past:
        call = self._history.past(channel, since, limit=limit)
        after = f" after {since}" if since is not None else ""
        return await _step(self._recorder, call, lambda past: f"Read {channel!r}{after}: {_found(past)}")


class RecordingPresence:
    """The port Presence."""

    def __init__(self, presence: Presence, recorder: Recorder) -> None:
        self._presence = presence
        self._recorder = recorder

    async def read(self, channel: str) -> tuple[Sequence[MemberConnection], Notified]:
        call = self._presence.read(channel)
        return await _step(
            self._recorder, call, lambda read: f"Read who is in {channel!r}" + ("" if read is None else _there(read[0]))
        )

    async def note(self, channel: str, notified: Notified) -> bool:
        text = f"Noted that those in {channel!r} know of {_counted(notified.count, 'member')}"
        return await _step(
            self._recorder,
            self._presence.note(channel, notified),
            lambda is_noted: f"{text}: another look has written before" if is_noted is False else text,
        )

    async def forget(self, channel: str, left: Sequence[MemberConnection]) -> None:
        if left:
            text = f"Forgot {_counted(len(left), 'connection')} that left {channel!r}"
            await _step(self._recorder, self._presence.forget(channel, left), lambda _: text)


class RecordingSender:
    """The port Sender."""

    def __init__(self, sender: Sender, recorder: Recorder) -> None:
        self._sender = sender
        self._recorder = recorder

    @property
    def opening_window_s(self) -> float:
        return self._sender.opening_window_s

    def is_connection_id(self, text: str) -> bool:
        return self._sender.is_connection_id(text)

    def looks_like_connection_id(self, text: str) -> bool:
        return self._sender.looks_like_connection_id(text)

    async def send(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        call = self._sender.send(connection_ids, data, until=until)
        if not connection_ids:
            return await call
        text = f"Sent {described(data)} to"
        return await _step(
            self._recorder, call, lambda outcome: _reached(outcome, text, connection_ids), data=data.encode()
        )

    async def close(self, connection_ids: Sequence[str], *, until: float) -> Outcome:
        call = self._sender.close(connection_ids, until=until)
        if not connection_ids:
            return await call
        return await _step(self._recorder, call, lambda outcome: _reached(outcome, "Closed", connection_ids))

    async def is_open(self, connection_id: str) -> bool:
        return await _step(
            self._recorder,
            self._sender.is_open(connection_id),
            lambda is_open: f"{connection_id} is {'open' if is_open else 'not open yet'}",
            connection_ids=[connection_id],
        )

    async def last_active_at(self, connection_id: str) -> float | None:
        return await self._sender.last_active_at(connection_id)


class RecordingQueue:
    """The port Queue."""

    def __init__(self, queue: Queue, recorder: Recorder) -> None:
        self._queue = queue
        self._recorder = recorder

    @property
    def shards(self) -> int:
        return self._queue.shards

    async def put(self, messages: Sequence[Deferred]) -> None:
        if not messages:
            return
        text = "Queued " + ", ".join(message.title for message in messages[:5]) + (", ..." if len(messages) > 5 else "")
        await _step(self._recorder, self._queue.put(messages), lambda _: text)


def _listed(channels: Sequence[str]) -> str:
    return ", ".join(map(repr, channels[:10])) + (", ..." if len(channels) > 10 else "")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _there(connections: Sequence[MemberConnection]) -> str:
    left = sum(connection.left_at is not None for connection in connections)
    has_left = f", and {left:,} more that left a moment ago" if left else ""
    return f": {_counted(len(connections) - left, 'connection')}{has_left}"


def _unless_missing(is_found: bool | None, text: str) -> str:
    return f"{text}: there is no such connection" if is_found is False else text


def _found(past: Past | None) -> str:
    if past is None:
        return "failed"
    if not past.is_whole:
        return f"not all of it is kept any more; the newest position is {past.newest}"
    return f"{_counted(len(past.messages), 'text')}; the newest position is {past.newest}"


def _reached(outcome: Outcome | None, action: str, connection_ids: Sequence[str]) -> str:
    target = connection_ids[0] if len(connection_ids) == 1 else f"{len(connection_ids)} connections"
    if outcome is None:
        return f"{action} {target}"
    others = {
        "gone": len(outcome.gone),
        "refused": len(outcome.refused),
        "taking no more": len(outcome.failed),
        "not reached for lack of time": len(outcome.unsent),
    }
    listed = ", ".join(f"{count} {word}" for word, count in others.items() if count)
    return f"{action} {target}" + (f": {outcome.done} done, {listed}" if listed else "")
