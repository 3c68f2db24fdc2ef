"""What goes into the gateway and comes out of it, as plain values. A connection id is opaque: any text.

They are structs of msgspec, as all values of the functions: to make the class of a dataclass takes 0.5 ms at each cold
start, that of a struct 0.01.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ..protocol.events import Keep, KeptMessage
from ..protocol.positions import Position

# What happens on a connection


class Connect(msgspec.Struct, frozen=True):
    """A client asks to connect.

    `headers` are named as the client wrote them, each with its last value; `repeated_headers` has all values of those
    with several. `query` maps each name to its values; `subprotocols` are those that it offers, in order.
    """

    connection_id: str
    headers: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    ip: str | None
    subprotocols: Sequence[str]
    repeated_headers: Mapping[str, Sequence[str]] = {}


class Message(msgspec.Struct, frozen=True):
    """A client sent a text message."""

    connection_id: str
    text: str


class Disconnect(msgspec.Struct, frozen=True):
    """A client has left. `code` and `reason` are those of the close frame, None where they are not known."""

    connection_id: str
    code: int | None
    reason: str | None


class Accepted(msgspec.Struct, frozen=True):
    """The handshake succeeds, with this subprotocol."""

    subprotocol: str | None = None


class Refused(msgspec.Struct, frozen=True):
    """The handshake fails with this HTTP status."""

    status: int


class Done(msgspec.Struct, frozen=True):
    """Everything that the event asked for is done, or queued for good."""


class Failed(msgspec.Struct, frozen=True):
    """The event, or an action that it asked for, is lost. `status` is the HTTP status that says why."""

    status: int


# HTTP, with the backend and with publishers


class HttpRequest(msgspec.Struct, frozen=True):
    """A publisher's request. Names of `headers` are in lower case; `path` is without a query.

    `read_body` returns the body; it raises InvalidEvents where what arrived cannot be decoded. The token is checked
    before.
    """

    headers: Mapping[str, str]
    read_body: Callable[[], bytes]
    method: str = "POST"
    path: str = "/"


class HttpResponse(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


# What channels carry


class Link(msgspec.Struct, frozen=True, omit_defaults=True):
    """A broadcast's place in the sequence of its channel: its own id, and that of the broadcast before it."""

    id: str | None = None
    previous_id: str | None = None


class Publication(msgspec.Struct, frozen=True, tag="publication", omit_defaults=True):
    """A text for all subscribers of a channel but those of one of `except_for`, which are channels too.

    The same `id` is delivered once within five minutes, or within `id_for_s` seconds. Without a `link` it is part of
    no sequence. With `is_filtered` each subscriber gets what the filters of its subscription make of `data`: they must
    be `content_filters`, unless that is None. What is to be kept has `keep`, and once it is kept a `position`.
    """

    channel: str
    data: str
    id: str | None = None
    except_for: tuple[str, ...] = ()
    link: Link | None = None
    id_for_s: float | None = None
    is_filtered: bool = False
    content_filters: tuple[str, ...] | None = None
    keep: Keep | None = None
    position: str | None = None


class Origin(msgspec.Struct, frozen=True):
    """The name of a message to be kept: the same one at each attempt to publish it.

    `is_repeated`: an earlier attempt may have kept it.
    """

    name: str
    is_repeated: bool = False


class Past(msgspec.Struct, frozen=True):
    """Some of what is kept of a channel, oldest first. `newest` is the newest position of the channel.

    `is_whole` is False where something is kept no more of what was asked for; then there are no messages. `more` says
    that there is more of it.
    """

    newest: Position
    messages: Sequence[KeptMessage] = ()
    is_whole: bool = True
    more: bool = False


class ChannelClose(msgspec.Struct, frozen=True, tag="channel_close", omit_defaults=True):
    """Closes the connections of all subscribers of a channel but those of one of `except_for`, which are channels too,
    and but for `except_connection_id`."""

    channel: str
    except_for: tuple[str, ...] = ()
    link: Link | None = None
    except_connection_id: str | None = None


Broadcast = Publication | ChannelClose
"""What reaches all subscribers of a channel."""


class Form(enum.StrEnum):
    """How a connection sends and receives texts."""

    RAW = "raw"
    SLIP_V1 = "slip.v1"
    """In the frames of the subprotocol of that name."""


