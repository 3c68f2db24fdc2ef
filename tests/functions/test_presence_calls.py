"""The calls of AWS where members of channels come and go, beside those of `test_calls`.

To announce a change is one call of SQS; what is done with it later costs a function.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest

from bench.stubs.lambda_calls import QUEUE_URL
from slip_sockets.aws.connections import DynamoDbConnections
from slip_sockets.aws.presence import DynamoDbPresence
from slip_sockets.aws.queue import SqsQueue
from slip_sockets.gateway.looks import Looks
from slip_sockets.gateway.ports import SystemClock
from slip_sockets.gateway.values import Form, Membership

from ..aws.moto_server import client
from .test_calls import Account, Used, account, stubs

__all__ = ["account", "stubs"]

ANNOUNCED = {"SendMessageBatch": 1}


class Members(NamedTuple):
    """The stores of the functions, over the same stubs: connections, members, and the queue."""

    store: DynamoDbConnections
    presence: DynamoDbPresence

    @classmethod
    def of(cls, account: Account) -> Members:
        clock = SystemClock()
        dynamodb, sqs = (client(name, account.url(name)) for name in ("dynamodb", "sqs"))
        changes = Looks(SqsQueue(sqs, QUEUE_URL, clock), clock)
        return cls(
            DynamoDbConnections(dynamodb, "Connections", "Channels", clock, changes),
            DynamoDbPresence(dynamodb, "Channels", clock),
        )


@pytest.fixture
def members(account: Account) -> Members:
    return Members.of(account)


async def test_member_that_connects_is_one_message_more(account: Account, members: Members) -> None:
    """And its row is one unit more: it is in no index."""
    await members.store.open(account.me, b"1", ["lobby"], memberships={"lobby": Membership("ann")})
    assert account.used() == Used({"BatchWriteItem": 1}, 0, 5, ANNOUNCED)


async def test_subscriber_that_becomes_a_member_is_one_message_more(account: Account, members: Members) -> None:
    """And its row is two units more, in a transaction."""
    await members.store.open(account.me, b"1", [])
    account.reset()
    await members.store.subscribe(account.me, "lobby", Form.RAW, Membership("ann"))
    assert account.used() == Used({"TransactWriteItems": 1}, 0, 7, ANNOUNCED)


async def test_member_that_unsubscribes_is_a_message_and_a_transaction_more(account: Account, members: Members) -> None:
    await members.store.open(account.me, b"1", ["lobby"], memberships={"lobby": Membership("ann")})
    account.reset()
    await members.store.unsubscribe(account.me, "lobby")
    assert account.used() == Used({"DeleteItem": 1, "TransactWriteItems": 1}, 0, 6, ANNOUNCED)


@pytest.mark.parametrize("end", ["remove", "prune"])
async def test_member_that_leaves_is_a_message_and_a_write_more(account: Account, members: Members, end: str) -> None:
    channels = [f"room-{number}" for number in range(10)]
    await members.store.open(account.me, b"1", channels, memberships=dict.fromkeys(channels[:5], Membership("ann")))
    account.reset()
    if end == "remove":
        await members.store.remove(account.me)
        assert account.used() == Used({"Query": 1, "BatchWriteItem": 2}, 1, 2 * 11 + 5, ANNOUNCED)
    else:
        await members.store.unsubscribe_all(account.me)
        assert account.used() == Used({"Query": 1, "BatchWriteItem": 2}, 1, 2 * 10 + 5, ANNOUNCED)


async def test_members_are_one_read_and_what_they_were_told_one_write(account: Account, members: Members) -> None:
    channel = account.channel
    await members.store.open(account.me, b"1", [channel], memberships={channel: Membership("ann")})
    await members.store.remove(account.me)
    account.reset()
    left, notified = await members.presence.read(channel)
    assert account.used() == Used({"Query": 1}, 1)
    assert await members.presence.note(channel, msgspec.structs.replace(notified, version=1))
    await members.presence.forget(channel, left)
    assert account.used() == Used({"Query": 1, "PutItem": 1, "DeleteItem": 1}, 1, 2)
