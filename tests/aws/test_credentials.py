from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping

import pytest

from slip_sockets.aws.client import aws_http
from slip_sockets.aws.credentials import REFRESH_BEFORE_S, FunctionCredentials, Keys
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.http.client import Client as HttpClient

from ..gateway.doubles import FakeClock
from .http_stub import Answer, HttpStub

HOUR_S = 3600.0


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    http = aws_http()
    yield http
    await http.aclose()


@pytest.fixture
def container(stub: HttpStub, clock: FakeClock) -> Mapping[str, str]:
    """The environment of a function from a snapshot; its keys last an hour."""

    def script(_: object) -> Answer:
        expires = dt.datetime.fromtimestamp(clock.now() + HOUR_S, dt.UTC)
        number = len(stub.requests)
        return Answer.of(
            {
                "AccessKeyId": f"AKID{number}",
                "SecretAccessKey": "a secret",
                "Token": "a token",
                "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )

    stub.script = script
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{stub.url}/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a container token",
    }


async def test_keys_of_the_environment_are_taken(clock: FakeClock, http: HttpClient) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_SESSION_TOKEN": "a token"}
    assert await FunctionCredentials(environ, clock, http)() == Keys("AKID", "a secret", "a token")
    del environ["AWS_SESSION_TOKEN"]
    assert await FunctionCredentials(environ, clock, http)() == Keys("AKID", "a secret", None)


async def test_environment_without_keys_gives_none(clock: FakeClock, http: HttpClient) -> None:
    assert await FunctionCredentials({"AWS_ACCESS_KEY_ID": "AKID"}, clock, http)() is None


async def test_function_from_a_snapshot_fetches_keys_and_keeps_them(
    container: Mapping[str, str], stub: HttpStub, clock: FakeClock, http: HttpClient
) -> None:
    credentials = FunctionCredentials(container, clock, http)
    assert [await credentials(), await credentials()] == [Keys("AKID1", "a secret", "a token")] * 2
    (request,) = stub.requests
    assert (request.method, request.path) == ("GET", "/credentials")
    assert request.headers["Authorization"] == "a container token"


async def test_keys_are_replaced_before_they_expire(
    container: Mapping[str, str], stub: HttpStub, clock: FakeClock, http: HttpClient
) -> None:
    credentials = FunctionCredentials(container, clock, http)
    await credentials()
    clock.time += HOUR_S - REFRESH_BEFORE_S - 1
    assert await credentials() == Keys("AKID1", "a secret", "a token")
    clock.time += 2
    assert await credentials() == Keys("AKID2", "a secret", "a token")


@pytest.mark.parametrize("answer", [Answer(500, b"oh"), Answer(200, b"{}"), None], ids=["500", "no keys", "reset"])
async def test_old_keys_are_used_until_they_expire_if_no_new_ones_can_be_had(
    container: Mapping[str, str], stub: HttpStub, clock: FakeClock, http: HttpClient, answer: Answer | None
) -> None:
    credentials = FunctionCredentials(container, clock, http)
    await credentials()
    stub.script = lambda _: answer
    clock.time += HOUR_S - 1
    assert await credentials() == Keys("AKID1", "a secret", "a token")
    clock.time += 2
    with pytest.raises(Unavailable, match=r"^credentials: "):
        await credentials()


async def test_calls_at_once_fetch_keys_once(
    container: Mapping[str, str], stub: HttpStub, clock: FakeClock, http: HttpClient
) -> None:
    credentials = FunctionCredentials(container, clock, http)
    found = await asyncio.gather(*(credentials() for _ in range(20)))
    assert len(stub.requests) == 1
    assert set(found) == {Keys("AKID1", "a secret", "a token")}
