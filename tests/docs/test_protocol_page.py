"""The examples of docs/protocol.md, repeated with the development server.

The bytes of a client, a backend and a publisher are sent as the page shows them; those of the gateway must be what the
page shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import get_args

import jwt
import msgspec
import pytest

from slip_sockets.dev.server import DevServer
from slip_sockets.protocol.events import ControlEvent, ReplyEvent, SocketEvent
from slip_sockets.protocol.tokens import mint, verify

from ..conftest import SECRET
from ..contract.raw import CLOSE, TEXT, RawClient, frame, raw_client
from ..contract.wire import TIMEOUT_S, running
from .markdown import Block, Page

PAGE = Page("docs/protocol.md")
BLOCKS = [replace(block, text=block.text.removesuffix("\n")) for block in PAGE.blocks if block.language is not None]
CONVERSATION = [block for block in BLOCKS if block.language in ("http", "text")]

IDS = ("Wocw57a8PaFooIE=", "Jx3fQdLmAbCkYcE=", "Ym4sQeTuVkAaCxQ=")
ID = r"[A-Za-z0-9_-]{15}="
EPOCH = "k3J9mQ2x"
LEARNT = {**{name: (f"id{number}", ID) for number, name in enumerate(IDS)}, EPOCH: ("epoch", r"[A-Za-z0-9]{8}")}
"""What is the same from its first place on: the name of its group, and its pattern."""
DIFFERENT_EACH_TIME = {
    "EVENT_TOKEN": r"(?P<token>[\w-]+\.[\w-]+\.[\w-]+)",
    "Root=1-6b06c26c-34048f42ad1faaff60d14e2f": r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}",
    "Python/3.11 aiohttp/3.14.5": r"Python/3\.\d+ aiohttp/[\d.]+",
    "1795605100123": r"\d{13}",
    "Wed, 25 Nov 2026 11:11:40 GMT": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
}
ADDRESSES = ("127.0.0.1:8787", "8787", "127.0.0.1:8000")
VARIABLE = (*ADDRESSES, *LEARNT, *DIFFERENT_EACH_TIME, "CONTROL_TOKEN")
_SPLIT = re.compile("(" + "|".join(re.escape(name) for name in sorted(VARIABLE, key=len, reverse=True)) + ")")
_LENGTH = re.compile(r"^Content-Length: (\d+)$", re.MULTILINE)


class Received:
    """One request that the backend received, and the way to respond to it."""

    def __init__(self, request: str, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self._writer = writer

    async def respond(self, response: bytes) -> None:
        self._writer.write(response)
        await self._writer.drain()


@asynccontextmanager
async def listening_backend() -> AsyncIterator[tuple[str, asyncio.Queue[Received]]]:
    """A backend that reads requests byte by byte, and responds when the test does."""
    received: asyncio.Queue[Received] = asyncio.Queue()
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                received.put_nowait(Received(await read_http(reader), writer))
        writer.transport.abort()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(serve(reader, writer)))

    listener = await asyncio.start_server(start, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}", received
    finally:
        listener.close()
        for handler in handlers:  # from Python 3.12 on, the listener waits for them
            handler.cancel()
        await listener.wait_closed()


async def read_http(reader: asyncio.StreamReader) -> str:
    """Return a whole request or response."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"^content-length: (\d+)\r$", head.lower(), re.MULTILINE)
    return (head + await reader.readexactly(int(length[1]) if length else 0)).decode()


