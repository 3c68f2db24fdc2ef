from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import pytest

from slip_sockets.aws.credentials import REFRESH_BEFORE_S, FunctionCredentials, Keys
from slip_sockets.gateway.ports import Unavailable

from ..gateway.doubles import FakeClock
from .http_stub import Answer, HttpStub

HOUR_S = 3600.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def container(stub: HttpStub, clock: FakeClock) -> Mapping[str, str]:
    """The environment of a function from a snapshot; what it is given lasts an hour."""

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
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "whoever knows this",
    }


def test_keys_of_the_environment_are_taken(clock: FakeClock) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_SESSION_TOKEN": "a token"}
    assert FunctionCredentials(environ, clock)() == Keys("AKID", "a secret", "a token")
    del environ["AWS_SESSION_TOKEN"]
    assert FunctionCredentials(environ, clock)() == Keys("AKID", "a secret", None)


def test_without_any_there_are_none(clock: FakeClock) -> None:
    assert FunctionCredentials({"AWS_ACCESS_KEY_ID": "AKID"}, clock)() is None


def test_function_from_a_snapshot_asks_and_keeps_what_it_is_told(
    container: Mapping[str, str], stub: HttpStub, clock: FakeClock
) -> None:
    credentials = FunctionCredentials(container, clock)
    assert [credentials(), credentials()] == [Keys("AKID1", "a secret", "a token")] * 2
    (request,) = stub.requests
    assert (request.method, request.path) == ("GET", "/credentials")
    assert request.headers["Authorization"] == "whoever knows this"


def test_they_are_replaced_before_they_expire(container: Mapping[str, str], stub: HttpStub, clock: FakeClock) -> None:
    credentials = FunctionCredentials(container, clock)
    credentials()
    clock.time += HOUR_S - REFRESH_BEFORE_S - 1
    assert credentials() == Keys("AKID1", "a secret", "a token")
    clock.time += 2
    assert credentials() == Keys("AKID2", "a secret", "a token")


@pytest.mark.parametrize("answer", [Answer(500, b"oh"), Answer(200, b"{}"), None], ids=["500", "no keys", "reset"])
def test_old_ones_last_as_long_as_they_may(
    container: Mapping[str, str], stub: HttpStub, clock: FakeClock, answer: Answer | None
) -> None:
    credentials = FunctionCredentials(container, clock)
    credentials()
    stub.script = lambda _: answer
    clock.time += HOUR_S - 1
    assert credentials() == Keys("AKID1", "a secret", "a token")
    clock.time += 2
    with pytest.raises(Unavailable, match=r"^credentials: "):
        credentials()
