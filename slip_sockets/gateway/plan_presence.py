"""Decides what the members of a channel are notified of, and what its backend."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from ..protocol.events import MAX_TEXT_BYTES
from ..protocol.frames import Joined, PresenceFrame, encode_frame
from .looks import GRACE_S
from .values import Announced, Form, MemberConnection, Notified

MAX_LISTED = 200
"""Members of a channel that are sent by name. With more of them, all are sent their number alone."""
COUNT_EVERY_S = 5.0
"""How often everybody is sent that number at most."""
NEW_FOR_S = 60.0
"""After this time a look has seen a membership. It is longer than a function lives, which notes the time and writes."""
MAX_GREETED = 2_000
"""How many connections are remembered to have had their first frame. Where more come in a minute, a row that is written
late may be taken for one that had its own; it learns the number with everybody."""
OVERHEAD_BYTES = 64
"""Of a frame's count, and of the names of its lists."""


class Sending(msgspec.Struct, frozen=True):
    """Frames for some connections, in order."""

    connection_ids: Sequence[str]
    frames: Sequence[str]


class LookPlan(msgspec.Struct, frozen=True):
    """What follows from a look at a channel.

    `sendings` are for different connections each. `notified` holds once they are sent; None if nothing is to be noted.
    With `is_risky` they must not be sent, unless a repeated look would know that they may have been. `announced` is for
    the backend. `forgotten` have left, and no longer count. The first of those that have left and still count does so
    until `grace_until`; at `count_due_at` the number of the members may be sent; at `sweep_due_at` all that are there
    now may have expired (Unix seconds).
    """

    sendings: Sequence[Sending]
    notified: Notified | None
    is_risky: bool
    announced: Announced | None
    forgotten: Sequence[MemberConnection]
    grace_until: float | None
    count_due_at: float | None
    sweep_due_at: float | None


def plan_look(
    channel: str,
    connections: Sequence[MemberConnection],
    notified: Notified,
    now: float,
    *,
    has_occupancy: bool = False,
    expires_after_s: float | None = None,
    is_repeated: bool = False,
) -> LookPlan:
    """Decide for the connections of a channel, as they were read after `now` (Unix seconds).

    Without `has_occupancy` the backend is notified of nothing. Where rows expire without an event, they do so in time
    before `expires_after_s`. Where it `is_repeated`, an earlier attempt may have sent frames that are not noted:
    everybody is sent everything.
    """
    if is_repeated:
        notified = msgspec.structs.replace(notified, users=None, count=-1, counted_at=0.0)
    counted = counted_members(connections, now)
    pages = {each.connection_id: each for each in connections if each.left_at is None and each.form is Form.SLIP_V1}
    new = _new(pages.values(), notified)
    announced = _announced(connections, counted, notified, now) if has_occupancy else None
    if len(counted) <= MAX_LISTED:
        sendings, following = _by_name(channel, counted, pages, new, notified)
    else:
        sendings, following = _by_number(channel, len(counted), pages, new, notified, now)
    sweep_due_at = None
    if expires_after_s is not None and now >= notified.swept_at and (live := _joined_last(connections)) is not None:
        sweep_due_at = max(live.joined_at, now) + expires_after_s
    is_noted = bool(sendings) or announced is not None or sweep_due_at is not None
    if not is_noted:
        following = notified
    elif sweep_due_at is not None:
        following = msgspec.structs.replace(following, swept_at=sweep_due_at)
    is_behind = bool(pages) and len(counted) > MAX_LISTED and following.count != len(counted)
    left = [each for each in connections if each.left_at is not None]
    grace_ends = [each.left_at + GRACE_S for each in left if each.left_at is not None]
    return LookPlan(
        sendings,
        _noted(following, pages.values(), counted, announced, notified, now) if is_noted else None,
        any(not new.issuperset(sending.connection_ids) for sending in sendings),
        announced,
        [each for each in left if not is_counted(each, now)],
        min((end for end in grace_ends if end > now), default=None),
        following.counted_at + COUNT_EVERY_S if is_behind else None,
        sweep_due_at,
    )


def is_counted(member: MemberConnection, now: float) -> bool:
    """Whether a connection is there, or left so lately that it may come back."""
    return member.left_at is None or member.left_at + GRACE_S > now


def counted_members(connections: Iterable[MemberConnection], now: float) -> dict[str, MemberConnection]:
    """Return the newest connection of each member that counts, by name, in the order of the names."""
    newest: dict[str, MemberConnection] = {}
    for each in connections:
        if is_counted(each, now):
            known = newest.get(each.name)
            if known is None or _age(each) > _age(known):
                newest[each.name] = each
    return dict(sorted(newest.items()))


def _age(member: MemberConnection) -> tuple[float, str]:
    return member.joined_at, member.connection_id


def _joined_last(connections: Iterable[MemberConnection]) -> MemberConnection | None:
    return max((each for each in connections if each.left_at is None), key=_age, default=None)


