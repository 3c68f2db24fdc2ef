"""A handler of deferred messages that a test scripts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from slip_sockets.gateway.deferred import Deferred
from slip_sockets.gateway.ports import Checkpoint

Script = Callable[[Deferred], Awaitable[None]]
CheckpointScript = Callable[[Deferred, Checkpoint], Awaitable[None]]


class ScriptedHandler:
    """For all kinds of messages. `handled` are those that began, `ended` those that did not fail, in order."""

    def __init__(self) -> None:
        self.handled: list[Deferred] = []
        self.ended: list[Deferred] = []
        self._script: CheckpointScript | None = None

    def script(self, script: Script) -> Script:
        """Decorates what is done with a message."""

        async def without_checkpoint(message: Deferred, checkpoint: Checkpoint) -> None:
            await script(message)

        self._script = without_checkpoint
        return script

    def checkpoint_script(self, script: CheckpointScript) -> CheckpointScript:
        """Decorates what is done with a message and its checkpoint."""
        self._script = script
        return script

    async def __call__(self, message: Any, checkpoint: Checkpoint, /, *, deadline: float) -> None:
        self.handled.append(message)
        if self._script is not None:
            await self._script(message, checkpoint)
        self.ended.append(message)
