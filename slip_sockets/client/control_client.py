"""A call of the control API without its I/O: what to send, what the response means, whether to try again."""

from __future__ import annotations

import os
import random
import re
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from ..protocol.errors import ControlApiRefused, ControlApiUnavailable, InvalidSettings
from ..protocol.events import (
    NOT_REPORTED,
    AnyReport,
    ControlEvent,
    HistoryReport,
    PresenceReport,
    PublishText,
    Report,
    SendText,
    Subscribe,
    check_all,
    encode_events,
)
from ..protocol.tokens import mint
from ..protocol.urls import ascii_name, quoted_url, url_problem, without_secrets
from .connection import Connection, Headers, parse_request, secrets_problems
from .outputs import read_control_api

RETRY_DELAYS_S = (0.2, 0.8)
"""The longest delay before each retry. A random part is taken off, to spread the load."""
CONNECT_TIMEOUT_S = 3.05
RESPONSE_TIMEOUT_S = 30.0
"""An HTTP API of API Gateway responds within 30 s, at the latest with a 503.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""

_Reported = TypeVar("_Reported", HistoryReport, PresenceReport)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


@dataclass(frozen=True, slots=True)
class ControlCall:
    """A batch of `count` events as the body of a POST.

    A second POST of an idempotent batch has no effect: the gateway knows a PUBLISH_TEXT again by its id. TEXT has none,
    and what a SUBSCRIBE sends of the messages after `since` has none either.
    """

    body: bytes
    count: int
    is_idempotent: bool


def control_call(events: Sequence[ControlEvent]) -> ControlCall:
    """Raises InvalidEvents."""
    check_all(events)
    body = encode_events([_with_message_id(event) for event in events])
    return ControlCall(body, len(events), not any(map(_sends_texts_again, events)))


def publish_report(report: AnyReport | None) -> Report:
    return report if isinstance(report, Report) else NOT_REPORTED


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
        """Raises InvalidSettings."""
        if problems := _problems(control_api, jwt_secret, previous_secrets, timeout_s):
            raise InvalidSettings(problems)
        self._secrets = (jwt_secret, *previous_secrets)
        self.control_api = control_api
        self._timeout_s = timeout_s
        self._url = _url_to_call(control_api)

    @classmethod
    def from_outputs(
        cls, path: str | os.PathLike[str], *, stack: str, jwt_secret: str, previous_secrets: Sequence[str] = ()
    ) -> Self:
        """Return a publisher for the deployment `stack` of the file `cdk-outputs.json` at `path`.

        Raises InvalidSettings if the file cannot be read, or does not have the stack.
        """
        control_api = read_control_api(path, stack)
        return cls(control_api=control_api, jwt_secret=jwt_secret, previous_secrets=previous_secrets)

    def parse_request(self, headers: Headers, body: bytes | str, *, subprotocol: str | None = None) -> Connection:
        """Return the connection that a POST of the gateway to your backend is about.

        Like the function `parse_request`, with the secrets of this publisher.
        """
        return parse_request(headers, body, secrets=self._secrets, subprotocol=subprotocol)

    def _history(self, report: AnyReport | None) -> HistoryReport:
        return self._reported(report, HistoryReport, "what it keeps of a channel")

    def _members(self, report: AnyReport | None) -> PresenceReport:
        return self._reported(report, PresenceReport, "who is in a channel")

    def _reported(self, report: AnyReport | None, kind: type[_Reported], what: str) -> _Reported:
        """Raises ControlApiRefused where the gateway has reported nothing."""
        if isinstance(report, kind):
            return report
        place = without_secrets(self._url)
        then = "It is the original's or an older one. Deploy this version of SLIP Sockets"
        raise ControlApiRefused(f"the gateway of {place} does not report {what}. {then}", status=200)

    def _token(self) -> str:
        return mint("ControlEvent", self._secrets[0])


def _problems(control_api: object, jwt_secret: object, previous_secrets: object, timeout_s: object) -> list[str]:
    problems = []
    if not isinstance(control_api, str):
        problems.append(f"control_api needs a string, got {type(control_api).__name__}")
    elif problem := url_problem(control_api):
        problems.append(f"control_api {quoted_url(control_api)} is {problem}")
    problems += secrets_problems(jwt_secret, previous_secrets)
    if not (isinstance(timeout_s, int | float) and 0 < timeout_s <= threading.TIMEOUT_MAX):
        problems.append(f"timeout_s needs a number of seconds above 0, got {timeout_s!r}")
    return problems


def _sends_texts_again(event: ControlEvent) -> bool:
    return isinstance(event, SendText) or (isinstance(event, Subscribe) and event.since is not None)


def _with_message_id(event: ControlEvent) -> ControlEvent:
    if isinstance(event, PublishText) and event.message_id is None:
        return msgspec.structs.replace(event, message_id=uuid.uuid4().hex)
    return event


def _url_to_call(url: str) -> str:
    """Return a URL in ASCII, its path and query as they are set.

    Without user and password, which would take the place of the token.
    """
    parts = urlsplit(url)
    host = ascii_name(parts.hostname or "")
    netloc = (f"[{host}]" if ":" in host else host) + (f":{parts.port}" if parts.port else "")
    return _NOT_ASCII.sub(
        lambda found: quote(found[0]), urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))
    )
