"""Every engine's port Checkpoint, as the handler of a message has it."""

from __future__ import annotations

import msgspec

from slip_sockets.gateway.deferred import Continuation, Deferred, FanOut
from slip_sockets.gateway.errors import Incomplete
from slip_sockets.gateway.ports import Checkpoint
from slip_sockets.gateway.values import Publication
from slip_sockets.protocol.events import SendText

from .engines import ME, YOU
from .queues import QueueEngine
from .scripted_handler import ScriptedHandler

WHOLE = FanOut(Publication("lobby", "Zoë \x00 😀", "1"), "p1")
SECOND = msgspec.structs.replace(WHOLE, after="2", joined=[ME])
THIRD = msgspec.structs.replace(WHOLE, after="3")


async def test_nothing_is_saved_at_first_and_the_last_save_is_loaded(
    queue_engine: QueueEngine, handler: ScriptedHandler
) -> None:
    loaded: list[Deferred | None] = []

    @handler.checkpoint_script
    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        loaded.append(await checkpoint.load())
        for remaining in (SECOND, THIRD, WHOLE, THIRD):
            await checkpoint.save(remaining)
            loaded.append(await checkpoint.load())

    await queue_engine.queue.put([WHOLE])
    await queue_engine.settle()
    assert loaded == [None, SECOND, THIRD, WHOLE, THIRD]


async def test_a_retry_begins_with_the_last_checkpoint(queue_engine: QueueEngine, handler: ScriptedHandler) -> None:
    @handler.checkpoint_script
    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        if message == WHOLE:
            await checkpoint.save(SECOND)
            raise ZeroDivisionError("a bug")
        if message == SECOND:
            await checkpoint.save(THIRD)
            raise Incomplete(message, "away")  # of an older checkpoint

    await queue_engine.queue.put([WHOLE])
    await queue_engine.settle()
    assert handler.handled == [WHOLE, SECOND, THIRD]


async def test_messages_have_checkpoints_of_their_own(queue_engine: QueueEngine, handler: ScriptedHandler) -> None:
    def text(connection_id: str, data: str) -> Continuation:
        return Continuation(connection_id, [SendText(connection_id, data)])

    @handler.checkpoint_script
    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        assert isinstance(message, Continuation)
        if message == text(message.connection_id, "1"):
            await checkpoint.save(text(message.connection_id, "the rest of 1"))
            raise ZeroDivisionError("a bug")
        if message == text(message.connection_id, "2"):
            assert await checkpoint.load() is None

    await queue_engine.queue.put([text(id_, data) for data in ("1", "2") for id_ in (ME, YOU)])
    await queue_engine.settle()
    for id_ in (ME, YOU):
        assert [message for message in handler.ended if message.group == id_] == [
            text(id_, "the rest of 1"),
            text(id_, "2"),
        ]
