"""API Gateway for a laptop: sockets become events for a function, its responses become what happens on the socket.

The function decides. The edge does by itself what API Gateway does by itself: limits, the management API, and the error
message for a client when a function has failed.
"""

from __future__ import annotations

import asyncio
import http
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from websockets.frames import CloseCode
from websockets.http11 import Request

from ..apigateway import limits
from ..apigateway.connection_ids import has_usual_form, new_connection_id
from ..apigateway.requests import ApiIdentity, ProxyEvent, ProxyResponse
from ..apigateway.socket_events import Client, connect_event, disconnect_event, message_event
from .websocket import WebSocket, text_frame

log = logging.getLogger("slip_sockets.dev")

Function = Callable[[ProxyEvent], Awaitable[ProxyResponse]]
"""The Lambda function behind an event's route. It may raise: an IntegrationError has the message for the client; any
other error means that the function failed."""

MAX_CONCURRENT_TEXTS = 16
"""Texts of one connection that the function handles at once, if nothing else is set; no more is read from it until one
is done."""
WARNED_BEFORE_S = 30.0
"""How long before a socket's end the log says so; of a short limit it is a quarter."""


@dataclass(frozen=True, slots=True)
class Limits:
    """API Gateway's quotas."""

    idle_timeout_s: float = limits.IDLE_TIMEOUT_S
    max_duration_s: float = limits.MAX_CONNECTION_S
    integration_timeout_s: float = limits.INTEGRATION_TIMEOUT_S
    max_message_bytes: int = limits.MAX_MESSAGE_BYTES
    max_frame_bytes: int = limits.MAX_FRAME_BYTES


