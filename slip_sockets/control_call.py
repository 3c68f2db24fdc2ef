"""A call of the control API without its I/O: what to send, what the answer is worth, whether to try again."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from .connection import Connection, Headers, parse_request
from .errors import ControlApiRefused, ControlApiUnavailable, InvalidSettings
from .events import UNREADABLE, ControlEvent, PublishText, Report, SendText, check_all, encode_events
from .outputs import read_outputs
from .settings import is_http_url
from .tokens import is_key_of_a_pair, mint

PAUSES_S = (0.2, 0.8)
"""At most these pauses before a call is tried again; the real ones are shorter by chance, to spread the load."""
CONNECT_TIMEOUT_S = 3.05
ANSWER_TIMEOUT_S = 30.0
"""An HTTP API of API Gateway answers within 30 s, or with a 503.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""

_OK = 200
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class ControlCall:
    """A batch of `count` events as the body of a POST. A second POST of it does no harm where it is `harmless`:
    PUBLISH_TEXT carries an id by which the gateway knows a repetition, TEXT does not."""

    body: bytes
    count: int
    harmless: bool


def control_call(events: Sequence[ControlEvent]) -> ControlCall:
    """Raises InvalidEvents."""
    check_all(events)
    body = encode_events([_identified(event) for event in events])
    return ControlCall(body, len(events), not any(isinstance(event, SendText) for event in events))


def read_answer(call: ControlCall, status: int, body: bytes) -> list[Report | None]:
    """Return a report for each event that has one, else None. Raises ControlApiRefused or ControlApiUnavailable."""
    if status == _OK:
        return _reports(body, call.count)
    raise _failure(status, body)


def pause_before_retry(call: ControlCall, attempt: int, error: ControlApiUnavailable) -> float | None:
    """Return the seconds to wait after the failed `attempt` (0 for the first), None where it was the last one."""
    if attempt >= len(PAUSES_S) or not (call.harmless or error.had_no_effect):
        return None
    return PAUSES_S[attempt] * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not cryptography


class PublisherSettings:
    """What a publisher knows, and what it does without any I/O: the same for both kinds."""

    def __init__(
        self,
        *,
        control_api: str,
        jwt_secret: str,
        previous_secrets: Sequence[str] = (),
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        if not is_http_url(control_api):
            raise ValueError(f"control_api needs an http or https URL, got {control_api!r}")
        if not jwt_secret:
            raise ValueError("jwt_secret is empty; it must be the deployment's JWT_SECRET")
        self._secrets = (jwt_secret, *previous_secrets)
        if any(map(is_key_of_a_pair, self._secrets)):
            raise ValueError("jwt_secret is a key of a pair or a certificate; it must be the deployment's JWT_SECRET")
        self.control_api = control_api
        self._timeout_s = timeout_s

    @classmethod
    def from_outputs(
        cls, path: str | os.PathLike[str], *, stack: str, jwt_secret: str, previous_secrets: Sequence[str] = ()
    ) -> Self:
        """Return a publisher for the deployment that `cdk-outputs.json`, at `path`, describes under `stack`.

        Raises InvalidSettings where the file is missing, is none, or does not know the stack.
        """
        control_api = read_outputs(path, stack).control_api
        if not control_api:
            raise InvalidSettings([f"{path} has no controlApi of {stack!r}. Deploy it again"])
        return cls(control_api=control_api, jwt_secret=jwt_secret, previous_secrets=previous_secrets)

    def parse_request(self, headers: Headers, body: bytes | str) -> Connection:
        """Return the connection that a POST of the gateway to your backend is about.

        Raises MissingToken, ExpiredToken, BadToken (answer 403) or InvalidEvents (answer 400); `refusal` makes that
        answer.
        """
        return parse_request(headers, body, secrets=self._secrets)

    def _token(self) -> str:
        return mint("ControlEvent", self._secrets[0])

    def _unanswered(self, reason: object, *, had_no_effect: bool) -> ControlApiUnavailable:
        message = f"no answer from the control API {self.control_api}: {reason}"
        return ControlApiUnavailable(message, had_no_effect=had_no_effect)


class _Done(msgspec.Struct):
    events: list[dict[str, Any]] = []


class _Refusal(msgspec.Struct):
    error: str = ""
    index: int | None = None


def _identified(event: ControlEvent) -> ControlEvent:
    if isinstance(event, PublishText) and event.message_id is None:
        return msgspec.structs.replace(event, message_id=uuid.uuid4().hex)
    return event


def _reports(body: bytes, count: int) -> list[Report | None]:
    """The original gateway answers without `events`, and ours with `{}` for events that have no report."""
    try:
        events = msgspec.json.decode(body, type=_Done).events
        reports = [msgspec.convert(event, Report) if event else None for event in events]
    except UNREADABLE:  # the answer may be of something on the way
        reports = []
    return reports if len(reports) == count else [None] * count


def _failure(status: int, body: bytes) -> ControlApiRefused | ControlApiUnavailable:
    text = body.decode(errors="replace")
    try:
        told = msgspec.json.decode(body, type=_Refusal)
    except UNREADABLE:
        told = _Refusal()
    message = f"the control API answered {status}: {told.error or text[:200]}"
    if status < _SERVER_ERROR and status != _TOO_MANY_REQUESTS:
        return ControlApiRefused(message, status=status, body=text, index=told.index)
    had_no_effect = status == _TOO_MANY_REQUESTS
    return ControlApiUnavailable(message, status=status, body=text, index=told.index, had_no_effect=had_no_effect)
