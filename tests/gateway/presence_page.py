"""A page that knows who is in a channel, as `slip-sockets.js` does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from slip_sockets.gateway.plan_presence import counted_members
from slip_sockets.gateway.values import MemberConnection
from slip_sockets.protocol.frames import PresenceFrame

_frames = msgspec.json.Decoder(PresenceFrame)


@dataclass
class PresencePage:
    """`members` are the infos by name, None where there are too many; `frames` is all that came."""

    members: dict[str, Any] | None = field(default_factory=dict)
    count: int = 0
    frames: list[PresenceFrame] = field(default_factory=list)

    def receive(self, text: str) -> PresenceFrame:
        frame = _frames.decode(text)
        self.frames.append(frame)
        self.count = frame.count
        if frame.all:
            self.members = {}
        elif not frame.joined and not frame.left:
            self.members = None
        if self.members is not None:
            self.members |= {joined.user: joined.info for joined in frame.joined}
            for name in frame.left:
                self.members.pop(name, None)
        return frame

    def check(self, connections: list[MemberConnection], now: float, max_listed: int) -> None:
        """It knows who counts."""
        counted = counted_members(connections, now)
        infos = {name: msgspec.json.decode(member.info) for name, member in counted.items()}
        assert self.members == (infos if len(infos) <= max_listed else None)
        assert self.count == len(infos)
