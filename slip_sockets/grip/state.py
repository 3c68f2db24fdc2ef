"""What is stored of a connection: JSON, in the place of SLIP's metadata."""

from __future__ import annotations

from typing import Self

import msgspec

from ..protocol.events import MAX_METADATA_BYTES


class Timer(msgspec.Struct, frozen=True):
    """After `after_s` seconds, with `if_idle` of silence, `text` is sent to the client, or without one the backend is
    called."""

    id: str
    after_s: int
    text: str | None
    if_idle: bool = False


class State(msgspec.Struct, omit_defaults=True):
    """A connection, as the gateway remembers it between requests.

    `headers` and `query` are those of its handshake, repeated with each request, to `path` behind that of the backend's
    URL. `prefix` begins a message that is for the client, None where the backend did not enable GRIP. `meta` comes from
    Set-Meta headers and goes back to the backend; `user_meta` comes from set-meta. `channels` maps each channel to the
    filters of its subscription. `timers` are those that run, by the names of `timers`. `logged` are the kinds of things
    that cannot be done and were logged once.
    """

    headers: list[tuple[str, str]]
    query: str = ""
    path: str = ""
    prefix: str | None = None
    is_detached: bool = False
    meta: dict[str, str] = {}
    user_meta: dict[str, str] = {}
    channels: dict[str, list[str]] = {}
    timers: dict[str, Timer] = {}
    logged: list[str] = []

    @classmethod
    def read(cls, metadata: bytes | None) -> Self | None:
        """Return the state that is stored as `metadata`. None where there is none, or another dialect's."""
        try:
            return msgspec.json.decode(metadata or b"null", type=cls | None)
        except msgspec.MsgspecError:
            return None

    def encoded(self) -> bytes:
        return msgspec.json.encode(self)

    @property
    def is_too_large(self) -> bool:
        return len(self.encoded()) > MAX_METADATA_BYTES
