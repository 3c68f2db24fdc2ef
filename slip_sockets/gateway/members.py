"""Says who is in a channel to a publisher that asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ..protocol.events import Member, PresenceReport
from .values import MemberConnection

MAX_MEMBERS = 1_000
"""Of a report."""


def members_report(connections: Iterable[MemberConnection]) -> PresenceReport:
    """Return who is there: the first members, by their names, and the number of all."""
    by_name: dict[str, list[MemberConnection]] = {}
    for each in connections:
        if each.left_at is None:
            by_name.setdefault(each.name, []).append(each)
    members = [_member(name, by_name[name]) for name in sorted(by_name)[:MAX_MEMBERS]]
    return PresenceReport(len(by_name), members, more=len(by_name) > MAX_MEMBERS)


def _member(name: str, connections: Sequence[MemberConnection]) -> Member:
    newest = max(connections, key=lambda each: (each.joined_at, each.connection_id))
    since = min(each.joined_at for each in connections)
    return Member(name, msgspec.json.decode(newest.info), len(connections), int(since * 1000))


def fitted_members(report: PresenceReport, limit: int) -> tuple[PresenceReport, int]:
    """Return a report with at most `limit` bytes of JSON, and what is left of these."""
    for index, member in enumerate(report.members):
        size = len(msgspec.json.encode(member))
        if size > limit:
            return msgspec.structs.replace(report, members=report.members[:index], more=True), limit
        limit -= size
    return report, limit
