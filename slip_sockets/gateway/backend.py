"""One POST to the application's backend for each socket event, and what its answer is worth."""

from __future__ import annotations

import http
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from ..errors import InvalidEvents, SlipSocketsError
from ..events import AnswerEvent, SocketEvent, decode_answer, encode_request
from ..tokens import mint
from .ports import Clock, HttpAnswerTooLarge, HttpClient, HttpError, HttpTimeout, Secrets, Unavailable

MAX_ANSWER_BYTES = 10 * 1024 * 1024
TIMEOUT_S = 25.0
"""Shorter than API Gateway's integration limit of 29 s, with time left to act on the answer.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html"""
CONTENT_TYPE = "application/websocket-events"


class BackendFailed(SlipSocketsError):
    """The backend was not told, or its answer is no answer.

    `status` is what API Gateway is told, and with it a client that waits to be let in. `retryable` says whether the
    same event may fare better later.
    """

    def __init__(self, message: str, *, status: http.HTTPStatus, retryable: bool) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = retryable


def read_answer(status: int, body: bytes) -> Sequence[AnswerEvent]:
    """Return the events of a backend's answer; an empty body is none. Raises BackendFailed."""
    if not 200 <= status < 300:
        retryable = status == http.HTTPStatus.TOO_MANY_REQUESTS or status >= 500
        raise BackendFailed(f"answered {status}", status=http.HTTPStatus.INTERNAL_SERVER_ERROR, retryable=retryable)
    if not body.strip():
        return []
    try:
        return decode_answer(body)
    except InvalidEvents as error:
        detail = f"answered {status} with a body that is not valid: {error}"
        raise BackendFailed(detail, status=http.HTTPStatus.BAD_REQUEST, retryable=False) from error


@dataclass(frozen=True, slots=True)
class Backend:
    """The application at `target_url`. The first of `secrets` signs what it is told."""

    target_url: str
    secrets: Secrets
    client: HttpClient
    clock: Clock

    async def tell(self, connection_id: str, metadata: bytes | None, event: SocketEvent) -> Sequence[AnswerEvent]:
        """Return the backend's answer; an empty body is no events. `metadata` is JSON. Raises BackendFailed."""
        try:
            token = mint("WebSocketEvent", self.secrets()[0], now=self.clock.now())
        except Unavailable as error:
            detail = f"is not told, for want of a secret to sign with: {error}"
            raise self._failed(detail, http.HTTPStatus.INTERNAL_SERVER_ERROR, retryable=True) from error
        headers = {"Authorization": f"Bearer {token}", "Content-Type": CONTENT_TYPE}
        body = encode_request(connection_id, metadata, [event])
        try:
            answer = await self.client.post(self.target_url, headers, body, max_bytes=MAX_ANSWER_BYTES)
        except HttpTimeout as error:
            raise self._failed(f"did not answer: {error}", http.HTTPStatus.GATEWAY_TIMEOUT, retryable=True) from error
        except HttpAnswerTooLarge as error:
            detail = f"answered with more than {MAX_ANSWER_BYTES} bytes"
            raise self._failed(detail, http.HTTPStatus.BAD_REQUEST, retryable=False) from error
        except HttpError as error:
            raise self._failed(f"cannot be reached: {error}", http.HTTPStatus.BAD_GATEWAY, retryable=True) from error
        try:
            return read_answer(answer.status, answer.body)
        except BackendFailed as error:
            raise self._failed(str(error), error.status, retryable=error.retryable) from error.__cause__

    def _failed(self, detail: str, status: http.HTTPStatus, *, retryable: bool) -> BackendFailed:
        message = f"backend {without_secrets(self.target_url)} {detail}"
        return BackendFailed(message, status=status, retryable=retryable)


def without_secrets(url: str) -> str:
    """Return a URL as it may be shown: no user, no password, no query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
