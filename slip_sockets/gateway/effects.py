"""What may be asked for: the protocol's actions, and what the gateway and the dialects add to them."""

from __future__ import annotations

import msgspec

from ..protocol.events import Action


class _Effect(msgspec.Struct, frozen=True, tag_field="type"):
    pass


class StartTimer(_Effect, frozen=True, tag="start_timer"):
    """A timer of the connection ticks after `after_s` seconds."""

    connection_id: str
    timer_id: str
    after_s: float


class NoteContentFilters(_Effect, frozen=True, tag="note_content_filters"):
    """From now on a text for the channel's subscribers may be another one for each of them."""

    channel: str


class NotePatterns(_Effect, frozen=True, tag="note_patterns"):
    """From now on publishes of the deployment look for subscribers of patterns."""


class Recover(_Effect, frozen=True, tag="recover", omit_defaults=True):
    """A subscriber is to be sent what was kept of a channel after the position `since`, if there is one."""

    connection_id: str
    channel: str
    since: str | None = None


Effect = Action | StartTimer | NoteContentFilters | NotePatterns | Recover
