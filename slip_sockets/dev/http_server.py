"""What bounds and what silences aiohttp's HTTP server."""

from __future__ import annotations

import asyncio
import json
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

BODY_TIMEOUT_S = 30.0
"""How long a client may take over a body, however busily it sends: an HTTP API's function has as long."""


async def read_body(request: web.Request) -> bytes:
    """Raises HTTPRequestTimeout where the body does not come in time, HTTPBadRequest where it breaks off, and
    HTTPRequestEntityTooLarge where it is too long."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError as error:
        raise _refusal(web.HTTPRequestTimeout, "Request Timeout") from error
    except (RequestPayloadError, ConnectionError) as error:  # of the client's, who may be gone already
        raise _refusal(web.HTTPBadRequest, "Bad Request") from error


def _refusal(kind: type[web.HTTPClientError], message: str) -> web.HTTPClientError:
    return kind(text=json.dumps({"message": message}), content_type="application/json")


class _Quiet(logging.Filter):
    """aiohttp logs a request that is no HTTP with a traceback, which quotes it: a header with its value, a password in
    a URL. Of a client's fault the kind is enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = "a request is no HTTP: %s; refused with 400", (type(error).__name__,)
            record.exc_info = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


http_log = logging.getLogger("slip_sockets.dev.http")
"""aiohttp's own log of the server."""
http_log.addFilter(_Quiet())