class Known(msgspec.Struct, frozen=True):
    """What an action must know of its connection. `user` is who is at it, None where the backend did not say."""

    form: Form = Form.RAW
    user: str | None = None


NOTHING_KNOWN: Mapping[str, Known] = {}
"""By connection id."""


class StoredConnection(msgspec.Struct, frozen=True):
    """A connection as it is stored. `metadata` is JSON, `accepted_at` Unix seconds.

    `next_number` is that of the text that comes next, from a client that numbers its texts. `user` is who is at it,
    None where the backend did not say.
    """

    metadata: bytes
    accepted_at: float
    next_number: int = 1
    form: Form = Form.RAW
    user: str | None = None


def known_of(stored: StoredConnection | None) -> Known:
    """Return what is known of a connection: raw, as ever, where there is none; it has left, or is about to."""
    return Known() if stored is None else Known(stored.form, stored.user)


# Presence


class Membership(msgspec.Struct, frozen=True):
    """That a subscriber is a member of its channel: under the `name` of its user, or its connection id.

    `info` is JSON.
    """

    name: str
    info: bytes = b"null"


class MemberConnection(msgspec.Struct, frozen=True):
    """A connection of a member, or one that has just left. Times are in Unix seconds, `info` is JSON.

    `metadata` is what was last stored for one that has left, where the engine keeps that.
    """

    name: str
    connection_id: str
    joined_at: float
    info: bytes = b"null"
    form: Form = Form.RAW
    left_at: float | None = None
    metadata: bytes | None = None


class Notified(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the members of a channel have been notified of, and its backend.

    `version` counts the changes. `at` is when the members were read for it (Unix seconds). `users` has a digest of the
    info of each, by name; None where there were too many to be listed, and everybody was sent `count` alone, last at
    `counted_at`; -1 where some were sent another count since.

    `greeted` are connections that joined after `new_from` and have had their first frame; `owed` are those that a frame
    did not reach. `occupant` is one of those who were there, by name and connection id. Until `queued_until` a frame
    may be in the queue, until `swept_at` nobody looks unless something changes.
    """

    version: int = 0
    at: float = 0.0
    count: int = 0
    users: dict[str, str] | None = msgspec.field(default_factory=dict)
    greeted: tuple[str, ...] = ()
    is_occupied: bool = False
    queued_until: float = 0.0
    swept_at: float = 0.0
    counted_at: float = 0.0
    new_from: float = 0.0
    owed: tuple[str, ...] = ()
    occupant: tuple[str, str] = ("", "")


NOT_NOTIFIED = Notified()


class Announced(msgspec.Struct, frozen=True):
    """That a channel has its first member, or has lost its last one, `who`. `version` is that of its Notified."""

    is_occupied: bool
    who: MemberConnection
    version: int


class Page(msgspec.Struct, frozen=True):
    """Some of a channel's subscribers. `cursor` is where the next page begins, None after the last.

    `framed` are those of them that take frames of slip.v1.
    """

    connection_ids: Sequence[str]
    cursor: str | None
    framed: frozenset[str] = frozenset()


class Count(msgspec.Struct, frozen=True):
    """The number of a channel's subscribers. With `more` the counting was broken off: there are at least that many."""

    subscribers: int
    more: bool


class ChannelState(msgspec.Struct, frozen=True):
    """What a publish must know so as not to overtake earlier ones of its channel.

    With `is_queued` some of them may still be in the queue; for the connections in `slow`, too. `last_id` is that of
    the last broadcast with a link. With `has_content_filters` a text may be another one for each subscriber. `kept` is
    the engine's own, for History.keep.
    """

    is_queued: bool = False
    slow: frozenset[str] = frozenset()
    last_id: str | None = None
    has_content_filters: bool = False
    kept: object = None


class Outcome(msgspec.Struct):
    """The result of one call for several connections. Each connection id is in exactly one of these.

    `gone` are not open (not any more, or not yet). `refused` will never be taken, each with its reason. `failed` failed
    repeatedly and may succeed later, each with its reason. For `unsent` no time was left; a few of them may have been
    sent to, since their responses were still outstanding.
    """

    done: int = 0
    gone: list[str] = []
    refused: dict[str, str] = {}
    failed: dict[str, str] = {}
    unsent: list[str] = []
