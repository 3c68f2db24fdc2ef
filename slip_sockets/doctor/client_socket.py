"""Whether a client's socket is let in, and if not, why."""

from __future__ import annotations

import http
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import websockets

from .findings import Finding, fine, wrong
from .outputs import WRITE_ANEW
from .settings import DoctorSettings

OPEN_TIMEOUT_S = 35.0
"""API Gateway responds within 29 s, and a backend may take 25 of them."""
CLOSE_TIMEOUT_S = 3.0
TIMEOUT_S = OPEN_TIMEOUT_S + CLOSE_TIMEOUT_S + 20
"""With time to find the reason in the log."""

Refusals = Callable[[float], Awaitable[list[str]]]
"""Returns what the functions have logged about refused clients since a time in Unix seconds."""

_BY_STATUS: dict[int, tuple[str, str]] = {
    http.HTTPStatus.BAD_REQUEST: (
        "the backend does not let this client in, or its response is not valid",
        "If it refuses such a client on purpose, give what it asks for with --query and --header; see `backend` too",
    ),
    http.HTTPStatus.FORBIDDEN: ("API Gateway has no such API or stage", WRITE_ANEW),
    http.HTTPStatus.NOT_FOUND: ("API Gateway has no such API or stage", WRITE_ANEW),
    http.HTTPStatus.TOO_MANY_REQUESTS: (
        "connects exceed the throttle of the stage or of the account",
        "See `throttles`; the account's quota of new connections is 500 a second",
    ),
    http.HTTPStatus.INTERNAL_SERVER_ERROR: (
        "the backend responded with a status other than 2xx, or the function could not do its work",
        "Look at the backend, and at the errors of the websocket function",
    ),
    http.HTTPStatus.BAD_GATEWAY: (
        "the backend cannot be reached, or the function fails",
        "Look at the backend, then at the errors of the websocket function",
    ),
    http.HTTPStatus.GATEWAY_TIMEOUT: ("the backend did not respond in time", "Look at the backend: it has 25 s"),
}
_OF_API_GATEWAY = (http.HTTPStatus.FORBIDDEN, http.HTTPStatus.NOT_FOUND, http.HTTPStatus.TOO_MANY_REQUESTS)
"""Statuses for which no function was called, so that no log has the reason."""


async def check_socket(settings: DoctorSettings, refusals: Refusals) -> list[Finding]:
    """Open a socket and close it again. The backend handles its OPEN and its CLOSE for real."""
    url = settings.outputs.websocket_url
    if settings.query:
        url += ("&" if "?" in url else "?") + urlencode(settings.query, doseq=True)
    began, began_at = time.perf_counter(), settings.now()
    try:
        socket = await websockets.connect(
            url,
            additional_headers=settings.headers,
            user_agent_header="slip-sockets doctor",
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=None,
            proxy=None,
        )
    except websockets.InvalidStatus as error:
        status = error.response.status_code
        logged = [] if status in _OF_API_GATEWAY else await refusals(began_at)
        return [judge_refusal(status, logged)]
    except TimeoutError:
        finding = f"API Gateway did not respond within {OPEN_TIMEOUT_S:g} s"
        return [wrong("socket", finding, "Look at the backend, and at the websocket function")]
    except (OSError, websockets.WebSocketException) as error:
        finding = f"a client's socket cannot be opened: {' '.join(str(error).split())}"
        return [wrong("socket", finding, f"Is that URL a WebSocket API? {WRITE_ANEW}")]
    milliseconds = (time.perf_counter() - began) * 1000
    await socket.close()
    return [fine("socket", f"the backend lets a client in, within {milliseconds:.0f} ms")]


def judge_refusal(status: int, logged: list[str]) -> Finding:
    """`logged` is what the functions logged at that time."""
    meaning, fix = _BY_STATUS.get(status, ("that is not a status of this gateway", WRITE_ANEW))
    finding = f"a client is refused with {status}: {meaning}"
    if logged:
        finding += f". The log of that moment: {'; '.join(logged)}"
    return wrong("socket", finding, fix)
