"""The sender over real sockets. Longer than 400 lines: all of its cases share one stub and one pace."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
import pytest

from slip_sockets.aws.batch import Patience
from slip_sockets.aws.sender import BatchSender, Limits
from slip_sockets.aws.sigv4 import Signer
from slip_sockets.gateway.values import Outcome

from ..http.certificates import Certificate, client_context, make, server_context

NOW = 1_767_225_600.0
PATIENCE = Patience(timeout_s=5, give_up_after_s=0.02, first_pause_s=0.001, longest_pause_s=0.01)
STALL_S = 0.1
"""For tests in which no request succeeds. In others a busy machine takes that long for the first one."""
LIMITS = Limits(PATIENCE, connect_timeout_s=1, stop_before_s=0.05, tick_s=0.001)
"""The proportions of the real ones, with shorter times."""


class Credentials(NamedTuple):
    access_key: str = "AKIDEXAMPLE"
    secret_key: str = "a secret"
    token: str | None = "a token"


class FakeClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class Request(NamedTuple):
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def connection_id(self) -> str:
        return unquote(self.path.rpartition("/")[2])


class Server:
    """Sends what `script` returns: bytes; CLOSE and RESET end the connection, after the bytes before them."""

    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"

    def __init__(self) -> None:
        self.script: Callable[[Request], list[bytes | str]] = lambda _: [answer(200)]
        self.requests: list[Request] = []
        self.connections = 0
        self.serving = 0
        self._changed = asyncio.Condition()
        self.release = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self._is_closed = False

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls, backlog=256)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/live"

    async def aclose(self) -> None:
        self.release.set()
        self._is_closed = True
        for writer in self.writers:
            writer.transport.abort()
        self._server.close()
        await self._server.wait_closed()  # from Python 3.12 on, it waits for all connections
        await self.wait_until(lambda: not self.serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.serving += 1
        number = self.connections
        self.writers.append(writer)
        try:
            while not self._is_closed and (request := await self._read(reader, number)):
                self.requests.append(request)
                await self._change()
                for part in self.script(request):
                    if isinstance(part, bytes):
                        writer.write(part)
                        await writer.drain()
                    elif part == self.HANG:
                        await self.release.wait()
                    elif part == self.RESET:
                        writer.transport.abort()
                        return
                    else:
                        return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.serving -= 1
            await self._change()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = (line.partition(": ") for line in lines)
        headers = {name: value for name, _, value in pairs}
        return Request(number, method, path, headers, await reader.readexactly(int(headers.get("Content-Length", 0))))

    async def _change(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(is_so)

    def calls_for(self, connection_id: str) -> int:
        return sum(request.connection_id == connection_id for request in self.requests)


def answer(status: int, body: bytes = b"{}", name: str = "") -> bytes:
    error = f"x-amzn-ErrorType: {name}\r\n" if name else ""
    return f"HTTP/1.1 {status} Reason\r\n{error}Content-Length: {len(body)}\r\n\r\n".encode() + body


LIMITED = answer(429, b'{"message":"Limit Exceeded"}', "LimitExceededException")
LIMITED_TEXT = "429 LimitExceededException: Limit Exceeded"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.aclose()


class Sending:
    """A sender, and the arguments for its calls."""

    def __init__(self, url: str, limits: Limits = LIMITS, tls: ssl.SSLContext | None = None) -> None:
        self.clock = FakeClock()
        self.sender = BatchSender(url, self.clock, limits=limits, tls=tls)
        self.signer = Signer(self.sender.host, "eu-west-1", Credentials())

    async def post(self, *connection_ids: str, until: float = math.inf) -> Outcome:
        return await self.sender.send("POST", connection_ids, b"hi", self.signer, until=until)


@pytest.fixture
async def sending(server: Server) -> AsyncIterator[Sending]:
    sending = Sending(server.url)
    yield sending
    sending.sender.close()
    await asyncio.sleep(0)


def patient(sending: Sending, *, stop_before_s: float | None = None, **patience: float) -> None:
    limits = sending.sender.limits
    sending.sender.limits = msgspec.structs.replace(
        limits,
        patience=msgspec.structs.replace(limits.patience, **patience),
        stop_before_s=limits.stop_before_s if stop_before_s is None else stop_before_s,
    )


def ids(count: int) -> list[str]:
    return [f"{number:015}=" for number in range(count)]


# Requests


async def test_each_is_sent_to_once(sending: Sending, server: Server) -> None:
    assert await sending.post(*ids(500)) == Outcome(done=500)
    assert sorted(request.connection_id for request in server.requests) == ids(500)
    assert {(request.method, request.body) for request in server.requests} == {("POST", b"hi")}


async def test_each_of_two_equal_ids_is_sent_to(sending: Sending, server: Server) -> None:
    assert await sending.post("A=", "A=", "B=") == Outcome(done=3)
    assert server.calls_for("A=") == 2


async def test_no_connections_need_no_call(sending: Sending, server: Server) -> None:
    assert await sending.post() == Outcome()
    assert server.connections == 0


@pytest.mark.parametrize(
    ("connection_id", "path"),
    [
        ("L0SM9cOFvHcCIhw=", "L0SM9cOFvHcCIhw%3D"),
        ("a/b?c#d e%f", "a%2Fb%3Fc%23d%20e%25f"),
        ("Zoë\r\nA: b", "Zo%C3%AB%0D%0AA%3A%20b"),
        ("..", "%2E%2E"),
        ("", ""),
    ],
)
async def test_id_is_encoded(sending: Sending, server: Server, connection_id: str, path: str) -> None:
    assert (await sending.post(connection_id)).done == 1
    assert server.requests[0].path == f"/live/@connections/{path}"
    assert server.requests[0].headers.keys() == {
        "Host",
        "X-Amz-Date",
        "X-Amz-Security-Token",
        "Authorization",
        "User-Agent",
        "Content-Length",
    }


# Connections


async def test_connections_are_kept(sending: Sending, server: Server) -> None:
    for _ in range(3):
        assert (await sending.post("A=")).done == 1
    assert server.connections == 1
    assert (await sending.post(*ids(100))).done == 100
    assert server.connections <= 16  # a handshake for each of the requests would cost more than they do


async def test_connection_that_was_idle_for_long_is_not_trusted(sending: Sending, server: Server) -> None:
    await sending.post("A=")
    sending.clock.time += 21
    await sending.post("A=")
    assert [request.connection for request in server.requests] == [1, 2]


async def test_connection_that_was_closed_meanwhile_is_not_used(sending: Sending, server: Server) -> None:
    server.script = lambda _: [answer(200), Server.CLOSE]
    await sending.post("A=")
    await server.wait_until(lambda: not server.serving)
    await sending.post("A=")
    assert [request.connection for request in server.requests] == [1, 2]


async def test_kept_connection_that_ends_before_the_response_is_replaced_at_once(
    sending: Sending, server: Server
) -> None:
    patient(sending, first_pause_s=60, longest_pause_s=60)
    seen: list[int] = []

    def script(request: Request) -> list[bytes | str]:
        seen.append(request.connection)
        return [Server.CLOSE] if seen.count(request.connection) > 1 else [answer(200)]

    server.script = script
    await sending.post("A=")
    assert await sending.post("B=") == Outcome(done=1)
    assert [(request.connection, request.connection_id) for request in server.requests] == [
        (1, "A="),
        (1, "B="),
        (2, "B="),
    ]


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}", b"\r\n0\r\n\r\n"],
        [b"HTTP/1.1 204 No Content\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 2", b"00 OK\r\nContent-Length: 0\r\n\r\n"],
    ],
)
async def test_every_kind_of_response_keeps_the_connection(
    sending: Sending, server: Server, parts: list[bytes | str]
) -> None:
    server.script = lambda _: parts
    for _ in range(3):
        assert await sending.post("A=") == Outcome(done=1)
    assert server.connections == 1


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", Server.HANG],
        [b"HTTP/1.1 200 OK\r\n\r\n{}", Server.CLOSE],
        [answer(200) + answer(410), Server.HANG],
    ],
)
async def test_some_responses_end_the_connection(sending: Sending, server: Server, parts: list[bytes | str]) -> None:
    server.script = lambda _: parts
    for _ in range(2):
        assert await sending.post("A=") == Outcome(done=1)
    assert server.connections == 2


async def test_calls_may_be_apart_on_one_loop() -> None:
    """As in a function: the loop does not run between two events."""

    def events() -> list[int]:
        with asyncio.Runner() as runner:
            server = Server()
            runner.run(server.start())
            sending = Sending(server.url)
            done = [runner.run(sending.post("A=", "B=")).done for _ in range(5)]
            sending.sender.close()
            runner.run(server.aclose())
            return [*done, server.connections]

    assert await asyncio.to_thread(events) == [2, 2, 2, 2, 2, 2]


# Outcomes


async def test_each_connection_has_its_own_outcome(sending: Sending, server: Server) -> None:
    responses = {
        "gone": answer(410, b'{"message":null}', "GoneException"),
        "forbidden": answer(403, b'{"message":"Forbidden"}', "ForbiddenException:http://internal/"),
        "large": answer(413, b'{"Message":"Too large"}'),
        "unclear": answer(404, b"<html>"),
        "moved": answer(301, b"[]"),
        "long": answer(400, b'{"message":"' + 1000 * b"x" + b'"}', "BadRequestException"),
    }
    server.script = lambda request: [responses.get(request.connection_id, answer(200))]
    outcome = await sending.post(*responses, "A=")
    assert (outcome.done, outcome.gone, outcome.failed, outcome.unsent) == (1, ["gone"], {}, [])
    assert outcome.refused == {
        "forbidden": "403 ForbiddenException: Forbidden",
        "large": "413: Too large",
        "unclear": "404",
        "moved": "301",
        "long": "400 BadRequestException: " + 275 * "x",
    }
    assert len(server.requests) == 7


@pytest.mark.parametrize(
    "failing",
    [
        [LIMITED],
        [answer(500)],
        [answer(503, b"")],
        [answer(403, b'{"message":"expired"}', "ExpiredTokenException")],
        [answer(403, b'{"Message":"not authorized"}', "AccessDeniedException")],
        [Server.RESET],
        [Server.CLOSE],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi", Server.CLOSE],
        [b"SSH-2.0-OpenSSH\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"],
    ],
)
async def test_failure_that_may_pass_is_tried_again_for_that_connection_alone(
    sending: Sending, server: Server, failing: list[bytes | str]
) -> None:
    def script(request: Request) -> list[bytes | str]:
        return failing if request.connection_id == "A=" and server.calls_for("A=") <= 2 else [answer(200)]

    server.script = script
    assert await sending.post("A=", *ids(30)) == Outcome(done=31)
    assert server.calls_for("A=") == 3
    assert len(server.requests) == 33


async def test_request_without_a_response_in_time_is_tried_again(sending: Sending, server: Server) -> None:
    patient(sending, timeout_s=0.5)
    server.script = lambda _: [Server.HANG] if len(server.requests) == 1 else [answer(200)]
    assert await sending.post("A=") == Outcome(done=1)
    assert [request.connection for request in server.requests] == [1, 2]


async def test_slow_client_does_not_hold_up_others(sending: Sending, server: Server) -> None:
    server.script = lambda request: [LIMITED if request.connection_id == "slow" else answer(200)]
    outcome = await sending.post("slow", *ids(1000))
    assert outcome == Outcome(done=1000, failed={"slow": LIMITED_TEXT})
    assert 6 <= server.calls_for("slow") < 50
    assert sending.sender.rate.rate == math.inf
    before = len(server.requests)
    assert (await sending.post(*ids(1000))).done == 1000
    assert len(server.requests) == before + 1000


async def test_several_slow_clients_are_given_up_each(sending: Sending, server: Server) -> None:
    patient(sending, stall_s=60)
    slow = {f"slow{number}" for number in range(20)}
    server.script = lambda request: [LIMITED if request.connection_id in slow else answer(200)]
    all_ids = ids(500)
    for number, id_ in enumerate(sorted(slow)):
        all_ids.insert(25 * number, id_)
    outcome = await sending.post(*all_ids)
    assert (outcome.done, outcome.failed) == (500, dict.fromkeys(slow, LIMITED_TEXT))
    assert sending.sender.rate.rate == math.inf


async def test_no_connection_is_given_up_while_the_quota_lets_some_through(sending: Sending, server: Server) -> None:
    # A quota that depends on the calls instead of the time: each fifth gets through.
    server.script = lambda _: [answer(200) if len(server.requests) % 5 == 0 else LIMITED]
    patient(sending, stall_s=60)
    assert await sending.post(*ids(40)) == Outcome(done=40)


async def test_all_are_given_up_where_no_request_succeeds(sending: Sending, server: Server) -> None:
    patient(sending, stall_s=STALL_S)
    server.script = lambda _: [answer(503, b'{"message":"Service Unavailable"}')]
    outcome = await sending.post(*ids(300))
    assert outcome == Outcome(failed=dict.fromkeys(ids(300), "503: Service Unavailable"))


async def test_server_that_is_away_is_the_reason() -> None:
    sending = Sending("http://127.0.0.1:1/live")
    patient(sending, stall_s=STALL_S)
    outcome = await sending.post("A=", "B=")
    assert list(outcome.failed) == ["A=", "B="] or list(outcome.failed) == ["B=", "A="]
    assert outcome.failed["A="] == "no connection: Connection refused"


async def test_name_that_cannot_be_resolved_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_known(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", not_known)
    sending = Sending("http://a.example/live")
    patient(sending, stall_s=STALL_S)
    outcome = await sending.post("A=")
    assert outcome.failed["A="] == "no connection: its name cannot be resolved: Name or service not known"


async def test_rate_is_cut_by_a_quota_and_recovers(sending: Sending, server: Server) -> None:
    loop = asyncio.get_running_loop()
    sent: list[float] = []

    def quota(_: Request) -> list[bytes | str]:
        sent[:] = [at for at in sent if at > loop.time() - 0.1]
        if len(sent) >= 20:
            return [LIMITED]
        sent.append(loop.time())
        return [answer(200)]

    server.script = quota
    patient(sending, stall_s=60)
    assert await sending.post(*ids(60)) == Outcome(done=60)
    slowed = sending.sender.rate.rate
    assert slowed < 2000
    server.script = lambda _: [answer(200)]
    assert (await sending.post(*ids(500))).done == 500
    assert sending.sender.rate.rate > slowed


# Time


@pytest.mark.parametrize("left_s", [-10, 0, 0.04])
async def test_no_request_begins_when_time_is_over(sending: Sending, server: Server, left_s: float) -> None:
    assert await sending.post("A=", "B=", until=NOW + left_s) == Outcome(unsent=["A=", "B="])
    assert server.connections == 0


async def test_requests_in_flight_at_the_end_are_unsent(sending: Sending, server: Server) -> None:
    server.script = lambda request: [answer(200) if request.connection_id == "A=" else Server.HANG]
    outcome = await sending.post("A=", *ids(10), until=NOW + 1)
    assert outcome.done == 1
    assert sorted(outcome.unsent) == ids(10)
    assert len(server.requests) < 11  # the few that were outstanding, and none of the others
    # Their connections are not used again: the responses might still come.
    server.script = lambda _: [answer(200)]
    outstanding = {request.connection for request in server.requests if request.connection_id != "A="}
    before = len(server.requests)
    assert (await sending.post("A=")).done == 1
    assert server.requests[before].connection not in outstanding


async def test_retries_not_begun_at_the_end_are_unsent(sending: Sending, server: Server) -> None:
    patient(sending, stall_s=60)
    server.script = lambda _: [LIMITED]
    assert await sending.post("A=", until=NOW + 1) == Outcome(unsent=["A="])
    assert len(server.requests) > 1


async def test_response_that_comes_while_no_more_requests_begin_counts(sending: Sending, server: Server) -> None:
    patient(sending, stop_before_s=59)
    server.script = lambda _: [Server.HANG, answer(200)]
    asyncio.get_running_loop().call_later(1.5, server.release.set)
    outcome = await sending.post(*ids(10), until=NOW + 60)
    assert outcome.done == 4
    assert sorted(outcome.unsent) == ids(10)[4:]


async def test_cancelled_call_leaves_nothing_behind(sending: Sending, server: Server) -> None:
    server.script = lambda _: [Server.HANG]
    posting = asyncio.ensure_future(sending.post("A="))
    await server.wait_until(lambda: bool(server.requests))
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    server.script = lambda _: [answer(200)]
    assert await sending.post("A=") == Outcome(done=1)
    assert [request.connection for request in server.requests] == [1, 2]


# TLS


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    """A self-signed certificate for 127.0.0.1."""
    return make("127.0.0.1")


@pytest.fixture
async def tls_server(certificate: Certificate, tmp_path: Path) -> AsyncIterator[Server]:
    server = Server()
    await server.start(server_context(tmp_path / "certificate.pem", certificate))
    yield server
    await server.aclose()


async def test_tls(tls_server: Server, certificate: Certificate) -> None:
    sending = Sending(tls_server.url, tls=client_context(certificate))
    tls_server.script = lambda _: [answer(200, b"x" * 20_000)]
    for _ in range(2):
        assert await sending.post(*ids(60)) == Outcome(done=60)
    assert tls_server.connections < 10
    # A connection that the server ends by TLS's close_notify is not used again.
    tls_server.script = lambda _: [answer(200), Server.CLOSE]
    for _ in range(2):
        assert await sending.post(*ids(20)) == Outcome(done=20)
    sending.sender.close()
    await asyncio.sleep(0)


async def test_untrusted_certificate_is_the_reason(tls_server: Server) -> None:
    sending = Sending(tls_server.url)
    patient(sending, stall_s=STALL_S)
    outcome = await sending.post("A=")
    advice = "Give 127.0.0.1 one of a public certificate authority"
    reason = f"no connection: its certificate is self-signed. {advice}"
    assert outcome == Outcome(failed={"A=": reason})
    assert tls_server.requests == []


# Logs and arguments


async def test_logs_hold_no_secrets(sending: Sending, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    patient(sending, stall_s=STALL_S)
    caplog.set_level(logging.DEBUG, "slip_sockets")
    server.script = lambda _: [Server.RESET]
    await sending.post("A=")
    for secret in ("a token", "a secret", "AKID", "hi"):
        assert secret not in caplog.text


@pytest.mark.parametrize("url", ["ftp://host/live", "/live", "https:///live"])
def test_text_that_is_not_a_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^not an http or https URL$"):
        BatchSender(url, FakeClock())
