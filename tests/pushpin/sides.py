"""Pushpin and the development server, each in front of the same backend, and what is seen of them in a scene."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt
from aiohttp import WSMsgType, web

from slip_sockets.grip.framing import CONTENT_TYPE

from ..grip.backend import GripScript, Post

TIMEOUT_S = 20.0
HOST = "gateway"
SETTLING = "settling"
"""The query of a connection that is not the scene's own."""
OF_A_SIDE = {
    *("accept-encoding", "grip-feature"),
    *("x-amzn-trace-id", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"),
}
"""Headers of requests that say what a gateway can do, and those that API Gateway adds."""
PROBE = "probe"
"""The channel of a first subscription, the last control message of a reply: a publish can show that all were read.

Texts that begin so are not compared.
"""


@dataclass(frozen=True)
class Side:
    """`publish_url` has the path of the publish API. `key` and `issuer` are those of its Grip-Sig.

    `settle` waits until the backend has what it will be sent.
    """

    websocket_url: str
    publish_url: str
    key: str
    issuer: str
    settle: Callable[[], Awaitable[None]]
    has_binary: bool = False


Frame = tuple[str, object]
"""Its type and payload. CLOSE has code and reason; CUT is the end of the connection without a CLOSE."""

Handshake = tuple[int, str | None, dict[str, str]]
"""The response's status, subprotocol and headers that are not of the gateway."""


@dataclass
class Seen:
    """What clients, backend and publishers see in a scene.

    `frames` has those of each client, `posts` target, headers and body of each request, `published` status, type and
    body of each response.
    """

    handshakes: list[Handshake] = field(default_factory=list)
    frames: list[list[Frame]] = field(default_factory=list)
    posts: list[tuple[str, Mapping[str, object], bytes]] = field(default_factory=list)
    published: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def bodies(self) -> list[bytes]:
        return [body for _, _, body in self.posts]

    def parts(self) -> dict[str, object]:
        """Return what is seen, by a name for each part."""
        parts: dict[str, object] = {"bodies": self.bodies}
        parts |= {f"handshake {number}": handshake for number, handshake in enumerate(self.handshakes)}
        parts |= {f"frames {number}": frames for number, frames in enumerate(self.frames)}
        parts |= {f"published {number}": response for number, response in enumerate(self.published)}
        for number, (target, headers, _) in enumerate(self.posts):
            parts[f"post {number}"] = target
            parts |= {f"post {number}, {name}": value for name, value in headers.items()}
        return parts


class Client:
    """An open connection. Its pings and closes are the scene's own."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, frames: list[Frame]) -> None:
        self.websocket = websocket
        self._frames = frames
        self.reading = asyncio.create_task(self._read())
        self._has_changed = asyncio.Event()

    async def send(self, text: str) -> None:
        with suppress(ConnectionError):  # it may have been cut
            await self.websocket.send_str(text)

    async def until(self, *frame: object) -> None:
        """Wait for a frame. Raises AssertionError where the connection ends before."""
        async with asyncio.timeout(TIMEOUT_S):
            while frame not in self._frames:
                assert not self.reading.done(), f"{frame} did not come, but {self._frames}"
                await self._change()

    async def has_received(self, frame: Frame, within_s: float) -> bool:
        """Wait for a frame, or for the end of the connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while frame not in self._frames and not self.reading.done():
                    await self._change()
        return frame in self._frames or self.reading.done()

    async def ended(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await self.reading

    async def close(self, code: int = 1000, reason: bytes = b"") -> None:
        """Send a close frame, unless it has ended, and wait for the end."""
        if not self.reading.done():
            with suppress(ConnectionError):
                await self.websocket.send_frame(code.to_bytes(2) + reason, WSMsgType.CLOSE)
        await self.ended()

    def vanish(self) -> None:
        """Cut the connection, without a close frame."""
        self.websocket.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    async def _change(self) -> None:
        self._has_changed.clear()
        await self._has_changed.wait()

    async def _read(self) -> None:
        try:
            while True:
                message = await self.websocket.receive()
                match message.type:
                    case WSMsgType.CLOSE:
                        self._frames.append(("CLOSE", (message.data, message.extra)))
                        await self.websocket.close(code=message.data or 1000)
                        return
                    case WSMsgType.CLOSED | WSMsgType.CLOSING | WSMsgType.ERROR:
                        self._frames.append(("CUT", None))
                        return
                    case kind:
                        self._frames.append((kind.name, message.data))
                self._has_changed.set()
        finally:
            self._has_changed.set()


def respond(body: bytes = b"", status: int = 200, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, body=body, headers={"Content-Type": CONTENT_TYPE, **named})


async def echo(post: Post) -> web.Response:
    """Let all clients in, send each text back, and close as they do."""
    match post.events[0].type:
        case "OPEN":
            return respond(post.body, Sec_WebSocket_Extensions="grip")
        case "CLOSE":
            return respond(post.body)
        case "PING":
            return respond(post.body.replace(b"PING", b"PONG"))
        case _:
            return respond(
                b"".join(b"TEXT %x\r\nm:%b\r\n" % (len(each.encode()) + 2, each.encode()) for each in post.texts)
            )


class Stage:
    """A scene's means: clients and publishers at a side, in front of `backend`, with what is `seen` of it."""

    def __init__(self, side: Side, backend: GripScript, session: aiohttp.ClientSession) -> None:
        self.side = side
        self.backend = backend
        self.seen = Seen()
        self._session = session
        self.merges_texts = False
        """Whether the texts of requests one after another are compared as those of one."""
        self._clients: list[Client] = []
        backend.forget()

    async def connect(self, query: str = "", **options: Any) -> Client | None:
        """Return None where the client is refused."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                websocket = await self._session.ws_connect(
                    self.side.websocket_url + query, autoping=False, autoclose=False, max_msg_size=0, **options
                )
        except aiohttp.WSServerHandshakeError as error:
            self.seen.handshakes.append((error.status, None, _extra(error.headers or {})))
            return None
        self.seen.handshakes.append((101, websocket.protocol, _extra(websocket._response.headers)))
        frames: list[Frame] = []
        self.seen.frames.append(frames)
        self._clients.append(Client(websocket, frames))
        return self._clients[-1]

    async def publish(
        self,
        body: object,
        path: str = "publish/",
        method: str = "POST",
        *,
        chunked: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`body` is JSON, unless it is bytes."""
        async with self._session.request(
            method,
            self.side.publish_url + path,
            data=body if isinstance(body, bytes) else json.dumps(body).encode(),
            chunked=chunked or None,
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.side.key}", **(headers or {})},
        ) as response:
            kind = response.headers.get("Content-Type", "")
            self.seen.published.append((response.status, kind, await response.text()))

    async def heard(self, client: Client) -> None:
        """Wait until the backend has got the next texts, or the connection has ended."""
        post = asyncio.create_task(self.backend.next_post("TEXT"))
        await asyncio.wait((post, client.reading), timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        post.cancel()

    async def closed(self, client: Client) -> None:
        """Wait until the gateway has closed, and the backend has heard that the client did so too."""
        await client.ended()
        await self.backend.next_post("CLOSE")

    async def subscribed(self, client: Client, mark: str = "now", channel: str = PROBE) -> None:
        """Wait until the client's subscription to a probe has been made: Pushpin makes it some time after the reply."""
        before = list(self.seen.published)
        frame = ("TEXT", f"{PROBE} {mark}")
        async with asyncio.timeout(TIMEOUT_S):
            while not await client.has_received(frame, 0.05):
                item = {"channel": channel, "formats": {"ws-message": {"content": frame[1]}}}
                await self.publish({"items": [item]})
        self.seen.published[:] = before

    async def finish(self) -> None:
        """Close what is open, wait until the backend has heard of all, and collect what it has seen."""
        for client in self._clients:
            await client.close()
            await self.side.settle()  # or else a gateway may send the ends of two in any order
        await self.side.settle()
        for frames in self.seen.frames:
            frames[:] = [frame for frame in frames if not str(frame[1]).startswith(PROBE)]
        ids: dict[str, str] = {}
        posts = [post for post in self.backend.posts if not post.target.endswith(SETTLING)]
        for post in posts:
            ids.setdefault(post.connection_id, f"connection {len(ids) + 1}")
        self.seen.posts = [(post.target, self._headers(post, ids[post.connection_id]), post.body) for post in posts]
        if self.merges_texts:
            merged = b"".join(post.body for post in posts if post.texts)
            others = [post for post in self.seen.posts if not post[2].startswith(b"TEXT")]
            self.seen.posts = [("", {}, merged), *others]

    def _headers(self, post: Post, connection_id: str) -> dict[str, object]:
        """Return the headers that are compared, with what differs from run to run by its name."""
        headers: dict[str, object] = {}
        for name in sorted({name.lower() for name in post.headers} - OF_A_SIDE):
            headers[name] = post.headers.getall(name)
        assert headers.pop("content-length") == [str(len(post.body))]
        signature = post.headers["Grip-Sig"]
        claims = jwt.decode(signature, self.side.key, ["HS256"], issuer=self.side.issuer)
        headers["grip-sig"] = (jwt.get_unverified_header(signature), set(claims))
        headers["host"] = [re.sub(r"^127\.0\.0\.1:\d+$", HOST, host) for host in post.headers.getall("Host")]
        headers["connection-id"] = connection_id
        headers["sec-websocket-key"] = len(post.headers["Sec-WebSocket-Key"])
        return headers


def _extra(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("X-")}
