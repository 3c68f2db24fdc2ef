"""API Gateway's management API, `@connections`."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from ..apigateway.connection_ids import is_connection_id
from ..apigateway.limits import OPENING_WINDOW_S
from ..gateway.errors import Unavailable
from ..gateway.ports import Clock
from ..gateway.values import Outcome
from .credentials import CredentialsProvider
from .sender import BatchSender, Limits
from .sigv4 import Credentials, Signer

IS_OPEN_TIMEOUT_S = 10.0
"""How long `is_open` takes at most."""


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

    async def send(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        return await self._send("POST", connection_ids, data.encode(), until)

    async def close(self, connection_ids: Sequence[str], *, until: float) -> Outcome:
        return await self._send("DELETE", connection_ids, b"", until)

    async def is_open(self, connection_id: str) -> bool:
        outcome = await self._send("GET", [connection_id], None, self._clock.now() + IS_OPEN_TIMEOUT_S)
        if outcome.done or outcome.gone:
            return bool(outcome.done)
        reasons = {**outcome.refused, **outcome.failed}
        raise Unavailable(
            f"management API: {reasons.get(connection_id, f'no response within {IS_OPEN_TIMEOUT_S:g} s')}"
        )

    def end(self) -> None:
        """Close the kept TCP connections."""
        self._sender.close()

    async def _send(self, method: str, connection_ids: Sequence[str], body: bytes | None, until: float) -> Outcome:
        if not connection_ids:
            return Outcome()
        try:
            signer = await self._current_signer()
        except Unavailable as error:
            return Outcome(failed=dict.fromkeys(connection_ids, str(error)))
        return await self._sender.send(method, connection_ids, body, signer, until=until)

    async def _current_signer(self) -> Signer:
        """Return the last signer, which keeps the key of the day, as long as the credentials are the same."""
        credentials = await self._credentials()
        if credentials is None:
            raise Unavailable("there are no AWS credentials")
        if self._signer is None or credentials != self._signed_with:
            self._signed_with = credentials
            self._signer = Signer(self._sender.host, self._region, credentials)
        return self._signer
