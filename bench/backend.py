"""A backend that does next to nothing, so that it is not what is measured: `python -m bench.backend`.

It lets everybody in, subscribes them to a channel if it has one, and echoes texts. It speaks SLIP's JSON and GRIP's
WebSocket-over-HTTP on the same port and tells them apart by the body. It checks no token, of either.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Iterator
from typing import cast

import msgspec

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class _Event(msgspec.Struct):
    type: str
    data: str = ""


class _Told(msgspec.Struct, rename="camel"):
    connection_id: str
    events: list[_Event]


_told = msgspec.json.Decoder(_Told)
_json = msgspec.json.Encoder()


def slip_answer(body: bytes, channel: str) -> bytes:
    """Answer a POST of SLIP Sockets: JSON for JSON."""
    told = _told.decode(body)
    whose = told.connection_id
    events: list[dict[str, str]] = []
    for event in told.events:
        match event.type:
            case "OPEN":
                events.append({"type": "ACCEPT", "connectionId": whose})
                if channel:
                    events.append({"type": "SUBSCRIBE", "connectionId": whose, "channel": channel})
            case "TEXT":
                events.append({"type": "TEXT", "connectionId": whose, "data": event.data})
    return _json.encode({"events": events})


def grip_answer(body: bytes, channel: str) -> bytes:
    """Answer a POST of a GRIP proxy: WebSocket-over-HTTP events for the same."""
    answer = bytearray()
    for kind, content in _grip_events(body):
        match kind:
            case b"OPEN":
                answer += b"OPEN\r\n"
                if channel:
                    answer += _grip_text(b"c:" + _json.encode({"type": "subscribe", "channel": channel}))
            case b"TEXT":
                answer += _grip_text(b"m:" + content)
            case b"CLOSE":
                answer += b"CLOSE\r\n"
    return bytes(answer)


def _grip_events(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(body):
        end = body.index(b"\r\n", at)
        kind, _, size = body[at:end].partition(b" ")
        at = end + 2
        content = body[at : at + int(size, 16)] if size else b""
        at += len(content) + 2 if size else 0
        yield kind, content


def _grip_text(content: bytes) -> bytes:
    return b"TEXT %x\r\n%b\r\n" % (len(content), content)


class _Http(asyncio.Protocol):
    """Just enough HTTP/1.1: POSTs with a Content-Length, one after another on a connection."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _CONTENT_LENGTH.search(self._received, 0, head_end)
            end = head_end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            body = self._received[head_end + 4 : end]
            self._received = self._received[end:]
            self._transport.write(self._answer(body))

    def _answer(self, body: bytes) -> bytes:
        if body.startswith(b"{"):
            answer = slip_answer(body, self._channel)
            headers = b"Content-Type: application/json\r\n"
        else:
            answer = grip_answer(body, self._channel)
            headers = b"Content-Type: application/websocket-events\r\nSec-WebSocket-Extensions: grip\r\n"
        return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (headers, len(answer), answer)


async def serve(channel: str) -> None:
    """Print the port, then serve until killed."""
    server = await asyncio.get_running_loop().create_server(lambda: _Http(channel), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channel", default="", help="channel that every connection is subscribed to")
    asyncio.run(serve(parser.parse_args().channel))