class IntegrationError(Exception):
    """API Gateway's own response to a client where there is no function to call, or none that it may call."""

    def __init__(self, status: http.HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class ManagementError(Exception):
    """An error response of the management API: an HTTP status, and the error's name in AWS."""

    def __init__(self, status: http.HTTPStatus, name: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.name = name


@dataclass(slots=True, eq=False)
class _Peer:
    """A connection from its handshake on."""

    client: Client
    socket: WebSocket
    waiting: deque[str] = field(default_factory=deque)
    in_flight: int = 0
    closed: tuple[int, str] | None = None
    """Code and reason, while its texts in flight delay its $disconnect."""
    limit: asyncio.TimerHandle | None = None
    warned_of: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """The response to a GET of the management API. Times are Unix seconds."""

    connected_at: float
    last_active_at: float
    source_ip: str
    user_agent: str | None


class Edge:
    """One WebSocket API. `function` gets the events of all routes; clients connect at `path`, others are forbidden.

    With `max_concurrent_texts` 1 the function gets a connection's texts in order, and its $disconnect after them.

    Use it inside a running event loop.
    """

    def __init__(self, function: Function, api: ApiIdentity, limits: Limits, *, path: str = "/") -> None:
        self.max_concurrent_texts = MAX_CONCURRENT_TEXTS
        """May change at any time: it also counts for the texts that wait."""
        self._path = path
        self._function = function
        self._api = api
        self._limits = limits
        self._peers: dict[str, _Peer] = {}
        self._peer_of: dict[WebSocket, _Peer] = {}
        self._sockets: set[WebSocket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    def new_socket(self) -> WebSocket:
        """Return the protocol for the TCP connection of a client that asks for a WebSocket."""
        limits = self._limits
        return WebSocket(self, max_message_bytes=limits.max_message_bytes, max_frame_bytes=limits.max_frame_bytes)

    @property
    def connection_ids(self) -> list[str]:
        """The open connections."""
        return list(self._peers)

    async def aclose(self, patience_s: float) -> None:
        """Close all sockets (1001), call the function for each, and wait for it, at most `patience_s` seconds."""
        self._is_stopping = True
        for peer in list(self._peers.values()):
            peer.socket.close(CloseCode.GOING_AWAY)
        await self.settle(patience_s)
        late = list(self._tasks)
        for task in late:
            task.cancel()
        if late:
            log.warning("the function was still handling %d events when the server stopped", len(late))
            await asyncio.gather(*late, return_exceptions=True)
        for socket in self._sockets:
            socket.abort()

    async def settle(self, patience_s: float) -> None:
        """Wait until the function handles no event, at most `patience_s` seconds."""
        deadline = time.monotonic() + patience_s
        while self._tasks and (left_s := deadline - time.monotonic()) > 0:  # a task may start another
            await asyncio.wait(self._tasks, timeout=left_s)

    def respond(self, connection_id: str, text: str) -> None:
        """Send a text that API Gateway responds to a message with, if the client is still there."""
        peer = self._peers.get(connection_id)
        if peer is not None and peer.socket.is_open:
            peer.socket.send(text_frame(text))

    # The management API

    def post(self, connection_id: str, frame: bytes) -> None:
        """Send a frame (from `text_frame`) to a connection. Raises ManagementError."""
        socket = self._open_peer(connection_id).socket
        if not socket.is_writable:
            raise ManagementError(
                http.HTTPStatus.TOO_MANY_REQUESTS, "LimitExceededException", "the client's buffer is full"
            )
        socket.send(frame)

    def delete(self, connection_id: str) -> None:
        """Close a connection; its client sees 1000. Raises ManagementError."""
        self._open_peer(connection_id).socket.close(CloseCode.NORMAL_CLOSURE)

    def get(self, connection_id: str) -> ConnectionState:
        """Raises ManagementError."""
        peer = self._open_peer(connection_id)
        idle_s = asyncio.get_running_loop().time() - peer.socket.last_active_at
        client = peer.client
        return ConnectionState(client.connected_at, time.time() - idle_s, client.source_ip, client.user_agent)

    def _open_peer(self, connection_id: str) -> _Peer:
        peer = self._peers.get(connection_id)
        if peer is None:
            if has_usual_form(connection_id):
                raise ManagementError(http.HTTPStatus.GONE, "GoneException", "the connection is not open")
            raise ManagementError(http.HTTPStatus.BAD_REQUEST, "BadRequestException", "Invalid connectionId")
        return peer

    # websocket.Listener

    def on_handshake(self, socket: WebSocket, request: Request) -> None:
        self._sockets.add(socket)
        self._start(self._connect(socket, request))

    def on_text(self, socket: WebSocket, text: str) -> None:
        peer = self._peer_of[socket]
        if peer.in_flight < self.max_concurrent_texts and not peer.waiting:
            peer.in_flight += 1
            self._start(self._deliver_texts(peer, text))
        else:
            peer.waiting.append(text)
            socket.pause_reading()

    def on_closed(self, socket: WebSocket, code: int, reason: str) -> None:
        peer = self._peer_of.pop(socket)
        if socket.is_over_limit:
            message = "it was closed with 1009: a frame has %s at most, a message %s. Send less at once"
            self._warn(peer, message, _size(self._limits.max_frame_bytes), _size(self._limits.max_message_bytes))
        del self._peers[peer.client.connection_id]
        if peer.limit is not None:
            peer.limit.cancel()
        if peer.in_flight and self.max_concurrent_texts == 1:
            peer.closed = (code, reason)
        else:
            self._start(self._disconnect(peer, code, reason))

    def on_lost(self, socket: WebSocket) -> None:
        self._sockets.discard(socket)

    # Events for the function, and what its responses do

    async def _connect(self, socket: WebSocket, request: Request) -> None:
        headers = list(request.headers.raw_items())
        client = Client(self._api, new_connection_id(), time.time(), socket.peer_ip, request.headers.get("User-Agent"))
        if request.path.partition("?")[0] != self._path:
            socket.reject(http.HTTPStatus.FORBIDDEN, _JSON, json.dumps({"message": "Forbidden"}))
            return
        event = connect_event(client, request.path, headers)
        try:
            async with asyncio.timeout(self._limits.integration_timeout_s):
                response = await self._function(event)
            status = http.HTTPStatus(int(response["statusCode"]))
        except TimeoutError:
            log.warning(
                "connection %s: $connect took over %g s", client.connection_id, self._limits.integration_timeout_s
            )
            socket.reject(http.HTTPStatus.GATEWAY_TIMEOUT, _JSON, _failure(event))
            return
        except IntegrationError as error:
            log.warning("connection %s: $connect: %s", client.connection_id, error)
            socket.reject(error.status, _JSON, _failure(event, str(error)))
            return
        except Exception:
            log.exception("connection %s: $connect failed", client.connection_id)
            socket.reject(http.HTTPStatus.BAD_GATEWAY, _JSON, _failure(event))
            return
        if not 200 <= status < 300:
            socket.reject(status, _JSON, _failure(event) if status >= 500 else "")
            return
        peer = _Peer(client, socket)
        subprotocol = (response.get("headers") or {}).get("Sec-WebSocket-Protocol")
        self._peers[client.connection_id] = peer
        self._peer_of[socket] = peer
        socket.accept(subprotocol)
        if self._is_stopping:
            socket.close(CloseCode.GOING_AWAY)
        else:
            self._arm(peer)

    async def _deliver_texts(self, peer: _Peer, text: str) -> None:
        """Hand `text` to the function, then the waiting texts, one after another; last a $disconnect that waits."""
        while True:
            await self._message(peer, text)
            if not peer.waiting or peer.in_flight > self.max_concurrent_texts:
                break
            text = peer.waiting.popleft()
            if not peer.waiting:
                peer.socket.resume_reading()
        peer.in_flight -= 1
        if peer.closed is not None and not peer.in_flight:
            await self._disconnect(peer, *peer.closed)

    async def _message(self, peer: _Peer, text: str) -> None:
        event = message_event(peer.client, text)
        failure = _failure(event)
        try:
            async with asyncio.timeout(self._limits.integration_timeout_s):
                await self._function(event)
            return
        except IntegrationError as error:
            log.warning("connection %s: a text: %s", peer.client.connection_id, error)
            failure = _failure(event, str(error))
        except TimeoutError:
            log.warning(
                "connection %s: a text took over %g s", peer.client.connection_id, self._limits.integration_timeout_s
            )
        except Exception:
            log.exception("connection %s: the function failed on a text", peer.client.connection_id)
        self.respond(peer.client.connection_id, failure)

    async def _disconnect(self, peer: _Peer, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(self._limits.integration_timeout_s):
                await self._function(disconnect_event(peer.client, code, reason))
        except IntegrationError as error:
            log.warning("connection %s: $disconnect: %s", peer.client.connection_id, error)
        except TimeoutError:
            log.warning("connection %s: $disconnect took too long", peer.client.connection_id)
        except Exception:
            log.exception("connection %s: $disconnect failed", peer.client.connection_id)

    # Idle and total time

    def _arm(self, peer: _Peer) -> None:
        """Close the socket if one of its two limits has passed; otherwise check again when something is due.

        Some time before a limit passes there is a line in the log, once for each.
        """
        loop = asyncio.get_running_loop()
        limits = self._limits
        total_left_s = peer.client.connected_at + limits.max_duration_s - time.time()
        idle_left_s = peer.socket.last_active_at + limits.idle_timeout_s - loop.time()
        left_s = min(total_left_s, idle_left_s)
        if left_s <= 0:
            peer.socket.close(CloseCode.GOING_AWAY, "Going away")
            return
        for text, limit_s, its_left_s in (
            (_NEAR_IDLE_END, limits.idle_timeout_s, idle_left_s),
            (_NEAR_END, limits.max_duration_s, total_left_s),
        ):
            early_s = its_left_s - min(WARNED_BEFORE_S, limit_s / 4)
            if text in peer.warned_of:
                continue
            if early_s > 0:
                left_s = min(left_s, early_s)
            else:
                peer.warned_of.add(text)
                self._warn(peer, text, its_left_s, limit_s)
        peer.limit = loop.call_later(left_s, self._arm, peer)

    def _warn(self, peer: _Peer, text: str, *values: object) -> None:
        """Log a line about a connection. It is about no event: the inspector finds the connection in `extra`."""
        connection_id = peer.client.connection_id
        log.warning("connection %s: %s", connection_id, text % values, extra={"connection_id": connection_id})

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_NEAR_IDLE_END = (
    "it is closed in %.3g s unless a text comes: API Gateway closes a socket without a text for %g s; ping "
    "frames do not count. Send one in time, as slip-sockets.js does"
)
_NEAR_END = (
    "it is closed in %.3g s: API Gateway closes every socket after %g s. Open another in time, as slip-sockets.js does"
)
_JSON = {"Content-Type": "application/json"}


def _failure(event: ProxyEvent, message: str = "Internal server error") -> str:
    context = event["requestContext"]
    body = {"message": message, "connectionId": context["connectionId"], "requestId": context["requestId"]}
    return json.dumps(body)


def _size(size_bytes: int) -> str:
    return f"{size_bytes} bytes" if size_bytes % 1024 else f"{size_bytes // 1024} KB"
