"""Servers that cannot prove who they are, or do not speak TLS: each has an error text that says what to do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from slip_sockets.gateway.errors import HttpFailure
from slip_sockets.http import pool
from slip_sockets.http.client import Client
from slip_sockets.http.tls import tls_context

from ..gateway.doubles import FakeClock
from .certificates import Certificate, client_context, make, server_context
from .raw_server import OK, Peer, RawServer, Script
from .requesting import IDLE_S, PATIENT, fails, get, post

ISSUER = make("Our Authority", is_issuer=True)
GOOD = make("127.0.0.1", ISSUER)


@pytest.fixture
async def client(clock: FakeClock) -> AsyncIterator[Client]:
    client = Client(clock, PATIENT, idle_s=IDLE_S, tls=client_context(ISSUER))
    yield client
    await client.aclose()


class TlsServer:
    """Responds to each request with `response`, as long as there is one."""

    def __init__(self) -> None:
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.response = OK

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self.response)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[tuple[TlsServer, str]]:
    server = TlsServer()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    async with listener:
        yield server, f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        for writer in server.writers:
            writer.transport.abort()


async def fails_with(client: Client, tmp_path: Path, certificate: Certificate, *chain: Certificate) -> str:
    async with serving(server_context(tmp_path / "server.pem", certificate, *chain)) as (server, url):
        failure, text = await fails(client, url)
        assert failure is HttpFailure.TLS
        assert server.connections == 0
        return text


# Servers that prove who they are


async def test_connection_is_kept(client: Client, tmp_path: Path) -> None:
    async with serving(server_context(tmp_path / "server.pem", GOOD)) as (server, url):
        for _ in range(3):
            assert (await post(client, url, b"")).body == b"hi"
        assert server.connections == 1


async def test_connection_that_ended_while_idle_costs_nothing(client: Client, tmp_path: Path) -> None:
    async with serving(server_context(tmp_path / "server.pem", GOOD)) as (server, url):
        await get(client, url)
        for is_repeatable in (True, False):
            raw = server.writers[-1].get_extra_info("socket")
            raw.shutdown(socket.SHUT_RDWR)
            assert (await get(client, url, is_repeatable=is_repeatable)).body == b"hi"
        assert server.connections == 3


async def test_large_response_is_read(client: Client, tmp_path: Path) -> None:
    async with serving(server_context(tmp_path / "server.pem", GOOD)) as (server, url):
        body = bytes(range(256)) * 4096
        server.response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        assert (await get(client, url)).body == body


async def test_name_is_looked_for_in_the_certificate(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    names: list[str] = []
    context = server_context(tmp_path / "server.pem", make("backend.example", ISSUER))
    context.sni_callback = lambda _, name, __: names.append(name)
    async with serving(context) as (_, url):
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        assert (await get(client, url.replace("127.0.0.1", "backend.example"))).body == b"hi"
    assert names == ["backend.example"]


async def test_certificates_that_browsers_take_are_taken_on_all_pythons(
    clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the context's default of Python 3.13, which refuses them."""
    issuer = make("A Company's Authority", is_issuer=True, is_strict=False)
    lax = make("127.0.0.1", issuer, is_strict=False)
    (tmp_path / "trusted.pem").write_bytes(issuer.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))

    def of_python_313() -> ssl.SSLContext:
        context = default_context()
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    default_context = ssl.create_default_context
    strict = Client(clock, PATIENT, idle_s=IDLE_S, tls=of_python_313())
    assert "its certificate is not valid" in await fails_with(strict, tmp_path, lax)
    monkeypatch.setattr(ssl, "create_default_context", of_python_313)
    ours = Client(clock, PATIENT, idle_s=IDLE_S, tls=tls_context.__wrapped__())
    monkeypatch.undo()
    async with serving(server_context(tmp_path / "server.pem", lax)) as (_, url):
        assert (await get(ours, url)).body == b"hi"
    for each in (strict, ours):
        await each.aclose()


# Certificates that are not valid


async def test_certificate_that_has_expired(client: Client, tmp_path: Path) -> None:
    certificate = make("127.0.0.1", ISSUER, from_days=-3, to_days=-1)
    text = "its certificate has expired. Renew that of 127.0.0.1"
    assert await fails_with(client, tmp_path, certificate) == text


