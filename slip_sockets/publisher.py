"""The application's side of SLIP Sockets: understand the gateway's POSTs, and publish from anywhere."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import requests
import requests.auth
from urllib3.exceptions import NewConnectionError

from .connection import Connection, Headers, parse_request
from .errors import ControlApiRefused, ControlApiUnavailable, InvalidSettings
from .events import (
    CloseChannel,
    CloseConnection,
    ControlEvent,
    PollForConnection,
    PublishText,
    Report,
    SendText,
    SetMetadata,
    Subscribe,
    Unsubscribe,
    check_all,
    encode_events,
)
from .outputs import read_outputs
from .settings import is_http_url
from .tokens import mint

PAUSES_S = (0.2, 0.8)
"""At most these pauses before a call is tried again; the real ones are shorter by chance, to spread the load."""
CONNECT_TIMEOUT_S = 3.05
ANSWER_TIMEOUT_S = 30.0
"""An HTTP API of API Gateway answers within 30 s, or with a 503.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""


class _Done(msgspec.Struct):
    events: list[dict[str, Any]] = []


class _Refusal(msgspec.Struct):
    error: str = ""
    index: int | None = None


class SlipSocketsPublisher:
    """Talks to one deployment of SLIP Sockets. Both parameters stand in its outputs file and your settings:

    `control_api` is the control API's URL, `jwt_secret` the deployment's `JWT_SECRET`. `previous_secrets` are still
    accepted from the gateway while a secret is being changed. `timeout_s` bounds the wait for one answer.

    All methods but `parse_request` raise InvalidEvents before anything is sent, ControlApiRefused (your mistake:
    nothing was done) or ControlApiUnavailable. What certainly had no effect (no connection, 429) is tried three times;
    what may have had one (a timeout, 5xx) only where a second time does no harm: PUBLISH_TEXT carries an id by which
    the gateway knows a repetition, TEXT does not and is never repeated.

    An instance may be shared by threads as far as `requests.Session` may.
    """

    def __init__(
        self,
        *,
        control_api: str,
        jwt_secret: str,
        previous_secrets: Sequence[str] = (),
        timeout_s: float = ANSWER_TIMEOUT_S,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not is_http_url(control_api):
            raise ValueError(f"control_api needs an http or https URL, got {control_api!r}")
        if not jwt_secret:
            raise ValueError("jwt_secret is empty; it must be the deployment's JWT_SECRET")
        self.control_api = control_api
        self._secrets = (jwt_secret, *previous_secrets)
        self._timeout_s = timeout_s
        self._session = session or requests.Session()
        self._sleep = sleep

    @classmethod
    def from_outputs(
        cls, path: str | os.PathLike[str], *, stack: str, jwt_secret: str, previous_secrets: Sequence[str] = ()
    ) -> SlipSocketsPublisher:
        """Return a publisher for the deployment that `cdk-outputs.json`, at `path`, describes under `stack`.

        Raises InvalidSettings where the file is missing, is none, or does not know the stack.
        """
        control_api = read_outputs(path, stack).control_api
        if not control_api:
            raise InvalidSettings([f"{path} has no controlApi of {stack!r}. Deploy it again"])
        return cls(control_api=control_api, jwt_secret=jwt_secret, previous_secrets=previous_secrets)

    def __enter__(self) -> SlipSocketsPublisher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close_session()

    def close_session(self) -> None:
        """Close the kept-alive connections to the control API. The publisher may be used on; `with` does this too."""
        self._session.close()

    def parse_request(self, headers: Headers, body: bytes | str) -> Connection:
        """Return the connection that a POST of the gateway to your backend is about.

        Raises MissingToken, ExpiredToken, BadToken (answer 403) or InvalidEvents (answer 400).
        """
        return parse_request(headers, body, secrets=self._secrets)

    def publish_text(self, channel: str, data: str, *, message_id: str | None = None) -> Report | None:
        """Send a text frame to each subscriber of `channel`, to 131,072 bytes of UTF-8.

        The same `message_id` on the same channel within five minutes is delivered once. Returns None where the gateway
        is one that does not report.
        """
        return self.send([PublishText(channel, data, message_id)])[0]

    def close_channel(self, channel: str) -> Report | None:
        """Close the connections of all subscribers of `channel`."""
        return self.send([CloseChannel(channel)])[0]

    def send_text(self, connection_id: str, data: str) -> None:
        """Send a text frame to one connection."""
        self.send([SendText(connection_id, data)])

    def close(self, connection_id: str) -> None:
        """Close one connection; the client sees code 1000."""
        self.send([CloseConnection(connection_id)])

    def subscribe(self, connection_id: str, channel: str) -> None:
        self.send([Subscribe(connection_id, channel)])

    def unsubscribe(self, connection_id: str, channel: str) -> None:
        self.send([Unsubscribe(connection_id, channel)])

    def set_metadata(self, connection_id: str, metadata: Any) -> None:
        """Replace what comes back to the backend with the connection's later events; None clears it."""
        self.send([SetMetadata(connection_id, metadata)])

    def poll_for_connection(self, connection_id: str, *, timeout_ms: float) -> None:
        """Wait until the connection is open, at most `timeout_ms` (0 to 25,000) milliseconds."""
        self.send([PollForConnection(connection_id, timeout_ms)])

    def send(self, events: Sequence[ControlEvent]) -> list[Report | None]:
        """Send up to 10,000 events, which take effect in order. Returns a report for each that has one, else None."""
        check_all(events)
        body = encode_events([_identified(event) for event in events])
        harmless = not any(isinstance(event, SendText) for event in events)
        for pause_s in (*PAUSES_S, None):
            try:
                return self._post(body, len(events))
            except ControlApiUnavailable as error:
                if pause_s is None or not (harmless or _had_no_effect(error)):
                    raise
            self._sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not cryptography
        raise AssertionError("the last attempt returns or raises")

    def _post(self, body: bytes, count: int) -> list[Report | None]:
        token = mint("ControlEvent", self._secrets[0])
        try:
            response = self._session.post(
                self.control_api,
                data=body,
                headers={"Content-Type": "application/json"},
                auth=_BearerAuth(token),
                timeout=(CONNECT_TIMEOUT_S, self._timeout_s),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise ControlApiUnavailable(f"no answer from the control API {self.control_api}: {error}") from error
        if response.status_code == requests.codes.ok:
            return _reports(response.content, count)
        raise _failure(response)


class _BearerAuth(requests.auth.AuthBase):
    """Sets the token as `auth`: a header of that name would lose against an entry of the user's ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _identified(event: ControlEvent) -> ControlEvent:
    if isinstance(event, PublishText) and event.message_id is None:
        return msgspec.structs.replace(event, message_id=uuid.uuid4().hex)
    return event


def _had_no_effect(error: ControlApiUnavailable) -> bool:
    if error.status == requests.codes.too_many_requests:
        return True
    cause = error.__cause__
    if isinstance(cause, requests.ConnectTimeout):
        return True
    reason = getattr(cause.args[0], "reason", None) if cause and cause.args else None
    return isinstance(reason, NewConnectionError)


def _reports(body: bytes, count: int) -> list[Report | None]:
    """The original gateway answers without `events`, and ours with `{}` for events that have no report."""
    try:
        events = msgspec.json.decode(body, type=_Done).events
        reports = [msgspec.convert(event, Report) if event else None for event in events]
    except msgspec.DecodeError:
        reports = []
    return reports if len(reports) == count else [None] * count


def _failure(response: requests.Response) -> ControlApiRefused | ControlApiUnavailable:
    try:
        told = msgspec.json.decode(response.content, type=_Refusal)
    except msgspec.DecodeError:
        told = _Refusal()
    detail = told.error or response.text[:200]
    message = f"the control API answered {response.status_code}: {detail}"
    final = (
        response.status_code < requests.codes.server_error and response.status_code != requests.codes.too_many_requests
    )
    kind = ControlApiRefused if final else ControlApiUnavailable
    return kind(message, status=response.status_code, body=response.text, index=told.index)
