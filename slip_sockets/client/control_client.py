"""A call of the control API without its I/O: what to send, what the response means, whether to try again."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import msgspec

from ..protocol.bodies import decode_done, decode_fault
from ..protocol.errors import ControlApiRefused, ControlApiUnavailable
from ..protocol.events import ControlEvent, PublishText, Report, SendText, check_all, encode_events
from ..protocol.tokens import mint
from ..protocol.urls import url_problem
from .connection import Connection, Headers, checked_secrets, parse_request
from .outputs import read_control_api

RETRY_DELAYS_S = (0.2, 0.8)
"""The longest delay before each retry. A random part is taken off, to spread the load."""
CONNECT_TIMEOUT_S = 3.05
RESPONSE_TIMEOUT_S = 30.0
"""An HTTP API of API Gateway responds within 30 s, at the latest with a 503.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""

_OK = 200
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class ControlCall:
    """A batch of `count` events as the body of a POST.

    A second POST of an idempotent batch has no effect: the gateway knows a PUBLISH_TEXT again by its id. TEXT has none.
    """

    body: bytes
    count: int
    is_idempotent: bool


def control_call(events: Sequence[ControlEvent]) -> ControlCall:
    """Raises InvalidEvents."""
    check_all(events)
    body = encode_events([_with_message_id(event) for event in events])
    return ControlCall(body, len(events), not any(isinstance(event, SendText) for event in events))


def read_response(call: ControlCall, status: int, body: bytes) -> list[Report | None]:
    """Return a report for each event, None for one without. Raises ControlApiRefused or ControlApiUnavailable."""
    if status == _OK:
        return decode_done(body, call.count)
    raise _failure(status, body)


def retry_delay(call: ControlCall, attempt: int, error: ControlApiUnavailable) -> float | None:
    """Return the seconds to wait after the failed `attempt` (0 for the first), None if it was the last one."""
    if attempt >= len(RETRY_DELAYS_S) or not (call.is_idempotent or error.had_no_effect):
        return None
    return RETRY_DELAYS_S[attempt] * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not cryptography


class ControlApiClient:
    """What both publishers have in common, without I/O: a deployment's control API and its secrets."""

    def __init__(
        self,
        *,
        control_api: str,
        jwt_secret: str,
        previous_secrets: Sequence[str] = (),
        timeout_s: float = RESPONSE_TIMEOUT_S,
    ) -> None:
        if problem := url_problem(control_api):
            raise ValueError(f"control_api {control_api!r} is {problem}")
        self._secrets = checked_secrets(jwt_secret, previous_secrets)
        self.control_api = control_api
        self._timeout_s = timeout_s

    @classmethod
    def from_outputs(
        cls, path: str | os.PathLike[str], *, stack: str, jwt_secret: str, previous_secrets: Sequence[str] = ()
    ) -> Self:
        """Return a publisher for the deployment `stack` of the file `cdk-outputs.json` at `path`.

        Raises InvalidSettings if the file cannot be read, or does not have the stack.
        """
        control_api = read_control_api(path, stack)
        return cls(control_api=control_api, jwt_secret=jwt_secret, previous_secrets=previous_secrets)

    def parse_request(self, headers: Headers, body: bytes | str) -> Connection:
        """Return the connection that a POST of the gateway to your backend is about.

        Like the function `parse_request`, with the secrets of this publisher.
        """
        return parse_request(headers, body, secrets=self._secrets)

    def _token(self) -> str:
        return mint("ControlEvent", self._secrets[0])

    def _no_response(self, reason: object, *, had_no_effect: bool) -> ControlApiUnavailable:
        message = f"no response from the control API {self.control_api}: {reason}"
        return ControlApiUnavailable(message, had_no_effect=had_no_effect)


def _with_message_id(event: ControlEvent) -> ControlEvent:
    if isinstance(event, PublishText) and event.message_id is None:
        return msgspec.structs.replace(event, message_id=uuid.uuid4().hex)
    return event


def _failure(status: int, body: bytes) -> ControlApiRefused | ControlApiUnavailable:
    text = body.decode(errors="replace")
    fault = decode_fault(body)
    message = f"the control API responded with {status}: {fault.error or text[:200]}"
    if status < _SERVER_ERROR and status != _TOO_MANY_REQUESTS:
        return ControlApiRefused(message, status=status, body=text, index=fault.index)
    had_no_effect = status == _TOO_MANY_REQUESTS
    return ControlApiUnavailable(message, status=status, body=text, index=fault.index, had_no_effect=had_no_effect)
