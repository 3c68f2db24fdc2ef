"""Names, ports and certificates, with real servers on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from slip_sockets.doctor import reach
from slip_sockets.doctor.findings import CannotCheck, Finding, Verdict
from slip_sockets.doctor.reach import DAY_S, FEW_DAYS, check_url, judge

from ..http.certificates import Certificate, client_context, make, server_context

ISSUER = make("Our Authority", is_issuer=True)
TRUSTED = client_context(ISSUER)


@asynccontextmanager
async def serving(tmp_path: Path, certificate: Certificate | None) -> AsyncIterator[int]:
    """Accept connections with a certificate, None without TLS; yield the port."""

    writers: list[asyncio.StreamWriter] = []

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    context = None if certificate is None else server_context(tmp_path / "server.pem", certificate, ISSUER)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]
        for writer in writers:
            writer.transport.abort()


async def found(url: str, tls: ssl.SSLContext | None = TRUSTED) -> Finding:
    (finding,) = await check_url("websocket-url", url, now=time.time(), tls=tls)
    return finding


async def test_a_certificate_with_many_days_is_fine(tmp_path: Path) -> None:
    async with serving(tmp_path, make("127.0.0.1", ISSUER, to_days=90)) as port:
        finding = await found(f"wss://127.0.0.1:{port}/live")
    assert finding.verdict is Verdict.FINE
    assert finding.finding == "127.0.0.1 can be reached, and its certificate is valid for 89 days"


async def test_a_certificate_with_few_days_is_wrong_and_blocks_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, make("127.0.0.1", ISSUER, to_days=3)) as port:
        finding = await found(f"https://127.0.0.1:{port}/")
    assert (finding.verdict, finding.blocks) == (Verdict.WRONG, False)
    assert finding.finding.endswith("is valid for 2 days only")


@pytest.mark.parametrize(
    ("certificate", "problem"),
    [
        (make("127.0.0.1", ISSUER, from_days=-9, to_days=-1), "its certificate has expired"),
        (make("127.0.0.1"), "its certificate is self-signed"),
        (make("127.0.0.1", make("Another Authority", is_issuer=True)), "the issuer of its certificate is not known"),
        (make("app.example", ISSUER), "its certificate is for another name than 127.0.0.1"),
        (None, "it does not speak TLS"),
    ],
)
async def test_a_certificate_that_browsers_refuse_is_wrong(
    tmp_path: Path, certificate: Certificate | None, problem: str
) -> None:
    async with serving(tmp_path, certificate) as port:
        if certificate is None:
            finding = await _of_plain_server()
        else:
            finding = await found(f"wss://127.0.0.1:{port}/live")
    assert (finding.verdict, finding.blocks) == (Verdict.WRONG, True)
    assert finding.finding.startswith(f"127.0.0.1: {problem}")


async def _of_plain_server() -> Finding:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await found(f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/live")


async def test_our_own_authority_is_not_trusted_by_default(tmp_path: Path) -> None:
    async with serving(tmp_path, make("127.0.0.1", ISSUER)) as port:
        assert (await found(f"wss://127.0.0.1:{port}/live", None)).verdict is Verdict.WRONG


async def test_without_tls_only_this_machine_is_fine(tmp_path: Path) -> None:
    async with serving(tmp_path, None) as port:
        assert (await found(f"ws://127.0.0.1:{port}/live")).verdict is Verdict.FINE
    assert judge("websocket-url", "app.example", None, now=0).verdict is Verdict.WRONG


async def test_a_closed_port_is_wrong() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        finding = await found(f"ws://127.0.0.1:{port}/live")
    assert (finding.verdict, finding.blocks) == (Verdict.WRONG, True)
    assert finding.finding == f"127.0.0.1, port {port}: Connection refused"


async def test_a_name_that_does_not_exist_blocks() -> None:
    """Without a name server this machine cannot know, and reports that."""
    finding = await found("wss://slip-sockets.invalid/live")
    assert finding.finding.startswith("the name slip-sockets.invalid cannot be resolved: ")
    assert (finding.verdict is not Verdict.FINE, finding.blocks) == (True, True)


@pytest.mark.parametrize(
    ("errno", "verdict"), [(socket.EAI_NONAME, Verdict.WRONG), (socket.EAI_AGAIN, Verdict.UNKNOWN)]
)
async def test_a_name_server_that_is_away_is_not_a_name_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, errno: int, verdict: Verdict
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise socket.gaierror(errno, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    finding = await found("wss://app.example/live")
    assert (finding.verdict, finding.blocks) == (verdict, True)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Name resolution hangs until the test's end."""
    over = threading.Event()
    monkeypatch.setattr(reach, "CONNECT_S", 0.01)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait())
    yield
    over.set()


@pytest.mark.usefixtures("hanging")
async def test_a_name_server_that_hangs_does_not_hold_up_the_check() -> None:
    finding = await found("wss://app.example/live")
    assert (finding.verdict, finding.finding) == (Verdict.UNKNOWN, "no name server responds for app.example")


async def test_a_host_that_takes_a_connection_and_is_silent_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "CONNECT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        finding = await found(f"wss://127.0.0.1:{port}/live")
    assert (finding.verdict, finding.finding) == (
        Verdict.WRONG,
        f"127.0.0.1, port {port}: no connection within 0.1 s",
    )


async def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with serving(tmp_path, None) as port:
        real = socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
        broken = [(socket.AF_INET6, *real[0][1:4], ("::1", port, 0, 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: broken + real)
        assert (await found(f"ws://localhost:{port}/live")).verdict is Verdict.FINE


async def test_what_is_not_a_url_cannot_be_checked() -> None:
    with pytest.raises(CannotCheck):
        await found("app.example")


def test_the_last_day_that_is_enough() -> None:
    assert judge("x", "app.example", FEW_DAYS * DAY_S, now=0).verdict is Verdict.FINE
    assert judge("x", "app.example", FEW_DAYS * DAY_S - 1, now=0).verdict is Verdict.WRONG
