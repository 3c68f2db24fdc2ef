"""Whom a command is about: the subscribers of a channel, or all connections of a user."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import typer

from ..protocol.events import HistoryReport, Report, user_channel
from .printing import described

UserOption = Annotated[
    str | None,
    typer.Option("--user", help="All connections of this user, in place of a channel.", show_default=False),
]


class Audience(NamedTuple):
    """`channel` is the user's where it is about a user."""

    channel: str
    user: str | None = None

    @classmethod
    def of(cls, channel: str, user: str | None) -> Audience:
        """Raises InvalidEvents where no user can be named so."""
        return cls(channel) if user is None else cls(user_channel(user), user)

    @property
    def title(self) -> str:
        return self.channel if self.user is None else f"user {self.user}"

    def line(self, report: Report, *, done: str = "sent") -> str:
        kind = "subscriber" if self.user is None else "connection"
        return f"{self.title}: {described(report, kind, done)}"

    def document(self, report: Report | HistoryReport) -> dict[str, Any]:
        name = {"channel": self.channel} if self.user is None else {"user": self.user}
        return {**name, "report": None if isinstance(report, Report) and not report.is_reported else report}
