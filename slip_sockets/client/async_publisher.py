"""The publisher for async applications, over aiohttp, which comes with the extra `async`.

Its methods are written out with `async def` and share no code with the synchronous ones, because frameworks look for
coroutine functions: Starlette's BackgroundTask would run any other in a thread, and never await what it returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from ..protocol.errors import ControlApiUnavailable, InvalidSettings
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
from .environment import bundle_of_environment, proxy_of_environment
from .failures import reason
from .responses import MAX_RESPONSE_BYTES, ControlResponse, Target

try:
    import aiohttp
    from yarl import URL
except ModuleNotFoundError as error:
    if error.name != "aiohttp":
        raise
    message = 'AsyncSlipSocketsPublisher needs aiohttp. Install it: pip install "path/to/slip-sockets[async]"'
    raise ModuleNotFoundError(message, name=error.name) from error


class AsyncSlipSocketsPublisher(ControlApiClient):
    """SlipSocketsPublisher for async applications: the same methods, to be awaited, with the same errors and retries.

    `async with` keeps connections to the control API alive, for the event loop that entered it; a server does this for
    its lifetime. Without it, and in another event loop, each call opens a connection and closes it.
    """

    def __init__(
        self,
        *,
        control_api: str,
        jwt_secret: str,
        previous_secrets: Sequence[str] = (),
        timeout_s: float = RESPONSE_TIMEOUT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(
            control_api=control_api, jwt_secret=jwt_secret, previous_secrets=previous_secrets, timeout_s=timeout_s
        )
        self._sleep = sleep
        self._kept: tuple[asyncio.AbstractEventLoop, aiohttp.ClientSession] | None = None

    async def __aenter__(self) -> Self:
        await self.close_session()
        self._kept = (asyncio.get_running_loop(), self._open())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close_session()

    async def close_session(self) -> None:
        """Close the kept-alive connections to the control API. The publisher stays usable."""
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept[1].close()

    async def publish_text(
        self, channel: str, data: str, *, message_id: str | None = None, keep: Keep | None = None
    ) -> Report:
        """Send a text message of at most 131,072 bytes of UTF-8 to each subscriber of `channel`.

        The same `message_id` on the same channel within five minutes is delivered once. With `keep` the gateway keeps
        the message, and the report has its position; the position is None where the gateway does not keep messages.
        """
        (report,) = await self.send([PublishText(channel, data, message_id, keep)])
        return publish_report(report)

    async def history(self, channel: str, *, since: str | None = None, limit: int = 100) -> HistoryReport:
        """Return what is kept of `channel`, oldest first: the first `limit` (1 to 1,000) messages after the position
        `since`, or the newest `limit`.

        If something after `since` is kept no more, there are no messages, and `recovered` is False.
        """
        (report,) = await self.send([History(channel, since, limit)])
        return self._history(report)

    async def members(self, channel: str) -> PresenceReport:
        """Return who is in `channel` at this moment: those subscribed with `presence`, to 1,000 of them."""
        (report,) = await self.send([Members(channel)])
        return self._members(report)

    async def close_channel(self, channel: str, *, except_connection_id: str | None = None) -> Report:
        """Close the connections of all subscribers of `channel`, but for `except_connection_id`."""
        (report,) = await self.send([CloseChannel(channel, except_connection_id)])
        return publish_report(report)

    async def send_to_user(
        self, user: str, data: str, *, message_id: str | None = None, keep: Keep | None = None
    ) -> Report:
        """Send a text message to all connections that were accepted with `user`; `message_id` and `keep` are those of
        `publish_text`. What is kept is the history of `user_channel(user)`."""
        return await self.publish_text(user_channel(user), data, message_id=message_id, keep=keep)

    async def close_user(self, user: str, *, except_connection_id: str | None = None) -> Report:
        """Close all connections that were accepted with `user`, but for `except_connection_id`."""
        return await self.close_channel(user_channel(user), except_connection_id=except_connection_id)

    async def send_text(self, connection_id: str, data: str) -> None:
        """Send a text message to one connection."""
        await self.send([SendText(connection_id, data)])

    async def close(self, connection_id: str) -> None:
        """Close one connection; the client sees code 1000."""
        await self.send([CloseConnection(connection_id)])

    async def subscribe(
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
        await self.send([Subscribe(connection_id, channel, recover, since, presence_of(presence))])

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        await self.send([Unsubscribe(connection_id, channel)])

    async def set_metadata(self, connection_id: str, metadata: Any) -> None:
        """Replace the connection's metadata, any JSON, which later events bring to the backend; None clears it."""
        await self.send([SetMetadata(connection_id, metadata)])

    async def poll_for_connection(self, connection_id: str, *, timeout_ms: float) -> None:
        """Wait until the connection is open, at most `timeout_ms` (0 to 25,000) milliseconds."""
        await self.send([PollForConnection(connection_id, timeout_ms)])

    async def send(self, events: Sequence[ControlEvent]) -> list[AnyReport | None]:
        """Send up to 10,000 events, which take effect in order.

        Returns a report for each event, None for an event of which the gateway reports nothing.
        """
        call = control_call(events)
        attempt = 0
        async with self._session() as session:
            while True:
                try:
                    return await self._post(session, call)
                except ControlApiUnavailable as error:
                    delay_s = retry_delay(call, attempt, error)
                    if delay_s is None:
                        raise
                await self._sleep(delay_s)
                attempt += 1

    async def _post(self, session: aiohttp.ClientSession, call: ControlCall) -> list[AnyReport | None]:
        proxy = proxy_of_environment(self._url)
        if proxy is not None and proxy.is_socks:
            what = "Set it to an http proxy, or set no_proxy to the control API's host"
            raise InvalidSettings([f"{proxy.place} names a SOCKS proxy, which aiohttp cannot use. {what}"])
        bundle = bundle_of_environment(self._url, proxy)
        context = True if bundle is None else bundle.context()
        target = Target(self._url, self._token(), proxy)
        try:
            async with session.post(
                URL(self._url, encoded=True),
                data=call.body,
                headers={
                    "Authorization": f"Bearer {target.token}",
                    "Content-Type": "application/json",
                    "Accept-Encoding": "identity",
                },
                allow_redirects=False,
                proxy=None if proxy is None else proxy.url,
                ssl=context,
            ) as response:
                location, content_type = (response.headers.get(name, "") for name in ("Location", "Content-Type"))
                received = ControlResponse(response.status, await _read(response), location, content_type)
        except _FAILURES as error:
            if proxy is not None and isinstance(error, aiohttp.ClientHttpProxyError):
                raise target.no_tunnel(proxy, error.status) from error
            had_no_effect = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            raise target.no_response(reason(error, self._timeout_s), had_no_effect=had_no_effect) from error
        return received.reports(target, call.count)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        if self._kept is not None and self._kept[0] is asyncio.get_running_loop():
            yield self._kept[1]
        else:
            async with self._open() as session:
                yield session

    def _open(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(
            total=CONNECT_TIMEOUT_S + self._timeout_s, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._timeout_s
        )
        return aiohttp.ClientSession(
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # `environment` decides, the same for both publishers; and ~/.netrc is not read
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )


_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""aiohttp promises its own errors only, and lets those of its parts out too."""
MAX_HEADER_BYTES = 65536
"""http.client's limit, so that both publishers take the same."""


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_chunked(65536):
        body += part
        if len(body) > MAX_RESPONSE_BYTES:
            break
    return bytes(body[: MAX_RESPONSE_BYTES + 1])