class Conversation:
    """Plays the page's blocks one after another. A response is that to the last request that has none yet."""

    def __init__(
        self, server: DevServer, backend: str, received: asyncio.Queue[Received], stack: AsyncExitStack
    ) -> None:
        self._server = server
        self._received = received
        self._stack = stack
        self._client: RawClient
        self.open_requests: list[Received | RawClient | asyncio.StreamReader] = []
        self._known = {
            "127.0.0.1:8787": f"127.0.0.1:{server.port}",
            "8787": str(server.port),
            "127.0.0.1:8000": backend,
        }

    async def play(self, block: Block) -> None:
        if block.language == "text":
            for line in block.text.splitlines():
                await self._play_line(line)
        elif block.text.startswith("GET "):
            self._client = await self._stack.enter_async_context(raw_client(self._server))
            self._client.send(self._to_send(block.text))
            self.open_requests.append(self._client)
        elif block.text.startswith("POST /slip "):
            received = await self._received.get()
            self._compare(block.text, received.request)
            self.open_requests.append(received)
        elif block.text.startswith("POST /control "):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
            self._stack.callback(writer.close)  # and keeps the writer: without it the connection would end
            writer.write(self._to_send(block.text))
            self.open_requests.append(reader)
        else:
            assert block.text.startswith("HTTP/1.1 "), block.text
            await self._play_response(block.text)

    async def _play_response(self, shown: str) -> None:
        match self.open_requests.pop():
            case Received() as received:
                await received.respond(self._to_send(shown))
            case RawClient() as client:
                _, head = await client.read_head()
                self._compare(shown, head.decode())
            case asyncio.StreamReader() as reader:
                self._compare(shown, await read_http(reader))

    async def _play_line(self, line: str) -> None:
        what, _, data = line.partition(": ")
        match what:
            case "the client sends":
                self._client.send(frame(TEXT, self._real(data).encode()))
            case "the client receives":
                kind, sent = await self._client.read_frame()
                assert kind == TEXT
                self._learn(self._match(data, sent.decode()))
            case "the client closes":
                self._client.send(frame(CLOSE, int(data).to_bytes(2)))
            case _:
                raise AssertionError(line)

    def _to_send(self, shown: str) -> bytes:
        head, body = parts(self._real(shown))
        head = _LENGTH.sub(f"Content-Length: {len(body.encode())}", head)
        return (head.replace("\n", "\r\n") + "\r\n\r\n" + body).encode()

    def _real(self, shown: str) -> str:
        real = {
            **self._known,
            "EVENT_TOKEN": mint("WebSocketEvent", SECRET),
            "CONTROL_TOKEN": mint("ControlEvent", SECRET),
        }
        return "".join(real.get(piece, piece) for piece in _SPLIT.split(shown))

    def _compare(self, shown: str, sent: str) -> None:
        (head, body), (sent_head, _, sent_body) = parts(shown), sent.partition("\r\n\r\n")
        head, sent_head = (
            _LENGTH.sub("Content-Length: its own", one) for one in (head, sent_head.replace("\r\n", "\n"))
        )
        found = self._match(head, sent_head)
        if "EVENT_TOKEN" in head:
            verify(found["token"], "WebSocketEvent", [SECRET])
        self._learn(self._match(body, sent_body))

    def _match(self, shown: str, sent: str) -> re.Match[str]:
        found = re.fullmatch("".join(self._patterns(shown)), sent)
        assert found, f"shown:\n{shown}\nsent:\n{sent}"
        return found

    def _learn(self, found: re.Match[str]) -> None:
        for name, real in found.groupdict().items():
            (shown,) = (shown for shown, (group, _) in LEARNT.items() if group == name)
            self._known[shown] = real

    def _patterns(self, shown: str) -> Iterable[str]:
        """Yield a regular expression piece by piece. What is in LEARNT is learnt where it stands first."""
        learnt: set[str] = set()
        for piece in _SPLIT.split(shown):
            if piece in self._known:
                yield re.escape(self._known[piece])
            elif piece in LEARNT:
                name, pattern = LEARNT[piece]
                yield f"(?P={name})" if piece in learnt else f"(?P<{name}>{pattern})"
                learnt.add(piece)
            else:
                yield DIFFERENT_EACH_TIME.get(piece) or re.escape(piece)


def parts(message: str) -> tuple[str, str]:
    """Return head and body of a message as the page shows it."""
    head, _, body = message.rstrip("\n").partition("\n\n")
    return head, body


async def test_the_examples_are_what_goes_over_the_wire() -> None:
    async with (
        asyncio.timeout(3 * TIMEOUT_S),
        listening_backend() as (backend, received),
        running(f"http://{backend}/slip") as server,
        AsyncExitStack() as stack,
    ):
        conversation = Conversation(server, backend, received, stack)
        for block in CONVERSATION:
            await conversation.play(block)
        assert received.empty()
        assert conversation.open_requests == []


def test_there_are_examples_of_every_kind() -> None:
    beginnings = {block.text.split(" ")[0] for block in CONVERSATION if block.language == "http"}
    assert beginnings == {"GET", "POST", "HTTP/1.1"}
    assert {block.language for block in BLOCKS} == {"http", "text", "jwt", "json"}


@pytest.mark.parametrize("block", [b for b in CONVERSATION if "Content-Length: " in b.text], ids=lambda b: b.heading)
def test_the_lengths_are_right(block: Block) -> None:
    head, body = parts(block.text)
    assert _LENGTH.findall(head) == [str(len(body.encode()))]


def test_the_page_names_the_parts_that_differ_each_time() -> None:
    named = [code for row in PAGE.rows("The examples") for code in row[0].code]
    assert sorted(named) == sorted([*VARIABLE, "Content-Length"])


def test_the_token_is_one() -> None:
    ((token,), (shown,)) = ([b.text for b in BLOCKS if b.language == language] for language in ("jwt", "json"))
    head, claims = map(json.loads, shown.splitlines())
    assert token == mint("WebSocketEvent", "change-me", now=claims["iat"])
    assert jwt.get_unverified_header(token) == head
    assert jwt.decode(token, options={"verify_signature": False}) == claims


@pytest.mark.parametrize(
    ("heading", "kinds"),
    [
        ("The request to your backend", get_args(SocketEvent)),
        ("Your backend's response", get_args(ReplyEvent)),
        ("The control API", [kind for kind in get_args(ControlEvent) if kind not in get_args(ReplyEvent)]),
    ],
)
def test_each_event_is_there_with_its_fields(heading: str, kinds: Iterable[type[msgspec.Struct]]) -> None:
    """A field that may be left out has a question mark after it, or its row says so."""
    shown = {}
    for first, fields, *_ in PAGE.rows(heading):
        if first.text == ", ".join(first.code) and all(re.fullmatch("[A-Z_]+", name) for name in first.code):
            for name in first.code:
                shown[name] = {"connectionId"} | {code for code in fields.code if re.fullmatch("[a-zA-Z]+", code)}
                if name in ("PUBLISH_TEXT", "CLOSE_CHANNEL", "HISTORY", "PRESENCE", "OCCUPIED", "VACATED"):
                    shown[name].remove("connectionId")
    assert shown == {kind.__struct_config__.tag: set(kind.__struct_encode_fields__) for kind in kinds}