async def test_certificate_that_is_not_valid_yet(client: Client, tmp_path: Path) -> None:
    certificate = make("127.0.0.1", ISSUER, from_days=1, to_days=3)
    text = "its certificate is not valid yet. Compare the clocks"
    assert await fails_with(client, tmp_path, certificate) == text


@pytest.mark.parametrize("name", ["127.0.0.2", "localhost"])
async def test_certificate_for_another_name(client: Client, tmp_path: Path, name: str) -> None:
    text = "its certificate is for another name than 127.0.0.1. Use the name that it has, or get one for 127.0.0.1"
    assert await fails_with(client, tmp_path, make(name, ISSUER)) == text


async def test_certificate_for_another_host(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(server_context(tmp_path / "server.pem", GOOD)) as (_, url):
        text = "its certificate is for another name than localhost. Use the name that it has, or get one for localhost"
        assert await fails(client, url.replace("127.0.0.1", "localhost")) == (HttpFailure.TLS, text)


async def test_certificate_of_an_unknown_issuer(client: Client, tmp_path: Path) -> None:
    certificate = make("127.0.0.1", make("Another Authority", is_issuer=True))
    text = (
        "the issuer of its certificate is not known here (unable to get local issuer certificate). "
        "Have 127.0.0.1 send the whole chain, of a public certificate authority"
    )
    assert await fails_with(client, tmp_path, certificate) == text


async def test_certificate_without_its_chain(client: Client, tmp_path: Path) -> None:
    between = make("Our Department", ISSUER, is_issuer=True)
    certificate = make("127.0.0.1", between)
    assert "send the whole chain" in await fails_with(client, tmp_path, certificate)
    async with serving(server_context(tmp_path / "server.pem", certificate, between)) as (_, url):
        assert (await get(client, url)).body == b"hi"


async def test_chain_of_an_unknown_authority(client: Client, tmp_path: Path) -> None:
    authority = make("Another Authority", is_issuer=True)
    text = (
        "the issuer of its certificate is not known here (self-signed certificate in certificate chain). "
        "Have 127.0.0.1 send the whole chain, of a public certificate authority"
    )
    assert await fails_with(client, tmp_path, make("127.0.0.1", authority), authority) == text


async def test_certificate_that_is_self_signed(client: Client, tmp_path: Path) -> None:
    text = "its certificate is self-signed. Give 127.0.0.1 one of a public certificate authority"
    assert await fails_with(client, tmp_path, make("127.0.0.1")) == text


async def test_certificate_of_an_issuer_that_is_not_one(client: Client, tmp_path: Path) -> None:
    not_an_issuer = make("somebody.example", ISSUER)
    text = await fails_with(client, tmp_path, make("127.0.0.1", not_an_issuer), not_an_issuer)
    assert text.startswith("its certificate is not valid: ")


async def test_system_certificates_are_trusted_without_a_context(clock: FakeClock, tmp_path: Path) -> None:
    client = Client(clock, PATIENT, idle_s=IDLE_S)
    assert "the issuer of its certificate is not known here" in await fails_with(client, tmp_path, GOOD)


# Servers that refuse TLS, or do not speak it


def sending(data: bytes, *, at_once: bool = False) -> Script:
    async def script(peer: Peer) -> None:
        if not at_once:
            await peer.receive()
        await peer.send(data)
        await peer.gone()

    return script


async def fails_at(client: Client, script: Script) -> tuple[HttpFailure, str]:
    async with RawServer(script) as server:
        return await fails(client, server.url.replace("http:", "https:"))


@pytest.mark.parametrize(
    "script",
    [
        sending(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        sending(b"<html>400 The plain HTTP request was sent to HTTPS port</html>"),
        sending(b"SSH-2.0-OpenSSH_9.6\r\n", at_once=True),
        sending(b"220 mail.example ESMTP\r\n", at_once=True),
        sending(bytes(100)),
    ],
    ids=["HTTP", "HTML", "SSH", "SMTP", "zeros"],
)
async def test_server_that_does_not_speak_tls(client: Client, script: Script) -> None:
    text = "it does not speak TLS. If it speaks http, begin its URL with http://"
    assert await fails_at(client, script) == (HttpFailure.TLS, text)


@pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["closed", "reset"])
@pytest.mark.parametrize("begun", [b"", bytes.fromhex("160303007a0200007603")], ids=["nothing", "half a hello"])
async def test_server_that_breaks_off_the_handshake(client: Client, begun: bytes, end: Callable[[Peer], None]) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send(begun)
        end(peer)

    text = "it breaks off the TLS handshake. Does it speak TLS at this port?"
    assert await fails_at(client, script) == (HttpFailure.UNREACHABLE, text)


@pytest.mark.parametrize(
    ("alert", "reason"), [(40, "SSLV3_ALERT_HANDSHAKE_FAILURE"), (70, "TLSV1_ALERT_PROTOCOL_VERSION")]
)
async def test_server_that_refuses_the_handshake(client: Client, alert: int, reason: str) -> None:
    text = f"it refuses the TLS handshake ({reason}). Is its TLS older than 1.2, or does it ask for a certificate?"
    assert await fails_at(client, sending(bytes([21, 3, 3, 0, 2, 2, alert]))) == (HttpFailure.TLS, text)


async def test_server_of_an_old_tls(client: Client) -> None:
    hello = bytes([2, 0, 0, 38, 3, 1]) + bytes(32) + bytes([0, 0xC0, 0x13, 0])
    text = (
        "it refuses the TLS handshake (UNSUPPORTED_PROTOCOL). "
        "Is its TLS older than 1.2, or does it ask for a certificate?"
    )
    assert await fails_at(client, sending(bytes([22, 3, 1, 0, len(hello)]) + hello)) == (HttpFailure.TLS, text)


async def test_server_with_other_faults_in_its_handshake(client: Client) -> None:
    failure, text = await fails_at(client, sending(bytes([22, 3, 3, 0, 4, 2, 0, 0, 0])))
    assert failure is HttpFailure.TLS
    assert text == "TLS fails: LENGTH_MISMATCH"


async def test_server_that_does_not_know_the_name(client: Client) -> None:
    failure, text = await fails_at(client, sending(bytes([21, 3, 3, 0, 2, 2, 112])))
    assert failure is HttpFailure.TLS
    assert text.startswith("it has no certificate for 127.0.0.1 (")
    assert text.endswith("). Use a name that it has one for")


def asking_for_a_certificate(context: ssl.SSLContext) -> Script:
    """Unlike asyncio's server, it sends the alert for which it breaks off."""
    context.verify_mode = ssl.CERT_REQUIRED

    async def script(peer: Peer) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await peer.send(outgoing.read())
                incoming.write(await peer.receive())
            except ssl.SSLError:
                await peer.send(outgoing.read())
                await peer.gone()
                return

    return script


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (ssl.TLSVersion.TLSv1_2, "SSLV3_ALERT_HANDSHAKE_FAILURE"),
        (ssl.TLSVersion.TLSv1_3, "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
    ],
    ids=["TLS 1.2", "TLS 1.3"],
)
async def test_server_that_asks_for_a_certificate(
    client: Client, tmp_path: Path, version: ssl.TLSVersion, reason: str
) -> None:
    """With TLS 1.3 it refuses after the client's part of the handshake, when the request is on its way."""
    context = server_context(tmp_path / "server.pem", GOOD)
    context.minimum_version = context.maximum_version = version
    text = f"it refuses the TLS handshake ({reason}). Is its TLS older than 1.2, or does it ask for a certificate?"
    assert await fails_at(client, asking_for_a_certificate(context)) == (HttpFailure.TLS, text)


async def test_https_is_refused_where_http_is_meant(client: Client, tmp_path: Path) -> None:
    async with serving(server_context(tmp_path / "server.pem", GOOD)) as (_, url):
        failure, _ = await fails(client, url.replace("https:", "http:"))
    assert failure in (HttpFailure.NOT_HTTP, HttpFailure.BROKEN_OFF)


async def test_certificate_that_is_not_valid_is_not_tried_at_other_addresses(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.1", "127.0.0.2")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(pool, "LEAST_ADDRESS_S", 20)
    async with serving(server_context(tmp_path / "server.pem", make("127.0.0.1"))) as (_, url):
        port = int(url.rpartition(":")[2].strip("/"))
        async with RawServer(Peer.gone, "127.0.0.2", port) as other:
            failure, _ = await fails(client, url.replace("127.0.0.1", "backend.example"))
            assert failure is HttpFailure.TLS
            assert other.peers == []
