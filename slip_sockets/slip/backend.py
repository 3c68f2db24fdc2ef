"""How the gateway and a backend talk in SLIP: events in a signed POST, and a reply of events."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from ..gateway.dialects import BackendRequest, Opening, Reply, Tick
from ..gateway.effects import Effect
from ..gateway.errors import BackendFailed, BackendFault, NotAccepted, WhyNotAccepted
from ..gateway.values import Connect, HttpResponse, Publication
from ..protocol.bodies import open_metadata
from ..protocol.decoding import without_mark
from ..protocol.errors import ERROR_HEADER, InvalidEvents, MissingToken
from ..protocol.events import Accept, ReplyEvent, SetMetadata, SocketEvent, decode_reply, encode_request
from ..protocol.tokens import mint

CONTENT_TYPE = "application/websocket-events"


class SlipBackend:
    """A BackendProtocol."""

    may_repeat = True
    has_patterns = True

    def initial_metadata(self, connect: Connect) -> bytes:
        return msgspec.json.encode(open_metadata(connect.headers, connect.ip, connect.query))

    def request(
        self,
        connection_id: str,
        metadata: bytes | None,
        events: Sequence[SocketEvent],
        *,
        user: str | None,
        secret: str,
        now: float,
    ) -> BackendRequest:
        token = mint("WebSocketEvent", secret, now=now)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": CONTENT_TYPE}
        return BackendRequest(headers, encode_request(connection_id, metadata, events, user))

    def reply(
        self, connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent], response: HttpResponse
    ) -> Reply:
        return Reply(read_response(response))

    def tick(self, connection_id: str, metadata: bytes | None, timer_id: str) -> Tick | None:
        return None

    def filtered(self, metadata: bytes | None, publication: Publication) -> str | None:
        return publication.data

    def opening(self, connect: Connect, actions: Sequence[Effect]) -> Opening:
        return read_opening(connect.connection_id, connect.subprotocols, actions)


def read_response(response: HttpResponse) -> Sequence[ReplyEvent]:
    """Return the events of a backend's response. Raises BackendFailed."""
    status = response.status
    if not 200 <= status < 300 and response.headers.get(ERROR_HEADER.lower()) == MissingToken.__name__:
        problem = f"responded with {status}: the header Authorization did not reach it"
        raise BackendFailed(BackendFault.STATUS, problem, status=status, lacks_token=True)
    return read_reply(status, response.body)


def read_reply(status: int, body: bytes) -> Sequence[ReplyEvent]:
    """Return the events of a backend's response; an empty body has none. Raises BackendFailed."""
    if not 200 <= status < 300:
        raise BackendFailed(BackendFault.STATUS, f"responded with {status}", status=status)
    if not without_mark(body).strip():
        return []
    try:
        return decode_reply(body)
    except InvalidEvents as error:
        problem = f"responded with {status} and a body that is not valid: {error}"
        raise BackendFailed(BackendFault.INVALID_BODY, problem, status=status) from error


def read_opening(connection_id: str, offered: Collection[str], events: Sequence[Effect]) -> Opening:
    """Return the reply to OPEN of a client that offered these subprotocols.

    Raises NotAccepted where it does not let the client in.
    """
    accepts = [event for event in events if isinstance(event, Accept)]
    if not accepts:
        raise NotAccepted(WhyNotAccepted.NO_ACCEPT, "the response to OPEN has no ACCEPT")
    for accept in accepts:
        if accept.connection_id != connection_id:
            problem = f"ACCEPT names another connection, {accept.connection_id[:40]!r}"
            raise NotAccepted(WhyNotAccepted.OTHER_CONNECTION, problem)
    for event in events:
        if isinstance(event, Accept):
            break
        if isinstance(event, SetMetadata) and event.connection_id == connection_id:
            problem = "SET_METADATA stands before ACCEPT in the response to OPEN"
            raise NotAccepted(WhyNotAccepted.METADATA_FIRST, problem)
    chosen = accepts[0].subprotocol
    if chosen is not None and chosen not in offered:
        # Never log what was offered: browsers can set no other header, so some clients put tokens there.
        problem = "ACCEPT names a subprotocol that the client did not offer"
        raise NotAccepted(WhyNotAccepted.SUBPROTOCOL, problem, field="subprotocol")
    return Opening(chosen, [event for event in events if not isinstance(event, Accept)], accepts[0].user)
