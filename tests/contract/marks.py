"""Values to look for where they must not be: each is unique, and known by the place where it was put."""

from __future__ import annotations

import json
import queue
import socket
import uuid
from collections.abc import Callable
from typing import Any

from ..aws.raw_server import RawServer, answer
from .wire import TIMEOUT_S


class Marks:
    """`marks(place)` returns a value to put at a place; `seen_in(log)` returns the places of the values in a log."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def __call__(self, place: str) -> str:
        mark = f"mark{uuid.uuid4().hex}"
        self._places[mark] = place
        return mark

    def seen_in(self, log: str) -> list[str]:
        seen = [place for mark, place in self._places.items() if mark in log]
        return [*seen, "a token"] if "eyJ" in log else seen  # what every JWT begins with


Post = dict[str, Any]
Response = Callable[[Post], bytes]


def saying(*events: dict[str, Any]) -> Response:
    """A response with these events; "ID" in them is the connection's id."""

    def response(post: Post) -> bytes:
        return answer(json.dumps({"events": events}).replace("ID", post["connectionId"]).encode())

    return response


def faults(marks: Marks) -> dict[str, Response]:
    """Responses of a backend that fails, with marked values in every place that it chooses."""

    def always(raw: bytes) -> Response:
        return lambda _: raw

    body, header = marks("a response's body"), marks("a response's header")
    marked = (f"X-Mark: {header}", f"Set-Cookie: session={header}", f"Location: http://127.0.0.1:1/{header}?{header}")
    text = {"type": "TEXT", "connectionId": "ID", "data": body}
    accept = {"type": "ACCEPT", "connectionId": "ID"}
    deep = "[" * 5_000 + f'"{body}"' + "]" * 5_000
    return {
        "500": always(answer(body.encode(), *marked, status=f"500 {header}")),
        "403": always(answer(body.encode(), *marked, status="403 Forbidden")),
        "302": always(answer(body.encode(), *marked, status="302 Found")),
        "not JSON": always(answer(body.encode(), *marked)),
        "JSON that breaks off": always(answer(f'{{"events": [{{"type": "{body}'.encode())),
        "not UTF-8": always(answer(b'{"events": ["' + body.encode() + b'\xff"]}')),
        "another type": always(answer(json.dumps(body).encode())),
        "a field of another type": saying(accept, text | {"data": [body]}),
        "a field that is missing": saying(accept, text, {"type": "TEXT", "data": body, body: body}),
        "a text that is too long": saying(accept, text | {"data": body * 5_000}),
        "metadata that is too large": saying(
            accept, {**accept, "type": "SET_METADATA", "metadata": {body: body * 3_000}}
        ),
        "metadata that is too deep": lambda post: answer(
            f'{{"events": [{{"type": "SET_METADATA", "connectionId": "x", "metadata": {deep}}}]}}'.encode()
        ),
        "a surrogate": saying(accept, text | {"data": f"{body}\ud800"}),
        "an integer that is too large": always(answer(f'{{"events": [{"9" * 400}, "{body}"]}}'.encode())),
        "a subprotocol that was not offered": saying(accept | {"subprotocol": body}),
        "a header without a colon": always(f"HTTP/1.1 200 OK\r\n{header}\r\nContent-Length: 0\r\n\r\n".encode()),
        "a header with a control character": always(
            f"HTTP/1.1 200 OK\r\nX-Mark: {header}\x01\0\r\nContent-Length: 0\r\n\r\n".encode()
        ),
        "a header's name with a space": always(
            f"HTTP/1.1 200 OK\r\n{header} x: y\r\nContent-Length: 0\r\n\r\n".encode()
        ),
        "two lengths": always(answer(body.encode(), f"Content-Length: {len(body) + 1}")),
        "no length": always(f"HTTP/1.1 200 OK\r\nContent-Length: {header}\r\n\r\n{body}".encode()),
        "not HTTP": always(f"220 {body} ESMTP\r\n\r\n".encode()),
        "another version": always(f"HTTP/9.9 200 {body}\r\n\r\n".encode()),
        "not gzip": always(answer(body.encode(), "Content-Encoding: gzip")),
        "not chunks": always(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}\r\n{body}\r\n".encode()),
        "half": always(answer(body.encode() * 2)[:-40]),
        "nothing": always(b""),
    }


class MarkedBackend:
    """Responds to each type of event with what `responses` has for it, then hangs up, and notes it in `done`."""

    def __init__(self, responses: dict[str, Response]) -> None:
        self.responses = responses
        self.done: queue.Queue[tuple[str, str]] = queue.Queue()

    def __call__(self, server: RawServer, connection: socket.socket) -> None:
        post = json.loads(server.read_request(connection).partition(b"\r\n\r\n")[2] or b"null")
        if post is None:
            return
        kind = post["events"][0]["type"]
        raw = self.responses[kind](post)
        connection.sendall(raw.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        self.done.put((kind, post["connectionId"]))

    def wait_for(self, kind: str) -> str:
        """Wait for the response to an event of this type; return the connection's id. Blocking."""
        while True:
            done, connection_id = self.done.get(timeout=TIMEOUT_S)
            if done == kind:
                return connection_id


def refused_control_bodies(marks: Marks) -> list[bytes]:
    """Bodies that the control API refuses, with marked values in them."""
    data = marks("a refused control body")
    text = {"type": "TEXT", "connectionId": "AAAAAAAAAAAAAAA=", "data": data}
    batches: list[object] = [
        [text, text | {"data": [data]}],
        [text, {"type": "TEXT", data: data}],
        [text, text | {"data": data * 5_000}],
        [{"type": "SUBSCRIBE", "connectionId": "AAAAAAAAAAAAAAA=", "channel": data * 50}],
        [{"type": "PUBLISH_TEXT", "channelId": "lobby", "data": data, "id": data * 10}],
        [{"type": "SET_METADATA", "connectionId": "AAAAAAAAAAAAAAA=", "metadata": {data: data * 5_000}}],
        [text, data],
        data,
    ]
    whole = [json.dumps({"events": events}).encode() for events in batches]
    return [data.encode(), b'{"events": ["' + data.encode(), b'"' + data.encode() + b'\xff"', *whole]
