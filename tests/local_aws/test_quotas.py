"""How many calls a second the local AWS takes, and that a thousand cold starts need no more."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from local_aws import LocalAws
from local_aws.quotas import QUOTAS, SECRETS_MANAGER_READS, TokenBucket
from slip_sockets.aws.client import Client, aws_http
from slip_sockets.aws.credentials import Keys
from slip_sockets.aws.jwt_secrets import SecretsManagerClient, StoredSecrets
from slip_sockets.gateway.errors import Unavailable

from .cloud import Cloud, settings

COLD_STARTS = 1_000
WITHIN_S = 2.0
SECRET = "a-secret-of-more-than-thirty-two-bytes"
LIKE_PARAMETER_STORE = replace(SECRETS_MANAGER_READS, rate=40, burst=40)
"""What GetParameter takes: https://docs.aws.amazon.com/general/latest/gr/ssm.html"""


class Time:
    """A clock that moves on to the next end of a sleep when everything else sleeps or is done.

    So what happens at which time does not depend on the machine.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._count = 0
        self._idle = asyncio.Event()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._count += 1
        heapq.heappush(self._sleepers, (self.now + seconds, self._count, woken))
        self._idle.set()
        await woken.wait()

    async def run(self, tasks: set[asyncio.Task[Any]]) -> None:
        """Run tasks that have all begun with a sleep."""
        for task in tasks:
            task.add_done_callback(lambda _: self._idle.set())
        while self._sleepers:
            self.now, _, woken = heapq.heappop(self._sleepers)
            self._idle.clear()
            woken.set()
            await self._idle.wait()


class World:
    """A local AWS with a secret, at a time of its own."""

    def __init__(self, aws: LocalAws, time: Time) -> None:
        made = Cloud(aws).client("secretsmanager").create_secret(Name="secrets", SecretString=json.dumps([SECRET]))
        self._arn, self._version = made["ARN"], made["VersionId"]
        self._url = aws.url
        self._time = time

    async def start_cold(self, at: float) -> bool:
        """A function starts, and gets its first event at once. Return whether it had the secret for that."""
        await self._time.sleep(at)
        http = aws_http()
        client = Client("secretsmanager", "us-east-1", _keys, endpoint_url=self._url, http=http, sleep=self._time.sleep)
        secrets = StoredSecrets(cast(SecretsManagerClient, client), self._arn, self._version)
        try:
            await secrets.load()
            return await secrets() == [SECRET]
        except Unavailable:
            return False
        finally:
            await http.aclose()


async def _keys() -> Keys:
    return Keys("local", "local")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def world(time: Time, request: pytest.FixtureRequest) -> Iterator[World]:
    with LocalAws(replace(settings(), quotas=request.param, clock=time)) as aws:
        yield World(aws, time)


async def start_a_thousand(world: World, time: Time) -> int:
    """Return how many of a thousand functions, evenly spread over two seconds, read the secret."""
    starts = {asyncio.create_task(world.start_cold(WITHIN_S * number / COLD_STARTS)) for number in range(COLD_STARTS)}
    await asyncio.sleep(0)
    await time.run(starts)
    return sum(await asyncio.gather(*starts))


@pytest.mark.parametrize("world", [QUOTAS], indirect=True)
async def test_a_thousand_cold_starts_in_two_seconds_all_read_the_secret(world: World, time: Time) -> None:
    assert await start_a_thousand(world, time) == COLD_STARTS


@pytest.mark.parametrize("world", [[LIKE_PARAMETER_STORE]], indirect=True)
async def test_with_the_quota_of_the_parameter_store_most_would_not(
    world: World, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    assert await start_a_thousand(world, time) < COLD_STARTS / 2
    assert {message.rpartition(": GetSecretValue: ")[2] for message in caplog.messages} == {
        "ThrottlingException: Rate exceeded"
    }


def test_a_bucket_holds_its_burst_and_is_filled_at_its_rate(time: Time) -> None:
    bucket = TokenBucket(2, 3, time)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    time.now = 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    time.now = 100
    assert not bucket.take(4)
    assert bucket.take(3)


def test_operations_share_a_quota_and_regions_do_not(time: Time) -> None:
    with LocalAws(replace(settings(), quotas=[replace(SECRETS_MANAGER_READS, rate=1, burst=2)], clock=time)) as aws:
        cloud = Cloud(aws)
        here, elsewhere = cloud.client("secretsmanager"), cloud.client("secretsmanager", "eu-west-1")
        for client in (here, elsewhere):
            client.create_secret(Name="word", SecretString="x")
        here.get_secret_value(SecretId="word")
        here.describe_secret(SecretId="word")
        with pytest.raises(ClientError, match=r"ThrottlingException.*Rate exceeded"):
            here.get_secret_value(SecretId="word")
        here.list_secrets()
        elsewhere.get_secret_value(SecretId="word")
        time.now = 1
        here.get_secret_value(SecretId="word")
