"""Calls of the backend, in a dialect of the test's own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from slip_sockets.gateway.backend import Backend
from slip_sockets.gateway.dialects import BackendRequest, FollowUp, Opening, Reply, Tick
from slip_sockets.gateway.effects import Effect
from slip_sockets.gateway.errors import BackendFailed, BackendFault, HttpError, HttpFailure
from slip_sockets.gateway.observer import EventType, HandledEvent, handling
from slip_sockets.gateway.values import Connect, HttpResponse, Publication
from slip_sockets.protocol.events import Close, SendText, SocketEvent, Text

from .doubles import ME, SECRET, FakeClock, RecordingObserver

HI = Text(ME, "hi")


@dataclass
class Dialect:
    """A BackendProtocol. It replies what a test sets, and wants no events where `wants` is false."""

    replies: list[Reply | BackendFailed] = field(default_factory=lambda: [Reply([])])
    wants: bool = True
    may_repeat: bool = False
    has_patterns: bool = False

    def initial_metadata(self, connect: Connect) -> bytes:
        raise NotImplementedError

    def request(
        self,
        connection_id: str,
        metadata: bytes | None,
        events: Sequence[SocketEvent],
        *,
        user: str | None,
        secret: str,
        now: float,
    ) -> BackendRequest | None:
        return BackendRequest({}, repr((metadata, events)).encode(), "a=1") if self.wants else None

    def reply(
        self, connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent], response: HttpResponse
    ) -> Reply:
        reply = self.replies.pop(0)
        if isinstance(reply, BackendFailed):
            raise reply
        return reply

    def tick(self, connection_id: str, metadata: bytes | None, timer_id: str) -> Tick | None:
        raise NotImplementedError

    def filtered(self, metadata: bytes | None, publication: Publication) -> str | None:
        raise NotImplementedError

    def opening(self, connect: Connect, actions: Sequence[Effect]) -> Opening:
        raise NotImplementedError


@dataclass
class Client:
    """The port HttpClient."""

    error: HttpError | None = None
    posts: list[tuple[str, bytes]] = field(default_factory=list)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpResponse:
        self.posts.append((url, body))
        if self.error is not None:
            raise self.error
        return HttpResponse(200)


async def secrets() -> Sequence[str]:
    return [SECRET]


def backend(dialect: Dialect, client: Client, observer: RecordingObserver) -> Backend:
    return Backend("http://app.example/ws?b=2", dialect, secrets, client, FakeClock(), observer)


async def test_requests_query_is_added_to_that_of_the_url() -> None:
    client = Client()
    await backend(Dialect(), client, RecordingObserver()).call(ME, b"1", [HI])
    assert client.posts == [("http://app.example/ws?b=2&a=1", repr((b"1", [HI])).encode())]


async def test_backend_that_wants_no_events_is_not_called() -> None:
    client, observer = Client(), RecordingObserver()
    assert await backend(Dialect(wants=False), client, observer).call(ME, b"1", [HI]) == []
    assert (client.posts, observer.backend_errors) == ([], [])


async def test_skipped_parts_of_a_reply_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    dialect = Dialect([Reply([SendText(ME, "a")], ("a ping", "a pong"))])
    with caplog.at_level(logging.WARNING):
        assert await backend(dialect, Client(), RecordingObserver()).call(ME, b"1", [HI]) == [SendText(ME, "a")]
    assert caplog.messages == [
        f"connection {ME}: skipped in the reply: a ping",
        f"connection {ME}: skipped in the reply: a pong",
    ]


@pytest.mark.parametrize("answer", [Reply([SendText(ME, "ignored")]), BackendFailed(BackendFault.STATUS, "is ill")])
async def test_follow_up_is_sent_and_its_reply_does_not_count(answer: Reply | BackendFailed) -> None:
    dialect = Dialect([Reply([SendText(ME, "a")], follow_up=FollowUp(b"2", [Close(ME)])), answer])
    client = Client()
    with handling(HandledEvent(EventType.TEXT, ME)):
        actions = await backend(dialect, client, RecordingObserver()).call(ME, b"1", [HI])
    assert actions == [SendText(ME, "a")]
    assert [body for _, body in client.posts] == [repr(each).encode() for each in [(b"1", [HI]), (b"2", [Close(ME)])]]


@pytest.mark.parametrize(
    ("failure", "ends"),
    [
        (HttpFailure.UNREACHABLE, False),
        (HttpFailure.TLS, False),
        (HttpFailure.TIMEOUT, True),
        (HttpFailure.BROKEN_OFF, True),
        (HttpFailure.NOT_HTTP, True),
        (HttpFailure.TOO_LARGE, True),
    ],
)
@pytest.mark.parametrize("may_repeat", [True, False])
async def test_lost_response_ends_the_connection_of_a_dialect_that_repeats_nothing(
    failure: HttpFailure, ends: bool, may_repeat: bool
) -> None:
    client = Client(HttpError("x", failure))
    with pytest.raises(BackendFailed) as failed:
        await backend(Dialect(may_repeat=may_repeat), client, RecordingObserver()).call(ME, b"1", [HI])
    assert failed.value.ends_connection is (ends and not may_repeat)
    if failed.value.ends_connection:
        assert not failed.value.is_retryable
