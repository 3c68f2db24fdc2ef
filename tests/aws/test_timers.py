"""The queue of timers: what is sent to SQS, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slip_sockets.aws.queue import decode
from slip_sockets.aws.timers import SqsTimers
from slip_sockets.gateway.deferred import Timer
from slip_sockets.gateway.deferred_presence import Sweep
from slip_sockets.gateway.errors import Unavailable

from ..gateway.doubles import ME, START, FakeClock
from .http_stub import Answer, HttpStub
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient


def timers(count: int, after_s: float = 30) -> list[Timer]:
    return [Timer(ME, str(number), due_at=START + after_s) for number in range(count)]


@pytest.mark.parametrize(("after_s", "delay_s"), [(30, 30), (0.2, 1), (0, 0), (-5, 0), (5_000, 900)])
async def test_each_timer_is_delayed_until_its_time(
    stub: HttpStub, clock: FakeClock, after_s: float, delay_s: int
) -> None:
    await SqsTimers(client("sqs", stub.url), "http://sqs/0/timers", clock).put(timers(1, after_s))
    (request,) = stub.requests
    (entry,) = request.json["Entries"]
    assert entry.keys() == {"Id", "MessageBody", "DelaySeconds"}
    assert (entry["DelaySeconds"], decode(entry["MessageBody"])) == (delay_s, timers(1, after_s)[0])


@pytest.mark.parametrize(("after_s", "delay_s"), [(30, 30), (-5, 0), (7_800, 900)])
async def test_sweeps_wait_as_timers_do(stub: HttpStub, clock: FakeClock, after_s: float, delay_s: int) -> None:
    sweep = Sweep("room", START + after_s)
    await SqsTimers(client("sqs", stub.url), "http://sqs/0/timers", clock).put([sweep])
    (entry,) = stub.requests[0].json["Entries"]
    assert (entry["DelaySeconds"], decode(entry["MessageBody"])) == (delay_s, sweep)


async def test_many_are_sent_ten_at_a_time(stub: HttpStub, clock: FakeClock) -> None:
    await SqsTimers(client("sqs", stub.url), "http://sqs/0/timers", clock).put(timers(23))
    assert [len(request.json["Entries"]) for request in stub.requests] == [10, 10, 3]


async def test_refused_ones_are_unavailable(stub: HttpStub, clock: FakeClock) -> None:
    stub.script = lambda _: Answer.of({"Failed": [{"Id": "0", "SenderFault": True, "Code": "X", "Message": "no"}]})
    with pytest.raises(Unavailable, match="SQS: 1 of 1 messages were not taken: no"):
        await SqsTimers(client("sqs", stub.url), "http://sqs/0/timers", clock).put(timers(1))


async def test_a_standard_queue_takes_them(moto_url: str, sqs: SQSClient, clock: FakeClock) -> None:
    url = sqs.create_queue(QueueName="timers")["QueueUrl"]
    await SqsTimers(client("sqs", moto_url), url, clock).put([*timers(1, 0), *timers(1, 600)])
    (message,) = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert decode(message["Body"]) == timers(1, 0)[0]