def _new(pages: Iterable[MemberConnection], notified: Notified) -> set[str]:
    """Return the connections that know nothing yet, or not all."""
    greeted, owed = set(notified.greeted), set(notified.owed)
    return {
        page.connection_id
        for page in pages
        if page.connection_id in owed or (page.joined_at > notified.new_from and page.connection_id not in greeted)
    }


def _by_name(
    channel: str,
    counted: dict[str, MemberConnection],
    pages: Iterable[str],
    new: set[str],
    notified: Notified,
) -> tuple[list[Sending], Notified]:
    """All of it for those that know nothing yet, and for the others what has changed."""
    users = {name: _digest(member.info) for name, member in counted.items()}
    everything = [page for page in pages if notified.users is None or page in new]
    changes = [page for page in pages if notified.users is not None and page not in new]
    sendings: list[Sending] = []
    if everything:
        sendings.append(Sending(everything, frames_of(channel, counted.values(), (), len(counted), is_all=True)))
    if changes and notified.users is not None and notified.users != users:
        known = notified.users
        joined = [member for name, member in counted.items() if known.get(name) != users[name]]
        left = [name for name in known if name not in users]
        sendings.append(Sending(changes, frames_of(channel, joined, left, len(counted))))
    return sendings, msgspec.structs.replace(notified, users=users, count=len(counted), counted_at=0.0)


def _by_number(
    channel: str, count: int, pages: Iterable[str], new: set[str], notified: Notified, now: float
) -> tuple[list[Sending], Notified]:
    """The number alone: for everybody where it has changed and is due, for those that know nothing yet at once."""
    is_due = now >= notified.counted_at + COUNT_EVERY_S
    to_everybody = notified.users is not None or (notified.count != count and is_due)
    recipients = [page for page in pages if to_everybody or page in new]
    following = notified
    if to_everybody:
        following = msgspec.structs.replace(notified, users=None, count=count, counted_at=now)
    elif recipients and notified.count != count:
        following = msgspec.structs.replace(notified, count=-1)
    return [Sending(recipients, frames_of(channel, (), (), count))] if recipients else [], following


def _noted(
    following: Notified,
    pages: Iterable[MemberConnection],
    counted: dict[str, MemberConnection],
    announced: Announced | None,
    notified: Notified,
    now: float,
) -> Notified:
    """Return what they are notified of then, with those that have had their first frame."""
    new_from = now - NEW_FOR_S
    lately = sorted((page for page in pages if page.joined_at > new_from), key=_age, reverse=True)
    if len(lately) > MAX_GREETED:
        new_from = lately[MAX_GREETED].joined_at
        lately = [page for page in lately if page.joined_at > new_from]
    occupant = next(((name, each.connection_id) for name, each in counted.items()), notified.occupant)
    return msgspec.structs.replace(
        following,
        version=notified.version + 1,
        at=now,
        greeted=tuple(page.connection_id for page in lately),
        new_from=new_from,
        owed=(),
        is_occupied=notified.is_occupied if announced is None else announced.is_occupied,
        occupant=occupant,
    )


def _announced(
    connections: Sequence[MemberConnection], counted: dict[str, MemberConnection], notified: Notified, now: float
) -> Announced | None:
    if bool(counted) is notified.is_occupied:
        return None
    if counted:
        who = min((each for each in connections if is_counted(each, now)), key=_age)
    else:
        name, connection_id = notified.occupant  # without a row of it: it has expired
        gone = MemberConnection(name, connection_id, joined_at=notified.at)
        who = max((each for each in connections), key=lambda each: each.left_at or 0.0, default=gone)
    return Announced(bool(counted), who, notified.version + 1)


def frames_of(
    channel: str, joined: Iterable[MemberConnection], left: Iterable[str], count: int, *, is_all: bool = False
) -> list[str]:
    """Return the frames that say so: several where a single one is too large. Only the first one is of all."""
    room = (
        MAX_TEXT_BYTES
        - OVERHEAD_BYTES
        - len(encode_frame(PresenceFrame(channel=channel, all=True, count=count)).encode())
    )
    parts: list[tuple[list[Joined], list[str]]] = [([], [])]
    size = 0
    for item in (*(Joined(each.name, msgspec.Raw(each.info)) for each in joined), *left):
        item_bytes = len(msgspec.json.encode(item)) + 1
        if size + item_bytes > room:
            parts.append(([], []))
            size = 0
        size += item_bytes
        into: list[Joined] | list[str] = parts[-1][0] if isinstance(item, Joined) else parts[-1][1]
        into.append(item)  # type: ignore[arg-type]
    return [
        encode_frame(PresenceFrame(channel=channel, all=is_all and not index, joined=came, left=went, count=count))
        for index, (came, went) in enumerate(parts)
    ]


def _digest(info: bytes) -> str:
    return "" if info == b"null" else hashlib.sha256(info).hexdigest()[:16]
