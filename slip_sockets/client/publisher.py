"""The publisher, over requests: it acts on connections and channels from anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import requests
import requests.auth
from urllib3.exceptions import NewConnectionError

from ..protocol.errors import ControlApiUnavailable
from ..protocol.events import (
    NOT_REPORTED,
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
from .control_client import (
    CONNECT_TIMEOUT_S,
    RESPONSE_TIMEOUT_S,
    ControlApiClient,
    ControlCall,
    control_call,
    read_response,
    retry_delay,
)


class SlipSocketsPublisher(ControlApiClient):
    """Acts on one deployment of SLIP Sockets through its control API.

    `control_api` is the control API's URL, from the deployment's outputs file; `jwt_secret` its `JWT_SECRET`.
    `parse_request` also accepts `previous_secrets`, while a secret is being changed. `timeout_s` bounds the wait for
    one response.

    A method raises InvalidEvents before anything is sent, ControlApiRefused (the request was wrong, and had no effect)
    or ControlApiUnavailable. A call that certainly had no effect (no connection, 429) is tried three times in all. One
    that may have had an effect (a timeout, 5xx) is tried again only if a second time does no harm: PUBLISH_TEXT has an
    id by which the gateway knows it again; TEXT has none and is never repeated.

    Threads may share an instance as far as they may share a `requests.Session`.
    """

    def __init__(
        self,
        *,
        control_api: str,
        jwt_secret: str,
        previous_secrets: Sequence[str] = (),
        timeout_s: float = RESPONSE_TIMEOUT_S,
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
        """Close the kept-alive connections to the control API, as `with` does at its end.

        The publisher stays usable.
        """
        self._session.close()

    def publish_text(self, channel: str, data: str, *, message_id: str | None = None) -> Report:
        """Send a text message of at most 131,072 bytes of UTF-8 to each subscriber of `channel`.

        The same `message_id` on the same channel within five minutes is delivered once.
        """
        return self.send([PublishText(channel, data, message_id)])[0] or NOT_REPORTED

    def close_channel(self, channel: str) -> Report:
        """Close the connections of all subscribers of `channel`."""
        return self.send([CloseChannel(channel)])[0] or NOT_REPORTED

    def send_text(self, connection_id: str, data: str) -> None:
        """Send a text message to one connection."""
        self.send([SendText(connection_id, data)])

    def close(self, connection_id: str) -> None:
        """Close one connection; the client sees code 1000."""
        self.send([CloseConnection(connection_id)])

    def subscribe(self, connection_id: str, channel: str) -> None:
        self.send([Subscribe(connection_id, channel)])

    def unsubscribe(self, connection_id: str, channel: str) -> None:
        self.send([Unsubscribe(connection_id, channel)])

    def set_metadata(self, connection_id: str, metadata: Any) -> None:
        """Replace the connection's metadata, any JSON, which later events bring to the backend; None clears it."""
        self.send([SetMetadata(connection_id, metadata)])

    def poll_for_connection(self, connection_id: str, *, timeout_ms: float) -> None:
        """Wait until the connection is open, at most `timeout_ms` (0 to 25,000) milliseconds."""
        self.send([PollForConnection(connection_id, timeout_ms)])

    def send(self, events: Sequence[ControlEvent]) -> list[Report | None]:
        """Send up to 10,000 events, which take effect in order.

        Returns a report for each event, None for an event of which the gateway reports nothing.
        """
        call = control_call(events)
        attempt = 0
        while True:
            try:
                return self._post(call)
            except ControlApiUnavailable as error:
                delay_s = retry_delay(call, attempt, error)
                if delay_s is None:
                    raise
            self._sleep(delay_s)
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
            raise self._no_response(error, had_no_effect=_had_no_connection(error)) from error
        return read_response(call, response.status_code, response.content)


class _BearerAuth(requests.auth.AuthBase):
    """Sets the token as `auth`, because an entry of the user's ~/.netrc replaces a header of that name."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _had_no_connection(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    return isinstance(getattr(error.args[0], "reason", None) if error.args else None, NewConnectionError)
