"""A gateway over doubles with two open connections, and what can be seen of it."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from ..gateway.doubles import ME, YOU, World
from .oracle import Model
from .play import run

OPEN = {ME: ["hall"], YOU: ["hall", "room"]}


class SmallWorld(World):
    def __init__(self) -> None:
        super().__init__()
        for whose, channels in OPEN.items():
            run(self.connected(whose, channels=channels))

    def model(self) -> Model:
        return Model(dict.fromkeys(OPEN), {whose: set(channels) for whose, channels in OPEN.items()})

    def seen(self) -> tuple[Any, ...]:
        """All that input can change: rows, claims, marks, and what was sent, closed or queued."""
        store = self.store
        return (
            {whose: (row.stored, row.expires_at) for whose, row in store._connections.items()},
            {whose: set(channels) for whose, channels in store._subscriptions.items() if channels},
            dict(store._claims),
            {channel: dict(marks) for channel, marks in store._marks.items()},
            len(self.management.posted),
            len(self.management.deleted),
            len(self.queue.messages),
        )

    def leave_out(self, connection_ids: Collection[str], model: Model) -> None:
        """Forget what these saw."""
        management = self.management
        management.posted = [(whose, text) for whose, text in management.posted if whose not in connection_ids]
        management.deleted = [whose for whose in management.deleted if whose not in connection_ids]
        model.closed = [whose for whose in model.closed if whose not in connection_ids]
        for whose in connection_ids:
            model.texts.pop(whose, None)

    def matches(self, model: Model) -> None:
        """Assert that what is stored and was seen by clients is what the model says, and forget what was seen."""
        texts: dict[str, list[str]] = {}
        for whose, text in self.management.posted:
            texts.setdefault(whose, []).append(text)
        assert texts == dict(model.texts)
        assert sorted(self.management.deleted) == sorted(model.closed)
        for whose, metadata in model.metadata.items():
            stored, channels = self.store.look(whose)
            assert stored is not None
            assert json.loads(stored) == metadata
            assert set(channels) == model.channels[whose]
        self.management.posted.clear()
        self.management.deleted.clear()
        self.management.calls.clear()
        self.management.untils.clear()
        model.end_batch()
