"""The gateway's ports with the recorder listening: each call goes through, and becomes a step of the current record."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ...gateway.ports import (
    CloseNotice,
    ConnectionStore,
    Continuation,
    Deferred,
    FanOut,
    FanOutChunk,
    HttpAnswer,
    HttpClient,
    HttpError,
    Management,
    Outcome,
    Queue,
)
from .recorder import Body, Exchange, Recorder, Step

Port = TypeVar("Port")
Words = Callable[..., tuple[str, bytes | None]]
"""What a call did, given its result and arguments, and the text that it sent."""


class RecordingClient:
    """An HttpClient."""

    def __init__(self, client: HttpClient, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpAnswer:
        at_s, began = self._recorder.elapsed_s(), time.perf_counter()
        status: int | None = None
        answer: Body | None = None
        reason: str | None = "broken off: the event took too long"
        try:
            got = await self._client.post(url, headers, body, max_bytes=max_bytes)
            status, answer, reason = got.status, Body.of(got.body), None
            return got
        except HttpError as error:
            reason = str(error)
            raise
        finally:
            duration_s = time.perf_counter() - began
            self._recorder.exchanged(Exchange(url, headers, Body.of(body), status, answer, reason, at_s, duration_s))


def recording_store(store: ConnectionStore, recorder: Recorder) -> ConnectionStore:
    return _recording(store, recorder, _STORE)


def recording_management(management: Management, recorder: Recorder) -> Management:
    return _recording(management, recorder, _MANAGEMENT)


def recording_queue(queue: Queue, recorder: Recorder) -> Queue:
    return _recording(queue, recorder, _QUEUE)


class _Recording:
    """A port; calls that `words` says nothing of go straight through."""

    def __init__(self, port: object, recorder: Recorder, words: Mapping[str, Words]) -> None:
        self._port = port
        for name, tell in words.items():
            setattr(self, name, _recorded(getattr(port, name), recorder, tell))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def _recording(port: Port, recorder: Recorder, words: Mapping[str, Words]) -> Port:
    return cast(Port, _Recording(port, recorder, words))


def _recorded(method: Callable[..., Awaitable[Any]], recorder: Recorder, tell: Words) -> Callable[..., Awaitable[Any]]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        at_s, began = recorder.elapsed_s(), time.perf_counter()
        result, reason = None, None
        try:
            result = await method(*args, **kwargs)
            return result
        except Exception as error:
            reason = str(error)
            raise
        finally:
            if args[0]:  # nothing to put, nobody to send to: nothing is done
                text, data = tell(result, *args)
                step = Step(text, None if data is None else Body.of(data), reason, at_s, time.perf_counter() - began)
                recorder.done(step, _whose(args[0]))

    return call


def _whose(first: object) -> Sequence[str]:
    """Most calls name a connection first."""
    return [first] if isinstance(first, str) else []


def _open(_: None, whose: str, metadata: bytes, channels: Sequence[str]) -> tuple[str, bytes | None]:
    listed = ", ".join(map(repr, channels[:10])) + (", ..." if len(channels) > 10 else "")
    return f"Let {whose} in" + (f", subscribed to {listed}" if channels else ""), None


def _found(is_found: bool | None, text: str) -> tuple[str, bytes | None]:
    return text if is_found or is_found is None else f"{text}: there is no such connection", None


_STORE: dict[str, Words] = {
    "open": _open,
    "set_metadata": lambda found, whose, metadata: (_found(found, f"Stored metadata of {whose}")[0], metadata),
    "subscribe": lambda found, whose, channel: _found(found, f"Subscribed {whose} to {channel!r}"),
    "unsubscribe": lambda _, whose, channel: (f"Unsubscribed {whose} from {channel!r}", None),
    "unsubscribe_all": lambda _, whose: (f"Unsubscribed {whose} from all", None),
    "remove": lambda _, whose: (f"Forgot {whose}", None),
}


def _sent(outcome: Outcome | None, what: str, whose: Sequence[str]) -> str:
    target = whose[0] if len(whose) == 1 else f"{len(whose)} connections"
    if outcome is None:
        return f"{what} {target}"
    others = {
        "gone": len(outcome.gone),
        "refused": len(outcome.refused),
        "taking no more": len(outcome.failed),
        "left for lack of time": len(outcome.unsent),
    }
    told = ", ".join(f"{count} {word}" for word, count in others.items() if count)
    return f"{what} {target}" + (f": {outcome.done} done, {told}" if told else "")


_MANAGEMENT: dict[str, Words] = {
    "post": lambda outcome, whose, data: (_sent(outcome, "Sent a text to", whose), data.encode()),
    "delete": lambda outcome, whose: (_sent(outcome, "Closed", whose), None),
    "is_open": lambda found, whose: (f"{whose} is {'open' if found else 'not open yet'}", None),
}


def _queued(_: None, messages: Sequence[Deferred]) -> tuple[str, bytes | None]:
    return "Queued " + ", ".join(map(subject_of, messages[:5])) + (", ..." if len(messages) > 5 else ""), None


_QUEUE: dict[str, Words] = {"put": _queued}


def subject_of(message: Deferred) -> str:
    """Return what a deferred message is about."""
    match message:
        case Continuation():
            count = len(message.events)
            return f"{count} events that had to wait" if count != 1 else "an event that had to wait"
        case CloseNotice():
            return f"CLOSE of {message.connection_id}, to tell the backend later"
        case FanOut():
            return f"a publish to all of {message.event.channel!r}"
        case FanOutChunk():
            return f"a publish to {len(message.connection_ids)} of {message.event.channel!r}"
