"""Every engine's port Sender, to real clients of one real edge."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator

import pytest

from slip_sockets.apigateway.connection_ids import is_connection_id, new_connection_id
from slip_sockets.aws.management import ApiGatewaySender
from slip_sockets.dev.sender import EdgeSender
from slip_sockets.dev.server import DevServer
from slip_sockets.gateway.ports import Sender, SystemClock
from slip_sockets.gateway.values import Outcome

from ..aws.moto_server import keys
from ..contract.wire import joined
from ..scripted_backend import ScriptedBackend

MALFORMED = ["", "x", "AAAAAAAAAAAAAAA", "AAAAAAAAAAAAAA/=", "AAAAAAAAAAAAAAA=="]


@pytest.fixture(params=["management API", "edge"])
async def sender(request: pytest.FixtureRequest, server: DevServer) -> AsyncIterator[Sender]:
    if request.param == "edge":
        yield EdgeSender(server.edge, SystemClock())
        return
    management_url = server.management_url.removesuffix("/@connections")
    sender = ApiGatewaySender(management_url, "us-east-1", keys, SystemClock())
    yield sender
    sender.end()
    await asyncio.sleep(0)  # the loop closes the connections


async def test_send_reaches_each_connection_in_order(
    server: DevServer, backend: ScriptedBackend, sender: Sender
) -> None:
    async with joined(server, backend) as one, joined(server, backend) as other:
        for data in ("1", "2", "3"):
            ids = [one.connection_id, other.connection_id]
            assert await sender.send(ids, data, until=math.inf) == Outcome(done=2)
        assert await sender.send([other.connection_id], "4", until=math.inf) == Outcome(done=1)
        assert [await one.recv() for _ in range(3)] == ["1", "2", "3"]
        assert [await other.recv() for _ in range(4)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("data", ["", "Zoë \x00 😀", "x" * 131_072], ids=["empty", "any character", "128 KiB"])
async def test_send_takes_any_text(server: DevServer, backend: ScriptedBackend, sender: Sender, data: str) -> None:
    async with joined(server, backend) as member:
        assert await sender.send([member.connection_id], data, until=math.inf) == Outcome(done=1)
        assert await member.recv() == data


async def test_close_ends_the_connection_with_code_1000(
    server: DevServer, backend: ScriptedBackend, sender: Sender
) -> None:
    async with joined(server, backend) as member, joined(server, backend) as other:
        await sender.send([member.connection_id], "before", until=math.inf)
        assert await sender.close([member.connection_id], until=math.inf) == Outcome(done=1)
        assert await member.recv() == "before"
        assert await member.close_code() == 1000
        assert await sender.send([member.connection_id], "x", until=math.inf) == Outcome(gone=[member.connection_id])
        assert await sender.close([member.connection_id], until=math.inf) == Outcome(gone=[member.connection_id])
        assert await sender.is_open(member.connection_id) is False
        assert await sender.send([other.connection_id], "still here", until=math.inf) == Outcome(done=1)
        assert await other.recv() == "still here"


async def test_unknown_connection_is_gone(sender: Sender) -> None:
    unknown = new_connection_id()
    assert sender.is_connection_id(unknown)
    assert not sender.looks_like_connection_id("ann")
    assert await sender.send([unknown], "hi", until=math.inf) == Outcome(gone=[unknown])
    assert await sender.close([unknown], until=math.inf) == Outcome(gone=[unknown])


@pytest.mark.parametrize("malformed", MALFORMED)
async def test_malformed_id_is_refused(sender: Sender, malformed: str) -> None:
    assert sender.is_connection_id(malformed) is bool(malformed)  # AWS documents no form
    for outcome in (
        await sender.send([malformed], "hi", until=math.inf),
        await sender.close([malformed], until=math.inf),
    ):
        assert list(outcome.refused) == [malformed]
        assert (outcome.done, outcome.gone, outcome.failed, outcome.unsent) == (0, [], {}, [])


async def test_ids_of_open_connections_are_connection_ids(
    server: DevServer, backend: ScriptedBackend, sender: Sender
) -> None:
    async with joined(server, backend) as member:
        assert sender.is_connection_id(member.connection_id)
        assert sender.looks_like_connection_id(member.connection_id)
        assert is_connection_id(member.connection_id)


async def test_each_connection_has_its_own_outcome(server: DevServer, backend: ScriptedBackend, sender: Sender) -> None:
    unknown = [new_connection_id() for _ in range(3)]
    async with joined(server, backend) as one, joined(server, backend) as other:
        ids = [unknown[0], one.connection_id, "malformed", unknown[1], other.connection_id, unknown[2]]
        outcome = await sender.send(ids, "hi", until=math.inf)
        assert (outcome.done, sorted(outcome.gone)) == (2, sorted(unknown))
        assert (list(outcome.refused), outcome.failed, outcome.unsent) == (["malformed"], {}, [])
        assert [await one.recv(), await other.recv()] == ["hi", "hi"]


async def test_is_open_is_true_between_accept_and_close(
    server: DevServer, backend: ScriptedBackend, sender: Sender
) -> None:
    assert await sender.is_open(new_connection_id()) is False
    async with joined(server, backend) as member:
        assert await sender.is_open(member.connection_id) is True
        await sender.close([member.connection_id], until=math.inf)
        assert await member.close_code() == 1000
        assert await sender.is_open(member.connection_id) is False


async def test_connection_was_active_with_its_last_text(
    server: DevServer, backend: ScriptedBackend, sender: Sender
) -> None:
    async with joined(server, backend) as member:
        before = await sender.last_active_at(member.connection_id)
        assert before is not None
        await sender.send([member.connection_id], "hi", until=math.inf)
        after = await sender.last_active_at(member.connection_id)
        assert after is not None
        assert before <= after <= time.time() + 0.001
    assert await sender.last_active_at(new_connection_id()) is None


@pytest.mark.parametrize("late_s", [0, 1, 3600])
async def test_nothing_is_sent_once_the_time_is_over(
    server: DevServer, backend: ScriptedBackend, sender: Sender, late_s: float
) -> None:
    async with joined(server, backend) as one, joined(server, backend) as other:
        ids = [one.connection_id, other.connection_id]
        assert await sender.send(ids, "late", until=time.time() - late_s) == Outcome(unsent=ids)
        assert await sender.close(ids, until=time.time() - late_s) == Outcome(unsent=ids)
        assert await sender.send(ids, "in time", until=time.time() + 60) == Outcome(done=2)
        assert [await one.recv(), await other.recv()] == ["in time", "in time"]


async def test_no_connections_have_an_empty_outcome(sender: Sender) -> None:
    assert await sender.send([], "hi", until=math.inf) == Outcome()
    assert await sender.close([], until=math.inf) == Outcome()


async def test_all_of_many_connections_are_reached(server: DevServer, backend: ScriptedBackend, sender: Sender) -> None:
    unknown = [new_connection_id() for _ in range(250)]
    async with joined(server, backend) as member:
        outcome = await sender.send([*unknown, member.connection_id], "hi", until=math.inf)
        assert (outcome.done, sorted(outcome.gone)) == (1, sorted(unknown))
        assert await member.recv() == "hi"


def test_connections_may_open_some_time_after_they_are_accepted(sender: Sender) -> None:
    assert sender.opening_window_s > 0
