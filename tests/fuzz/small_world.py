"""A gateway over doubles with three open connections, and everything that can be seen of it."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from slip_sockets.gateway.values import Form

from ..gateway.doubles import ME, YOU, World
from .bodies import THEY
from .oracle import Frame, Model, in_frame
from .play import run

OPEN = {ME: ["hall", "$user:ann"], YOU: ["hall", "room"], THEY: ["hall", "$user:ann"]}
USERS = {ME: "ann", THEY: "ann"}


class SmallWorld(World):
    def __init__(self) -> None:
        super().__init__()
        for connection_id, channels in OPEN.items():
            form = Form.SLIP_V1 if connection_id == THEY else Form.RAW
            run(self.connected(connection_id, channels=channels, form=form, user=USERS.get(connection_id)))

    def model(self) -> Model:
        return Model(dict.fromkeys(OPEN), {id_: set(channels) for id_, channels in OPEN.items()}, {THEY})

    def seen(self) -> tuple[Any, ...]:
        """Everything that input can change: rows, claims, marks, and what was sent, closed or queued."""
        store = self.store
        return (
            {id_: (row.stored, row.expires_at) for id_, row in store._connections.items()},
            {id_: set(channels) for id_, channels in store._subscriptions.items() if channels},
            dict(store._claims),
            {channel: dict(marks) for channel, marks in store._marks.items()},
            {name: list(channel.messages) for name, channel in self.history._channels.items() if channel.newest},
            len(self.sender.sent),
            len(self.sender.closed),
            len(self.queue.messages),
        )

    def leave_out(self, connection_ids: Collection[str], model: Model) -> None:
        """Forget the texts and closes of these."""
        sender = self.sender
        sender.sent = [(id_, text) for id_, text in sender.sent if id_ not in connection_ids]
        sender.closed = [id_ for id_ in sender.closed if id_ not in connection_ids]
        model.closed = [id_ for id_ in model.closed if id_ not in connection_ids]
        for connection_id in connection_ids:
            model.texts.pop(connection_id, None)

    def matches(self, model: Model) -> None:
        """Assert that rows, and what clients saw, are as in the model; then forget what they saw."""
        texts: dict[str, list[str | Frame]] = {}
        for connection_id, text in self.sender.sent:
            texts.setdefault(connection_id, []).append(in_frame(text) if connection_id in model.framed else text)
        assert texts == dict(model.texts)
        assert sorted(self.sender.closed) == sorted(model.closed)
        for connection_id, metadata in model.metadata.items():
            stored, channels = self.store.peek(connection_id)
            assert stored is not None
            assert json.loads(stored) == metadata
            assert set(channels) == model.channels[connection_id]
        self.sender.sent.clear()
        self.sender.closed.clear()
        self.sender.calls.clear()
        self.sender.untils.clear()
        model.end_batch()
