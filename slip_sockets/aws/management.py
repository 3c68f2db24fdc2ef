"""API Gateway's management API, `@connections`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from ..apigateway.connection_ids import has_usual_form, is_connection_id
from ..apigateway.limits import OPENING_WINDOW_S
from ..gateway.errors import Unavailable
from ..gateway.ports import Clock
from ..gateway.values import Outcome
from .credentials import CredentialsProvider
from .sender import BatchSender, Limits
from .sigv4 import Credentials, Signer

GET_TIMEOUT_S = 10.0
"""How long `is_open` and `last_active_at` take at most."""


class _Connection(msgspec.Struct, rename="camel"):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html"""

    last_active_at: str


class ApiGatewaySender:
    """The port Sender, for the stage at `management_url`. All its calls must run on the same event loop."""

    opening_window_s = OPENING_WINDOW_S

    def __init__(
        self,
        management_url: str,
        region: str,
        credentials: CredentialsProvider,
        clock: Clock,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._sender = BatchSender(management_url, clock, limits=limits, tls=tls)
        self._region = region
        self._credentials = credentials
        self._clock = clock
        self._signed_with: Credentials | None = None
        self._signer: Signer | None = None

    def is_connection_id(self, text: str) -> bool:
        return is_connection_id(text)

    def looks_like_connection_id(self, text: str) -> bool:
        return has_usual_form(text)

    async def send(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        return await self._send("POST", connection_ids, data.encode(), until)

    async def close(self, connection_ids: Sequence[str], *, until: float) -> Outcome:
        return await self._send("DELETE", connection_ids, b"", until)

    async def is_open(self, connection_id: str) -> bool:
        return await self._get(connection_id) is not None

    async def last_active_at(self, connection_id: str) -> float | None:
        body = await self._get(connection_id)
        if body is None:
            return None
        try:
            return datetime.fromisoformat(msgspec.json.decode(body, type=_Connection).last_active_at).timestamp()
        except (msgspec.MsgspecError, ValueError) as error:
            raise Unavailable(f"management API: its response to GET is not valid: {error}") from error

    def end(self) -> None:
        """Close the kept TCP connections."""
        self._sender.close()

    async def _get(self, connection_id: str) -> bytes | None:
        """Return what there is about a connection, None where it is not open. Raises Unavailable."""
        bodies: list[bytes] = []
        outcome = await self._send("GET", [connection_id], None, self._clock.now() + GET_TIMEOUT_S, bodies.append)
        if outcome.done:
            return bodies[0]
        if outcome.gone:
            return None
        reasons = {**outcome.refused, **outcome.failed}
        raise Unavailable(f"management API: {reasons.get(connection_id, f'no response within {GET_TIMEOUT_S:g} s')}")

    async def _send(
        self,
        method: str,
        connection_ids: Sequence[str],
        body: bytes | None,
        until: float,
        on_done: Callable[[bytes], None] | None = None,
    ) -> Outcome:
        if not connection_ids:
            return Outcome()
        try:
            signer = await self._current_signer()
        except Unavailable as error:
            return Outcome(failed=dict.fromkeys(connection_ids, str(error)))
        return await self._sender.send(method, connection_ids, body, signer, until=until, on_done=on_done)

    async def _current_signer(self) -> Signer:
        """Return the last signer, which keeps the key of the day, as long as the credentials are the same."""
        credentials = await self._credentials()
        if credentials is None:
            raise Unavailable("there are no AWS credentials")
        if self._signer is None or credentials != self._signed_with:
            self._signed_with = credentials
            self._signer = Signer(self._sender.host, self._region, credentials)
        return self._signer
