"""AWS's JSON protocol over HTTP/1.1 on one event loop: what the stubs of DynamoDB and SQS have in common.

Beside the service's own operations a stub answers requests by which the benchmark fills, reads and disturbs it:
`POST /fill?channel=news`, `GET /stats`.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import msgspec

Answer = dict[str, Any]
Operation = Callable[[Any], "Answer | asyncio.Future[Answer]"]
"""Takes the request's JSON; may answer later. Raises AwsError."""

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET = re.compile(rb"\r\nx-amz-target: *\w+\.(\w+)", re.IGNORECASE)
_REASONS = {200: b"OK", 400: b"Bad Request"}


class AwsError(Exception):
    """An error as AWS answers it, with status 400. `fields` stand beside the message."""

    def __init__(self, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.body = {"__type": f"bench#{code}", "message": message, **fields}


class Service:
    """What a stub answers: `operations` by AWS's names, `controls` by path (they take the query)."""

    operations: dict[str, Operation]
    controls: dict[str, Callable[[dict[str, str]], Answer]]


class Connection(asyncio.Protocol):
    """Requests with a Content-Length, one after another."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._received = bytearray()
        self._transport: asyncio.Transport
        self._waiting: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waited is away: what he would have been given is for others."""
        if self._waiting is not None:
            self._waiting.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _CONTENT_LENGTH.search(self._received, 0, head_end)
            end = head_end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            head, body = bytes(self._received[:head_end]), bytes(self._received[head_end + 4 : end])
            del self._received[:end]
            self._handle(head, body)

    def _handle(self, head: bytes, body: bytes) -> None:
        try:
            answer = self._answer(head, body)
        except AwsError as error:
            self._write(400, error.body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the benchmark must hear of it
            print(f"{head[:300]!r}: {error!r}", file=sys.stderr, flush=True)
            self._write(400, {"__type": "bench#NotSupportedByStub", "message": repr(error)})
        else:
            if isinstance(answer, dict):
                self._write(200, answer)
            else:
                self._waiting = answer
                answer.add_done_callback(self._waited)

    def _answer(self, head: bytes, body: bytes) -> Answer | asyncio.Future[Answer]:
        target = _TARGET.search(head)
        if target is not None:
            return self._service.operations[target[1].decode()](msgspec.json.decode(body))
        url = urlsplit(head.split(b" ", 2)[1].decode())
        return self._service.controls[url.path](dict(parse_qsl(url.query)))

    def _waited(self, answer: asyncio.Future[Answer]) -> None:
        self._waiting = None
        if not answer.cancelled():
            self._write(200, answer.result())

    def _write(self, status: int, answer: Answer) -> None:
        body = msgspec.json.encode(answer)
        head = b"HTTP/1.1 %d %b\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, _REASONS[status], len(body)) + body)


async def serve(service: Service) -> None:
    """Print the port, then serve until killed."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
