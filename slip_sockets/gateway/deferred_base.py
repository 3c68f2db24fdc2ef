"""What all messages of the queue have in common: a group, a subject, and how they may be divided."""

from __future__ import annotations

import hashlib
import uuid
from typing import ClassVar, Self

import msgspec

from .observer import EventType
from .values import Broadcast

RETRY_FOR_S = 6 * 60 * 60.0


class Summary(msgspec.Struct, frozen=True):
    """The data about a message that an operator may see: its subject and its size, nothing of its content."""

    connection_id: str | None = None
    channel: str | None = None
    events: int | None = None
    connections: int | None = None


class DeferredMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message of a queue."""

    event_type: ClassVar[EventType] = EventType.DEFERRED
    """What the message is counted as."""
    retry_for_s: ClassVar[float] = RETRY_FOR_S
    """How long it is worth trying again; then it is a dead letter."""

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def group(self) -> str:
        """Messages of one group are handled one after another, in order."""
        raise NotImplementedError

    @property
    def deduplication_id(self) -> str:
        """Of two messages with the same one within five minutes the queue drops the second."""
        return uuid.uuid4().hex

    @property
    def subject(self) -> str:
        """What the message is about, for a line of the log."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What the message does, in a few words."""
        raise NotImplementedError

    @property
    def summary(self) -> Summary:
        raise NotImplementedError

    def halves(self, *, is_over_limit: bool) -> tuple[Self, Self] | None:
        """Return two messages that do the same one after the other; None where it cannot be divided.

        A queue asks when a message is large, and with `is_over_limit` when it cannot take it whole.
        """
        return None


class OfConnection(DeferredMessage, frozen=True, omit_defaults=True):
    connection_id: str

    @property
    def group(self) -> str:
        return self.connection_id

    @property
    def subject(self) -> str:
        return f"connection {self.connection_id}"

    @property
    def summary(self) -> Summary:
        return Summary(connection_id=self.connection_id)


class OfChannel(DeferredMessage, frozen=True, omit_defaults=True):
    """A broadcast. `publish_id` is its own alone."""

    broadcast: Broadcast
    publish_id: str

    @property
    def group(self) -> str:
        return f"fan-out:{digest_of(self.broadcast.channel)}"

    @property
    def subject(self) -> str:
        return f"channel {self.broadcast.channel!r:.60}"

    @property
    def summary(self) -> Summary:
        return Summary(channel=self.broadcast.channel)


def digest_of(channel: str) -> str:
    """Return what stands for a channel in the name of a group, which may have fewer bytes than a channel's name."""
    return hashlib.sha256(channel.encode()).hexdigest()[:32]
