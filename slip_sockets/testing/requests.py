"""The gateway's POSTs as headers and body, for any test client."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..protocol.events import SocketEvent, encode_metadata, encode_request
from ..protocol.tokens import mint
from ..slip.backend import CONTENT_TYPE

CONNECTION_ID = "L0SM9cOFvHcCIhw="


class SignedRequest(NamedTuple):
    headers: dict[str, str]
    body: bytes


def signed_request(
    *events: SocketEvent, jwt_secret: str, metadata: Any = None, user: str | None = None, now: float | None = None
) -> SignedRequest:
    """Return a POST with `events`, all of one connection, signed as the gateway signs it.

    `user` is who is at the connection, as ACCEPT said. `now` (Unix seconds) is when its token was made: a token that
    was made an hour ago has expired.
    """
    if not events:
        raise ValueError("signed_request needs an event: Open(CONNECTION_ID), for instance")
    token = mint("WebSocketEvent", jwt_secret, now=now)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": CONTENT_TYPE}
    return SignedRequest(headers, encode_request(events[0].connection_id, encode_metadata(metadata), events, user))
