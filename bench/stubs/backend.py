"""A backend that does next to nothing, so that it is not what is measured: `python -m bench.stubs.backend`.

It accepts each connection, subscribes it to a channel if it has one, and echoes texts; a POST with the text `slow` it
answers after SLOW_S. It speaks SLIP's JSON and GRIP's WebSocket-over-HTTP on the same port; the body shows which. It
checks no tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import enum
from collections.abc import Iterator
from typing import Any

import msgspec

from .http import HttpConnection, serve


class _Event(msgspec.Struct):
    type: str
    data: str = ""


class _Request(msgspec.Struct, rename="camel"):
    connection_id: str
    events: list[_Event]
    metadata: Any = None


SLOW_S = 8.0

_request = msgspec.json.Decoder(_Request)
_json = msgspec.json.Encoder()


class Opens(enum.StrEnum):
    """How connections are let in."""

    RAW = "raw"
    RECOVERING = "recovering"
    """With slip.v1, since the position in the query."""
    MEMBERS = "members"
    """With slip.v1, as the user in the query, who is a member of the channel."""


def slip_reply(body: bytes, channel: str, opens: Opens = Opens.RAW) -> bytes:
    """Return the reply to events of SLIP Sockets, both as JSON."""
    request = _request.decode(body)
    id_ = request.connection_id
    events: list[dict[str, Any]] = []
    for event in request.events:
        match event.type:
            case "OPEN" if opens is Opens.MEMBERS:
                user = request.metadata["query"]["user"][0]
                events.append({"type": "ACCEPT", "connectionId": id_, "subprotocol": "slip.v1", "user": user})
                events.append({"type": "SUBSCRIBE", "connectionId": id_, "channel": channel, "presence": {}})
            case "OPEN" if opens is Opens.RECOVERING:
                since = request.metadata["query"]["since"][0]
                events.append({"type": "ACCEPT", "connectionId": id_, "subprotocol": "slip.v1"})
                subscribe = {"type": "SUBSCRIBE", "connectionId": id_, "channel": channel}
                events.append(subscribe | {"recover": True, "since": since})
            case "OPEN":
                events.append({"type": "ACCEPT", "connectionId": id_})
                if channel:
                    events.append({"type": "SUBSCRIBE", "connectionId": id_, "channel": channel})
            case "TEXT":
                events.append({"type": "TEXT", "connectionId": id_, "data": event.data})
    return _json.encode({"events": events})


def grip_reply(body: bytes, channel: str) -> bytes:
    """Return the reply to events of a GRIP proxy, both as WebSocket-over-HTTP."""
    reply = bytearray()
    for kind, content in _grip_events(body):
        match kind:
            case b"OPEN":
                reply += b"OPEN\r\n"
                if channel:
                    reply += _grip_text(b"c:" + _json.encode({"type": "subscribe", "channel": channel}))
            case b"TEXT":
                reply += _grip_text(b"m:" + content)
            case b"CLOSE":
                reply += b"CLOSE\r\n"
    return bytes(reply)


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


class _Connection(HttpConnection):
    def __init__(self, channel: str, opens: Opens) -> None:
        super().__init__()
        self._channel = channel
        self._opens = opens

    def on_request(self, head: bytes, body: bytes) -> None:
        if body.startswith(b"{"):
            reply = slip_reply(body, self._channel, self._opens)
            headers = b"Content-Type: application/json\r\n"
        else:
            reply = grip_reply(body, self._channel)
            headers = b"Content-Type: application/websocket-events\r\nSec-WebSocket-Extensions: grip\r\n"
        response = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (headers, len(reply), reply)
        if b'"data":"slow"' in body:
            asyncio.get_running_loop().call_later(SLOW_S, self.transport.write, response)
        else:
            self.transport.write(response)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channel", default="", help="channel that every connection is subscribed to")
    parser.add_argument("--opens", type=Opens, default=Opens.RAW, help="raw, recovering or members (%(default)s)")
    given = parser.parse_args()
    asyncio.run(serve(lambda: _Connection(given.channel, given.opens)))
