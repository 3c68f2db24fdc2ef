"""A client's socket at a development server, and at servers that are something else."""

from __future__ import annotations

import asyncio
import http
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from slip_sockets.client.outputs import Outputs
from slip_sockets.dev.server import DevServer, DevSettings
from slip_sockets.doctor import client_socket
from slip_sockets.doctor.client_socket import check_socket
from slip_sockets.doctor.findings import Finding, Verdict

from ..check.backends import SECRET, Handler, always, events, serving, taking
from .examined import settings


async def found(url: str, *logged: str, query: dict[str, Sequence[str]] | None = None) -> Finding:
    async def refusals(since: float) -> list[str]:
        return list(logged)

    (finding,) = await check_socket(settings(Outputs(websocket_url=url), query=query or {}), refusals)
    return finding


async def found_at(handler: Handler, **query: Sequence[str]) -> Finding:
    async with serving(handler) as url, DevServer(DevSettings(url, SECRET, port=0)) as server:
        return await found(server.websocket_url, query=query)


async def test_a_client_that_is_let_in_is_fine() -> None:
    finding = await found_at(taking())
    assert finding.verdict is Verdict.FINE
    assert finding.finding.startswith("the backend lets a client in, within ")


async def test_the_backend_gets_the_query() -> None:
    queries: list[object] = []
    assert (await found_at(taking(lambda c: queries.append(c.metadata["query"])), room=["tea", "milk"])).finding
    assert queries[0] == {"room": ["tea", "milk"]}


@pytest.mark.parametrize(
    ("handler", "status"),
    [
        (taking(lambda connection: events()), http.HTTPStatus.BAD_REQUEST),
        (always(status=403), http.HTTPStatus.INTERNAL_SERVER_ERROR),
        (always(text="not events"), http.HTTPStatus.BAD_REQUEST),
    ],
)
async def test_a_client_that_is_refused_is_wrong(handler: Handler, status: http.HTTPStatus) -> None:
    finding = await found_at(handler)
    assert (finding.verdict, finding.blocks) == (Verdict.WRONG, False)
    assert finding.finding.startswith(f"a client is refused with {status}: ")


async def test_what_the_functions_logged_is_shown() -> None:
    async with serving(always(status=500)) as url, DevServer(DevSettings(url, SECRET, port=0)) as server:
        finding = await found(server.websocket_url, "it responded with 500", "twice")
    assert finding.finding.endswith(". The log of that moment: it responded with 500; twice")


@asynccontextmanager
async def sending(data: bytes | None) -> AsyncIterator[str]:
    """Respond with `data` and close, with None never; yield the URL."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        if data is not None:
            writer.write(data)
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/live"
        for writer in writers:
            writer.transport.abort()


async def test_a_server_that_speaks_something_else_is_wrong() -> None:
    async with sending(b"220 mail.example\r\n") as url:
        finding = await found(url)
    assert finding.verdict is Verdict.WRONG
    assert finding.finding.startswith("a client's socket cannot be opened: ")


async def test_a_server_without_sockets_is_wrong() -> None:
    async with sending(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as url:
        finding = await found(url)
    assert finding.finding == "a client is refused with 200: that is not a status of this gateway"


async def test_a_server_that_does_not_respond_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_socket, "OPEN_TIMEOUT_S", 0.1)
    async with sending(None) as url:
        finding = await found(url)
    assert (finding.verdict, finding.finding) == (Verdict.WRONG, "API Gateway did not respond within 0.1 s")


async def test_no_log_is_read_where_no_function_was_called() -> None:
    async with sending(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n") as url:
        finding = await found(url, "a line about another client")
    assert finding.finding.startswith("a client is refused with 429: ")
    assert "log" not in finding.finding
