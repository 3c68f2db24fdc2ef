"""The load: WebSocket clients on plain sockets and one selector.

It must cost little beside the servers that it measures. So frames are not parsed: their length is known, and received
bytes are counted. Only what the first client receives is compared with what was published, to check the count.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from .errors import BenchError
from .publishing import LoadPublisher, PublishRequest

_RECEIVE_BYTES = 256 * 1024
_HANDSHAKES_AT_ONCE = 50
PATIENCE_S = 5.0
"""Without a byte for this long, the missing messages count as lost."""
_MASK = bytes.fromhex("5a17c3e9")


def client_frame(payload: bytes) -> bytes:
    """Return a masked text frame, of at most 125 bytes of payload."""
    if len(payload) > 125:
        raise ValueError("a payload of more than 125 bytes needs a longer header")
    masked = bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(payload))
    return bytes((0x81, 0x80 | len(payload))) + _MASK + masked


def server_frame(payload: bytes) -> bytes:
    """Return a text frame as a server sends it."""
    size = len(payload)
    return (bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")) + payload


@dataclass(frozen=True, slots=True)
class Echoes:
    """`latencies_s` are those of all round trips."""

    latencies_s: Sequence[float]
    seconds: float

    @property
    def round_trips(self) -> int:
        return len(self.latencies_s)


@dataclass(frozen=True, slots=True)
class Deliveries:
    """`arrived` of `expected` deliveries, the last of them after `seconds`."""

    arrived: int
    expected: int
    seconds: float


@dataclass(slots=True, eq=False)
class _Client:
    socket: socket.socket
    missing: int = 0
    """Bytes of the echo that are still to come."""
    sent_at: float = 0.0


class Clients:
    """`count` open WebSockets to a server on this machine."""

    def __init__(self, port: int, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._clients: list[_Client] = []
        try:
            while len(self._clients) < count:
                self._open(port, min(_HANDSHAKES_AT_ONCE, count - len(self._clients)))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Clients:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all sockets, without a close frame."""
        self._selector.close()
        for client in self._clients:
            client.socket.close()

    def echo(self, payload: bytes, *, seconds: float) -> Echoes:
        """Have each client send `payload`, wait for its echo and send again, for `seconds`."""
        request, reply_bytes = client_frame(payload), len(server_frame(payload))
        start = now = time.perf_counter()
        for client in self._clients:
            client.socket.sendall(request)
            client.missing, client.sent_at = reply_bytes, time.perf_counter()
        latencies_s: list[float] = []
        waiting = len(self._clients)
        while waiting:
            for client in self._readable(PATIENCE_S):
                client.missing -= self._receive(client)
                if client.missing < 0:
                    raise BenchError("a client received more than its echo")
                if client.missing == 0:
                    arrived_at = time.perf_counter()
                    latencies_s.append(arrived_at - client.sent_at)
                    if now - start < seconds:
                        client.missing, client.sent_at = reply_bytes, arrived_at
                        client.socket.sendall(request)
                    else:
                        waiting -= 1
            now = time.perf_counter()
        return Echoes(latencies_s, now - start)

    def stream(self, payload: bytes, *, window: int, seconds: float) -> float:
        """Have the first client send `payload` with `window` echoes outstanding; return the echoes a second."""
        client, request, reply_bytes = self._clients[0], client_frame(payload), len(server_frame(payload))
        client.socket.sendall(request * window)
        sent, received = window, 0
        start = now = time.perf_counter()
        while received < sent * reply_bytes:
            self._readable(PATIENCE_S)
            received += self._receive(client)
            now = time.perf_counter()
            if now - start < seconds and (free := window - sent + received // reply_bytes):
                client.socket.sendall(request * free)
                sent += free
        return sent / (now - start)

    def send(self, payload: bytes) -> None:
        """Have each client send `payload`, and wait for nothing."""
        for client in self._clients:
            client.socket.sendall(client_frame(payload))

    def fan_out(self, request: PublishRequest, *, publishers: int, window: int, seconds: float) -> Deliveries:
        """Publish for `seconds` from several connections and receive until everything has arrived.

        At most `window` messages are in flight: published, and not yet received by all clients, by the sum of bytes.
        Every server gets the same load by it, and does not have to drop messages.
        """
        frame_bytes = len(server_frame(request.message(0)))
        round_bytes = frame_bytes * len(self._clients)
        watched, stream = self._clients[0], bytearray()
        posting = [LoadPublisher(self._selector, request) for _ in range(publishers)]
        published = received = 0
        start = now = last = time.perf_counter()
        while now - last < PATIENCE_S:
            if now - start < seconds:
                for publisher in posting:
                    if publisher.is_idle and published - received // round_bytes < window:
                        publisher.publish(published)
                        published += 1
            elif received == published * round_bytes and all(publisher.is_idle for publisher in posting):
                break
            for key, _ in self._selector.select(PATIENCE_S):
                source = key.data
                if isinstance(source, LoadPublisher):
                    source.on_readable()
                    continue
                size = self._receive(source)
                received += size
                if source is watched:
                    stream += memoryview(self._buffer)[:size]
                last = time.perf_counter()
            now = time.perf_counter()
        for publisher in posting:
            publisher.close()
        _check(stream, frame_bytes, [request.message(number) for number in range(published)])
        arrived, rest = divmod(received, frame_bytes)
        if rest or arrived > published * len(self._clients):
            raise BenchError(f"received {received} bytes, which is not a number of published messages")
        return Deliveries(arrived, published * len(self._clients), last - start)

    def _readable(self, timeout_s: float) -> list[_Client]:
        ready = self._selector.select(timeout_s)
        if not ready:
            raise BenchError(f"nothing arrived for {timeout_s:g} s")
        return [key.data for key, _ in ready]

    def _receive(self, client: _Client) -> int:
        size = client.socket.recv_into(self._buffer)
        if size == 0:
            raise BenchError("the server closed a socket")
        return size

    def _open(self, port: int, count: int) -> None:
        """Open `count` more, all at once."""
        opening = []
        for _ in range(count):
            client = _Client(socket.create_connection(("127.0.0.1", port), timeout=30))
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.socket.sendall(_handshake(port))
            self._clients.append(client)
            opening.append(client)
        for client in opening:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                received = client.socket.recv(1)  # not beyond the head, where the first frame may follow
                if not received:
                    raise BenchError(f"the handshake was refused: {head.decode(errors='replace')}")
                head += received
            if not head.startswith(b"HTTP/1.1 101"):
                raise BenchError(f"the handshake was refused: {head.decode(errors='replace')}")
            client.socket.settimeout(10)  # for writes; reads wait in the selector
            self._selector.register(client.socket, selectors.EVENT_READ, client)


def _check(stream: bytes | bytearray, frame_bytes: int, published: Sequence[bytes]) -> None:
    """Raise BenchError unless a client received published messages, each whole and once. Some may be missing."""
    left = {server_frame(message) for message in published}
    for at in range(0, len(stream), frame_bytes):
        frame = bytes(stream[at : at + frame_bytes])
        if frame not in left:
            raise BenchError(f"a client received {frame[:60]!r}, which was not published, or is a repetition")
        left.remove(frame)


def _handshake(port: int) -> bytes:
    return (
        "GET / HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        "User-Agent: bench\r\n"
        "\r\n"
    ).encode()
