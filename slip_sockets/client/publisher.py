"""The publisher, over requests: it acts on connections and channels from anywhere."""

from __future__ import annotations

import http.client
import re
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import requests
import requests.auth
import requests.utils
import urllib3

from ..protocol.errors import ControlApiUnavailable, InvalidSettings, SlipSocketsError
from ..protocol.events import (
    AnyReport,
    CloseChannel,
    CloseConnection,
    ControlEvent,
    History,
    HistoryReport,
    Keep,
    Members,
    PollForConnection,
    Presence,
    PresenceReport,
    PublishText,
    Report,
    SendText,
    SetMetadata,
    Subscribe,
    Unsubscribe,
    user_channel,
)
from .connection import presence_of
from .control_client import (
    CONNECT_TIMEOUT_S,
    RESPONSE_TIMEOUT_S,
    ControlApiClient,
    ControlCall,
    control_call,
    publish_report,
    retry_delay,
)
from .environment import Proxy, bundle_of_environment, proxy_of_environment
from .failures import causes, reason
from .http_adapter import new_session
from .responses import MAX_RESPONSE_BYTES, ControlResponse, Target


class SlipSocketsPublisher(ControlApiClient):
    """Acts on one deployment of SLIP Sockets through its control API.

    `control_api` is the control API's URL, from the deployment's outputs file; `jwt_secret` its `JWT_SECRET`.
    `parse_request` also accepts `previous_secrets`, while a secret is being changed. `timeout_s` bounds the wait for
    one response.

    A method raises InvalidEvents before anything is sent, InvalidSettings (the environment names a proxy or
    certificates that cannot be used), ControlApiRefused (the request or the URL was wrong, and had no effect) or
    ControlApiUnavailable, and nothing else. A call that certainly had no effect (no connection, 429) is tried three
    times in all. One that may have had an effect (a timeout, 5xx) is tried again only if a second time does no harm:
    PUBLISH_TEXT has an id by which the gateway knows it again; TEXT has none and is never repeated, and neither is a
    SUBSCRIBE with `since`.

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
        self._session = session or new_session()
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

    def publish_text(
        self, channel: str, data: str, *, message_id: str | None = None, keep: Keep | None = None
    ) -> Report:
        """Send a text message of at most 131,072 bytes of UTF-8 to each subscriber of `channel`.

        The same `message_id` on the same channel within five minutes is delivered once. With `keep` the gateway keeps
        the message, and the report has its position; the position is None where the gateway does not keep messages.
        """
        (report,) = self.send([PublishText(channel, data, message_id, keep)])
        return publish_report(report)

    def history(self, channel: str, *, since: str | None = None, limit: int = 100) -> HistoryReport:
        """Return what is kept of `channel`, oldest first: the first `limit` (1 to 1,000) messages after the position
        `since`, or the newest `limit`.

        If something after `since` is kept no more, there are no messages, and `recovered` is False.
        """
        (report,) = self.send([History(channel, since, limit)])
        return self._history(report)

    def members(self, channel: str) -> PresenceReport:
        """Return who is in `channel` at this moment: those subscribed with `presence`, to 1,000 of them."""
        (report,) = self.send([Members(channel)])
        return self._members(report)

    def close_channel(self, channel: str, *, except_connection_id: str | None = None) -> Report:
        """Close the connections of all subscribers of `channel`, but for `except_connection_id`."""
        (report,) = self.send([CloseChannel(channel, except_connection_id)])
        return publish_report(report)

    def send_to_user(self, user: str, data: str, *, message_id: str | None = None, keep: Keep | None = None) -> Report:
        """Send a text message to all connections that were accepted with `user`; `message_id` and `keep` are those of
        `publish_text`. What is kept is the history of `user_channel(user)`."""
        return self.publish_text(user_channel(user), data, message_id=message_id, keep=keep)

    def close_user(self, user: str, *, except_connection_id: str | None = None) -> Report:
        """Close all connections that were accepted with `user`, but for `except_connection_id`."""
        return self.close_channel(user_channel(user), except_connection_id=except_connection_id)

    def send_text(self, connection_id: str, data: str) -> None:
        """Send a text message to one connection."""
        self.send([SendText(connection_id, data)])

    def close(self, connection_id: str) -> None:
        """Close one connection; the client sees code 1000."""
        self.send([CloseConnection(connection_id)])

    def subscribe(
        self,
        connection_id: str,
        channel: str,
        *,
        recover: bool = False,
        since: str | None = None,
        presence: Presence | bool = False,
    ) -> None:
        """Subscribe a connection to a channel, and send it what was kept after the position `since`.

        `channel` may be a pattern: `orders:*` is all channels that begin with `orders:`.

        With `recover` a client of `slip.v1` also receives the channel's newest position. With `presence` the
        connection's user is a member of the channel, `Presence(info)` with info that the others see.
        """
        self.send([Subscribe(connection_id, channel, recover, since, presence_of(presence))])

    def unsubscribe(self, connection_id: str, channel: str) -> None:
        self.send([Unsubscribe(connection_id, channel)])

    def set_metadata(self, connection_id: str, metadata: Any) -> None:
        """Replace the connection's metadata, any JSON, which later events bring to the backend; None clears it."""
        self.send([SetMetadata(connection_id, metadata)])

    def poll_for_connection(self, connection_id: str, *, timeout_ms: float) -> None:
        """Wait until the connection is open, at most `timeout_ms` (0 to 25,000) milliseconds."""
        self.send([PollForConnection(connection_id, timeout_ms)])

    def send(self, events: Sequence[ControlEvent]) -> list[AnyReport | None]:
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

    def _post(self, call: ControlCall) -> list[AnyReport | None]:
        proxy = self._proxy()
        takes_bundle = self._session.trust_env and self._session.verify is True
        bundle = bundle_of_environment(self._url, proxy) if takes_bundle else None
        if bundle is not None:
            bundle.check()  # requests would wait for a pipe without end, and lets OSError out
        target = Target(self._url, self._token(), proxy)
        locations: list[str] = []

        def take_location(response: requests.Response, **_: object) -> None:
            # requests takes it apart even if it follows no redirect, and lets errors of all kinds out.
            locations.append(response.headers.pop("Location", ""))

        try:
            with self._session.post(
                self._url,
                data=call.body,
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
                auth=_BearerAuth(target.token),
                timeout=(CONNECT_TIMEOUT_S, self._timeout_s),
                allow_redirects=False,
                stream=True,
                hooks={"response": take_location},
                proxies=None if proxy is None else {urlsplit(self._url).scheme: proxy.url},
                verify=self._session.verify if bundle is None else bundle.path,
            ) as response:
                content_type = response.headers.get("Content-Type", "")
                received = ControlResponse(response.status_code, _read(response), "".join(locations), content_type)
        except _FAILURES as error:
            raise self._failure(error, target) from error
        return received.reports(target, call.count)

    def _proxy(self) -> Proxy | None:
        """Return the proxy as requests chooses it. Raises InvalidSettings."""
        proxy = proxy_of_environment(self._url) if self._session.trust_env else None
        if proxy is not None:
            return proxy
        of_session = requests.utils.select_proxy(self._url, self._session.proxies)
        return Proxy(of_session, "session.proxies") if of_session else None

    def _failure(self, error: Exception, target: Target) -> SlipSocketsError:
        proxy = target.proxy
        if proxy is not None:
            if proxy.is_socks and isinstance(error, requests.exceptions.InvalidSchema):
                what = 'Install it: pip install "requests[socks]"'
                return InvalidSettings([f"{proxy.place} names a SOCKS proxy, which needs PySocks. {what}"])
            for each in causes(error):
                if found := _NO_TUNNEL.search(str(each)):
                    return target.no_tunnel(proxy, int(found[1]))
        had_no_effect = any(isinstance(each, _NO_CONNECTION) for each in causes(error))
        return target.no_response(reason(error, self._timeout_s), had_no_effect=had_no_effect)


_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
"""requests promises its own errors only, and lets those of its parts out too."""
_NO_CONNECTION = (
    requests.ConnectTimeout,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    ssl.SSLCertVerificationError,
)
_NO_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
"""http.client has no other sign for a proxy's response to CONNECT."""


class _BearerAuth(requests.auth.AuthBase):
    """Sets the token as `auth`, because an entry of the user's ~/.netrc replaces a header of that name."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    for part in response.iter_content(65536):
        body += part
        if len(body) > MAX_RESPONSE_BYTES:
            break
    return bytes(body[: MAX_RESPONSE_BYTES + 1])
