"""What a publisher that records events keeps of channels."""

from __future__ import annotations

import time
from collections import Counter, defaultdict

from ..protocol.events import History, HistoryReport, KeptMessage, PublishText
from ..protocol.positions import Position, read_position

EPOCH = "test"
"""Positions are `test:1`, `test:2`, ... in each channel."""


class KeptMessages:
    """What the gateway would keep. Nothing expires; of a channel the last publish's `keep.count` messages are kept."""

    def __init__(self) -> None:
        self._messages: defaultdict[str, list[KeptMessage]] = defaultdict(list)
        self._newest: Counter[str] = Counter()
        self._positions: dict[tuple[str, str], str] = {}

    def keep(self, event: PublishText) -> str | None:
        """Return the message's position, None where it is not to be kept. The same id has the same position."""
        if event.keep is None:
            return None
        if event.message_id is not None and (event.channel, event.message_id) in self._positions:
            return self._positions[event.channel, event.message_id]
        self._newest[event.channel] += 1
        position = str(Position(EPOCH, self._newest[event.channel]))
        if event.message_id is not None:
            self._positions[event.channel, event.message_id] = position
        messages = self._messages[event.channel]
        messages.append(KeptMessage(position, event.data, time.time_ns() // 1_000_000))
        del messages[: -event.keep.count]
        return position

    def history(self, event: History) -> HistoryReport:
        messages, newest = self._messages[event.channel], self._newest[event.channel]
        position = str(Position(EPOCH, newest))
        if event.since is None:
            return HistoryReport(position, messages[-event.limit :], more=len(messages) > event.limit)
        since = read_position(event.since)
        missed = newest - since.offset if since is not None and since.epoch == EPOCH else -1
        if not 0 <= missed <= len(messages):
            return HistoryReport(position, [], more=False, recovered=False)
        after = messages[len(messages) - missed :]
        return HistoryReport(position, after[: event.limit], more=missed > event.limit, recovered=True)
