"""API Gateway's management API, `@connections`."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from ..gateway.ports import Clock, Outcome, Unavailable
from .credentials import CredentialsProvider
from .sender import Limits, Sender
from .sigv4 import Credentials, Signer

ASK_FOR_S = 10.0
"""How long `is_open` may take."""


class ApiGatewayManagement:
    """The Management port for the stage at `management_url`. Calls of all its life belong on one event loop."""

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
        self._sender = Sender(management_url, clock, limits=limits, tls=tls)
        self._region = region
        self._credentials = credentials
        self._clock = clock
        self._signed_with: Credentials | None = None
        self._signer: Signer | None = None

    async def post(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        return await self._send("POST", connection_ids, data.encode(), until)

    async def delete(self, connection_ids: Sequence[str], *, until: float) -> Outcome:
        return await self._send("DELETE", connection_ids, b"", until)

    async def is_open(self, connection_id: str) -> bool:
        outcome = await self._send("GET", [connection_id], None, self._clock.now() + ASK_FOR_S)
        if outcome.done or outcome.gone:
            return bool(outcome.done)
        reasons = {**outcome.refused, **outcome.failed}
        raise Unavailable(f"management API: {reasons.get(connection_id, f'no answer within {ASK_FOR_S:g} s')}")

    def close(self) -> None:
        """End the connections that are kept."""
        self._sender.close()

    async def _send(self, method: str, connection_ids: Sequence[str], body: bytes | None, until: float) -> Outcome:
        if not connection_ids:
            return Outcome()
        try:
            signer = self._current_signer()
        except Unavailable as error:
            return Outcome(failed=dict.fromkeys(connection_ids, str(error)))
        return await self._sender.send(method, connection_ids, body, signer, until=until)

    def _current_signer(self) -> Signer:
        """Return the one that has the key of today already, while the credentials are the same."""
        credentials = self._credentials()
        if credentials is None:
            raise Unavailable("there are no AWS credentials")
        if self._signer is None or credentials != self._signed_with:
            self._signed_with = credentials
            self._signer = Signer(self._sender.host, self._region, credentials)
        return self._signer
