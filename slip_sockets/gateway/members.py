"""Who is in a channel, as PRESENCE reports it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from ..protocol.events import Member, PresenceReport
from .values import MemberConnection

MAX_MEMBERS = 1_000
"""That are listed in a report."""


def presence_report(connections: Iterable[MemberConnection]) -> PresenceReport:
    """Report those who are there. Those who have left are not, also while they may come back."""
    of_user: defaultdict[str, list[MemberConnection]] = defaultdict(list)
    for connection in connections:
        if connection.left_at is None:
            of_user[connection.name].append(connection)
    names = sorted(of_user, key=str.encode)
    members = [_member(name, of_user[name]) for name in names[:MAX_MEMBERS]]
    return PresenceReport(len(names), members, more=len(names) > MAX_MEMBERS)


def _member(name: str, connections: list[MemberConnection]) -> Member:
    by_age = sorted(connections, key=lambda connection: connection.joined_at)
    info = msgspec.json.decode(by_age[-1].info)
    return Member(name, info, len(connections), since=int(by_age[0].joined_at * 1_000))
