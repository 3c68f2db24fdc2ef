"""Bounds the time for a body, and keeps secrets out of the log, of aiohttp's HTTP server."""

from __future__ import annotations

import asyncio
import json
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

BODY_TIMEOUT_S = 30.0
"""How long a client may take for a body, even if it keeps sending: as long as a function of an HTTP API may take."""


async def read_body(request: web.Request) -> bytes:
    """Raises HTTPRequestTimeout if the body does not come in time, HTTPBadRequest if it breaks off, and
    HTTPRequestEntityTooLarge if it is too long."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError as error:
        raise _error(web.HTTPRequestTimeout, "Request Timeout") from error
    except (RequestPayloadError, ConnectionError) as error:  # the client may be gone already
        raise _error(web.HTTPBadRequest, "Bad Request") from error


def _error(kind: type[web.HTTPClientError], message: str) -> web.HTTPClientError:
    return kind(text=json.dumps({"message": message}), content_type="application/json")


class _Quiet(logging.Filter):
    """aiohttp logs a request that is not HTTP with a traceback that quotes it: a header with its value, a password in a
    URL. Here only the kind of the error is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = "a request is not HTTP: %s; refused with 400", (type(error).__name__,)
            record.exc_info = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


http_log = logging.getLogger("slip_sockets.dev.http")
"""The log that aiohttp's server writes."""
http_log.addFilter(_Quiet())
