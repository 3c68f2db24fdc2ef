"""AWS's JSON protocol: what the stubs of DynamoDB and SQS have in common.

Beside the operations of its service a stub has controls, by which the benchmark prepares it and reads its counters:
`POST /fill?channel=news`, `GET /stats`.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .http import HttpConnection, Query, path_and_query, serve

Response = dict[str, Any]
Operation = Callable[[Any], "Response | asyncio.Future[Response]"]
"""Takes the request's JSON; may respond later. Raises ServiceError, also later."""

_TARGET = re.compile(rb"\r\nx-amz-target: *\w+\.(\w+)", re.IGNORECASE)
_REASONS = {200: b"OK", 400: b"Bad Request"}


class ServiceError(Exception):
    """An error that AWS responds with, at status 400. `fields` stand beside the message."""

    def __init__(self, code: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.body = {"__type": f"bench#{code}", "message": message, **fields}


class Service:
    """A stub: `operations` by AWS's names, `controls` by path."""

    operations: Mapping[str, Operation]
    controls: Mapping[str, Callable[[Query], Response]]


class ServiceConnection(HttpConnection):
    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service
        self._waiting: asyncio.Future[Response] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """A response that was still to come must not be lost with the connection: others may get it."""
        if self._waiting is not None:
            self._waiting.cancel()

    def on_request(self, head: bytes, body: bytes) -> None:
        try:
            response = self._response(head, body)
        except ServiceError as error:
            self._write(400, error.body)
        except Exception as error:  # noqa: BLE001 - a case fails when its stub has logged anything
            print(f"{head[:300]!r}: {error!r}", file=sys.stderr, flush=True)
            self._write(400, {"__type": "bench#NotSupportedByStub", "message": repr(error)})
        else:
            if isinstance(response, dict):
                self._write(200, response)
            else:
                self._waiting = response
                response.add_done_callback(self._on_response)

    def _response(self, head: bytes, body: bytes) -> Response | asyncio.Future[Response]:
        target = _TARGET.search(head)
        if target is not None:
            return self._service.operations[target[1].decode()](msgspec.json.decode(body))
        path, query = path_and_query(head)
        return self._service.controls[path](query)

    def _on_response(self, response: asyncio.Future[Response]) -> None:
        self._waiting = None
        if response.cancelled():
            return
        try:
            self._write(200, response.result())
        except ServiceError as error:
            self._write(400, error.body)

    def _write(self, status: int, response: Response) -> None:
        body = msgspec.json.encode(response)
        head = b"HTTP/1.1 %d %b\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, _REASONS[status], len(body)) + body)


def run(service: Service) -> None:
    """Print the port, then serve until the process is ended."""
    asyncio.run(serve(lambda: ServiceConnection(service)))
