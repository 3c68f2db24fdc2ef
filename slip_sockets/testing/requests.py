"""The gateway's POSTs as headers and body, for any test client."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..protocol.events import Occupied, SocketEvent, Vacated, encode_metadata, encode_request
from ..protocol.tokens import mint
from ..slip.backend import CONTENT_TYPE

CONNECTION_ID = "L0SM9cOFvHcCIhw="


class SignedRequest(NamedTuple):
    headers: dict[str, str]
    body: bytes


def signed_request(
    *events: SocketEvent,
    jwt_secret: str,
    metadata: Any = None,
    user: str | None = None,
    now: float | None = None,
    connection_id: str | None = None,
) -> SignedRequest:
    """Return a POST with `events`, all of one connection, signed as the gateway signs it.

    Its connection is `connection_id`; without it that of the first event, or CONNECTION_ID if that names none. `user`
    is who is at the connection, as ACCEPT said. `now` (Unix seconds) is when its token was made: a token that was made
    an hour ago has expired.
    """
    if not events:
        raise ValueError("signed_request needs an event: Open(CONNECTION_ID), for instance")
    token = mint("WebSocketEvent", jwt_secret, now=now)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": CONTENT_TYPE}
    about = connection_id or _connection_of(events[0])
    return SignedRequest(headers, encode_request(about, encode_metadata(metadata), events, user))


def _connection_of(event: SocketEvent) -> str:
    return CONNECTION_ID if isinstance(event, Occupied | Vacated) else event.connection_id
