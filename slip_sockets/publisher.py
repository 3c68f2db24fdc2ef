"""The application's side of SLIP Sockets: understand the gateway's POSTs, and publish from anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import requests
import requests.auth
from urllib3.exceptions import NewConnectionError

from .control_call import (
    ANSWER_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    ControlCall,
    PublisherSettings,
    control_call,
    pause_before_retry,
    read_answer,
)
from .errors import ControlApiUnavailable
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
)


class SlipSocketsPublisher(PublisherSettings):
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
        super().__init__(
            control_api=control_api, jwt_secret=jwt_secret, previous_secrets=previous_secrets, timeout_s=timeout_s
        )
        self._session = session or requests.Session()
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close_session()

    def close_session(self) -> None:
        """Close the kept-alive connections to the control API. The publisher may be used on; `with` does this too."""
        self._session.close()

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
        call = control_call(events)
        attempt = 0
        while True:
            try:
                return self._post(call)
            except ControlApiUnavailable as error:
                pause_s = pause_before_retry(call, attempt, error)
                if pause_s is None:
                    raise
            self._sleep(pause_s)
            attempt += 1

    def _post(self, call: ControlCall) -> list[Report | None]:
        try:
            response = self._session.post(
                self.control_api,
                data=call.body,
                headers={"Content-Type": "application/json"},
                auth=_BearerAuth(self._token()),
                timeout=(CONNECT_TIMEOUT_S, self._timeout_s),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise self._unanswered(error, had_no_effect=_had_no_connection(error)) from error
        return read_answer(call, response.status_code, response.content)


class _BearerAuth(requests.auth.AuthBase):
    """Sets the token as `auth`: a header of that name would lose against an entry of the user's ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _had_no_connection(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    return isinstance(getattr(error.args[0], "reason", None) if error.args else None, NewConnectionError)
