"""The port Sender over the edge: many connections, some of which are gone or take no more at the moment."""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus

from slip_sockets.apigateway.requests import ApiIdentity
from slip_sockets.dev.edge import Edge, Limits, ManagementError
from slip_sockets.dev.sender import CALLS_AT_ONCE, RETRY_PAUSES_S, EdgeSender
from slip_sockets.gateway.values import Outcome

from ..contract.wire import UNKNOWN_ID
from ..gateway.doubles import ME, START, YOU, FakeClock
from .edges import RecordingFunction


class ScriptedEdge(Edge):
    """Takes every frame, except those to connections with a `full` buffer, for that number of calls."""

    def __init__(self, **full: float) -> None:
        super().__init__(RecordingFunction(), ApiIdentity("abc123", "live", "sockets.example"), Limits())
        self.full = full
        self.posted: list[str] = []

    def post(self, connection_id: str, frame: bytes) -> None:
        if self.full.get(connection_id, 0) > 0:
            self.full[connection_id] -= 1
            raise ManagementError(HTTPStatus.TOO_MANY_REQUESTS, "LimitExceededException", "the client's buffer is full")
        if connection_id.startswith("gone"):
            raise ManagementError(HTTPStatus.GONE, "GoneException", "the connection is not open")
        if connection_id.startswith("bad"):
            raise ManagementError(HTTPStatus.BAD_REQUEST, "BadRequestException", "Invalid connectionId")
        self.posted.append(connection_id)


FULL = "the client's buffer is full"


async def test_slow_connection_is_tried_again_once_the_others_have_been_sent_to() -> None:
    edge, clock = ScriptedEdge(slow=2), FakeClock()
    outcome = await EdgeSender(edge, clock).send(["gone1", "slow", "a", "bad1", "b"], "hi", until=math.inf)
    assert outcome == Outcome(done=3, gone=["gone1"], refused={"bad1": "Invalid connectionId"})
    assert edge.posted == ["a", "b", "slow"]
    assert len(clock.sleeps) == 2
    assert clock.sleeps[0] < clock.sleeps[1]


async def test_connection_that_stays_slow_fails_in_the_end_and_holds_up_no_others() -> None:
    edge, clock = ScriptedEdge(slow=math.inf, slower=math.inf), FakeClock()
    outcome = await EdgeSender(edge, clock).send(["slow", "a", "slower"], "hi", until=math.inf)
    assert outcome == Outcome(done=1, failed={"slow": FULL, "slower": FULL})
    assert len(clock.sleeps) == len(RETRY_PAUSES_S)
    assert 1.0 < sum(clock.sleeps) < 2.0


async def test_there_is_no_pause_without_slow_connections() -> None:
    clock = FakeClock()
    await EdgeSender(ScriptedEdge(), clock).send(["a", "gone1", "bad1"], "hi", until=math.inf)
    await EdgeSender(ScriptedEdge(), clock).close([UNKNOWN_ID], until=math.inf)
    assert clock.sleeps == []


async def test_connections_without_time_left_are_unsent() -> None:
    edge, clock = ScriptedEdge(slow=math.inf), FakeClock()
    outcome = await EdgeSender(edge, clock).send(["slow", "a"], "hi", until=START + 0.2)
    assert outcome == Outcome(done=1, unsent=["slow"])
    assert clock.now() <= START + 0.2
    outcome = await EdgeSender(edge, clock).send([ME, YOU], "hi", until=START)
    assert outcome == Outcome(unsent=[ME, YOU])


async def test_time_that_runs_out_underway_leaves_the_others_unsent() -> None:
    edge, clock = ScriptedEdge(), FakeClock()
    connection_ids = [f"c{number}" for number in range(3 * CALLS_AT_ONCE)]

    async def pass_the_time() -> None:
        clock.time += 60

    sending = EdgeSender(edge, clock).send(connection_ids, "hi", until=START + 60)
    outcome, _ = await asyncio.gather(sending, pass_the_time())
    assert outcome == Outcome(done=CALLS_AT_ONCE, unsent=connection_ids[CALLS_AT_ONCE:])


async def test_many_connections_leave_time_for_others() -> None:
    edge = ScriptedEdge()
    connection_ids = [f"c{number}" for number in range(10 * CALLS_AT_ONCE)]
    seen: list[int] = []

    async def look() -> None:
        while len(edge.posted) < len(connection_ids):
            seen.append(len(edge.posted))
            await asyncio.sleep(0)

    await asyncio.gather(EdgeSender(edge, FakeClock()).send(connection_ids, "hi", until=math.inf), look())
    assert seen == list(range(CALLS_AT_ONCE, len(connection_ids), CALLS_AT_ONCE))
    assert edge.posted == connection_ids
