"""Decides which actions of the reply to OPEN happen at once, and which have to wait for the open socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from ..protocol.events import (
    Accept,
    CloseChannel,
    Presence,
    PublishText,
    SetMetadata,
    Subscribe,
    Unsubscribe,
    encode_info,
    encode_metadata,
    user_channel,
)
from ..protocol.patterns import is_pattern, patterns_of
from .deferred import Continuation
from .effects import Effect, NoteContentFilters, NotePatterns, Recover, StartTimer
from .errors import BackendFailed, BackendFault
from .values import Known, Membership


class OpenPlan(msgspec.Struct, frozen=True):
    """What it takes to let a client in.

    `notes`, then `metadata` (JSON) and `channels`, then `others` are written before the handshake is answered.
    `memberships` are those of some of the `channels`. `deferred` happens once the socket is open, in order.
    """

    metadata: bytes
    channels: tuple[str, ...]
    others: tuple[Subscribe | Unsubscribe | StartTimer, ...]
    deferred: tuple[Effect, ...]
    notes: tuple[NoteContentFilters | NotePatterns, ...] = ()
    memberships: Mapping[str, Membership] = {}


def check_user(user: str | None, looks_like_connection_id: Callable[[str], bool]) -> None:
    """Raises BackendFailed where ACCEPT names a user who could be taken for a connection."""
    if user is not None and looks_like_connection_id(user):
        problem = "responded with a body that is not valid: user: ACCEPT needs a name that no connection id has"
        raise BackendFailed(BackendFault.INVALID_BODY, problem)


def plan_open(
    connection_id: str, actions: Sequence[Effect], initial_metadata: bytes, user: str | None = None
) -> OpenPlan:
    """Split the actions of a reply to OPEN that names `user`; the connection listens to the user's channel from the
    beginning.

    The socket opens only after the handshake was answered, and nothing can be sent to it before. So the leading run of
    actions that only write to the store happens now; from the first other action on, all of them wait. The last of the
    connection's own SET_METADATA is stored now, wherever it stands. What a subscriber missed is sent first of all.
    """
    metadata = initial_metadata
    channels: dict[str, None] = {}
    memberships: dict[str, Membership] = {}
    recovered: dict[str, Recover] = {}
    others: list[Subscribe | Unsubscribe | StartTimer] = []
    deferred: list[Effect] = []
    notes: list[NoteContentFilters | NotePatterns] = []
    for action in actions:
        match action:
            case Accept():
                pass
            case SetMetadata(connection_id=id_) if id_ == connection_id:
                metadata = encode_metadata(action.metadata)
            case _ if deferred:
                deferred.append(action)
            case Subscribe(connection_id=id_) if id_ == connection_id:
                channels[action.channel] = None
                if action.presence is not None:
                    memberships[action.channel] = membership_of(connection_id, user, action.presence)
                if action.recover or action.since is not None:
                    recovered[action.channel] = Recover(connection_id, action.channel, action.since)
            case Unsubscribe(connection_id=id_) if id_ == connection_id:
                channels.pop(action.channel, None)
                memberships.pop(action.channel, None)
                recovered.pop(action.channel, None)
            case Subscribe() | Unsubscribe() | StartTimer():
                others.append(action)
            case NoteContentFilters():
                notes.append(action)
            case _:
                deferred.append(action)
    if user is not None:
        channels[user_channel(user)] = None
    if any(map(is_pattern, channels)):
        notes.append(NotePatterns())
    waiting = (*recovered.values(), *deferred)
    return OpenPlan(metadata, tuple(channels), tuple(others), waiting, tuple(notes), memberships)


def membership_of(connection_id: str, user: str | None, presence: Presence) -> Membership:
    """Return the membership that a SUBSCRIBE asks for. Raises InvalidEvents."""
    return Membership(connection_id if user is None else user, encode_info(presence.info))


def continuation_of(connection_id: str, plan: OpenPlan, known: Known, *, now: float, lag_s: float) -> Continuation:
    """Return the deferred actions, with what a publish among them must know of the writes before them.

    `lag_s` is how long the index may not show these.
    """
    published = {action.channel for action in plan.deferred if isinstance(action, PublishText | CloseChannel)}
    published |= {pattern for channel in published for pattern in patterns_of(channel)}
    written = [*(Subscribe(connection_id, channel) for channel in plan.channels), *plan.others]
    recent = [
        action for action in written if isinstance(action, Subscribe | Unsubscribe) and action.channel in published
    ]
    recent_until = now + lag_s if recent else 0
    return Continuation(connection_id, list(plan.deferred), recent, recent_until, known.form, known.user)
