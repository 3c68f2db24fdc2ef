"""A victim and a server, for tests of what other clients can do to them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from slip_sockets.dev.server import DevServer
from slip_sockets.protocol.tokens import mint

from ..conftest import SECRET
from ..scripted_backend import ScriptedBackend
from .wire import (
    Control,
    Event,
    Member,
    close,
    close_channel,
    joined,
    publish,
    running,
    set_metadata,
    subscribe,
    text,
)


@dataclass(frozen=True)
class Scene:
    """A victim in its channel, and a server with everything that could be reached."""

    server: DevServer
    backend: ScriptedBackend
    control: Control
    victim: Member

    def states(self) -> dict[str, tuple[bytes | None, list[str]]]:
        """Metadata and channels of all connections."""
        return {id_: self.server.connections.peek(id_) for id_ in self.server.edge.connection_ids}

    def attacks(self) -> list[Event]:
        """Events that a client must not cause: each would be seen."""
        connection_id = self.victim.connection_id
        return [
            text(connection_id, "from the attacker"),
            publish("lobby", "from the attacker"),
            subscribe(connection_id, "the attacker's"),
            set_metadata(connection_id, "the attacker's"),
            close_channel("lobby"),
            close(connection_id),
        ]

    async def assert_untouched(self, before: dict[str, tuple[bytes | None, list[str]]]) -> None:
        """All connections of before are there, unchanged, and the victim has been sent nothing."""
        assert await self.victim.received(self.control) == []
        assert {
            connection_id: state for connection_id, state in self.states().items() if connection_id in before
        } == before


@pytest.fixture
async def scene(backend: ScriptedBackend, http: aiohttp.ClientSession) -> AsyncIterator[Scene]:
    async with running(backend.url, inspector=True) as server, joined(server, backend, "lobby") as victim:
        yield Scene(server, backend, Control(http, server.control_api), victim)


def fill_in(template: str, scene: Scene) -> str:
    """Put the victim's id, a control body and a valid token in the place of ID, BODY and TOKEN."""
    body = json.dumps({"events": scene.attacks()})
    token = mint("ControlEvent", SECRET)
    return template.replace("BODY", body).replace("ID", scene.victim.connection_id).replace("TOKEN", token)
