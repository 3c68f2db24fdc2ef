from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from slip_sockets.apigateway.functions import control_function
from slip_sockets.aws.environment import FunctionSettings, Runtime
from slip_sockets.gateway.control import Control
from slip_sockets.gateway.observer import NO_OBSERVER
from slip_sockets.protocol.errors import InvalidSettings
from slip_sockets.protocol.tokens import mint

from .http_stub import Answer, HttpStub
from .moto_server import ENVIRONMENT, boto3_client, stored_secrets

SECRET_ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:not-there-AbCdEf"
VERSION = "terraform-20261129120000000000000001"
VARIABLES = {
    "TARGET_URL": "http://127.0.0.1:1/slip",
    "CONNECTIONS_TABLE": "slip-sockets-Connections",
    "CHANNELS_TABLE": "slip-sockets-Channels",
    "QUEUE_URL": "http://127.0.0.1:1/000000000000/deferred.fifo",
    "INBOUND_QUEUE_URL": "http://127.0.0.1:1/000000000000/inbound.fifo",
    "DEAD_LETTERS_URL": "http://127.0.0.1:1/000000000000/dead-letters.fifo",
    "MANAGEMENT_URL": "http://127.0.0.1:1/live",
    "JWT_SECRET_ARN": SECRET_ARN,
    "JWT_SECRET_VERSION": VERSION,
}


def test_settings_are_read() -> None:
    assert FunctionSettings.from_environ(VARIABLES) == FunctionSettings(
        target_url="http://127.0.0.1:1/slip",
        connections_table="slip-sockets-Connections",
        channels_table="slip-sockets-Channels",
        queue_url="http://127.0.0.1:1/000000000000/deferred.fifo",
        inbound_queue_url="http://127.0.0.1:1/000000000000/inbound.fifo",
        dead_letters_url="http://127.0.0.1:1/000000000000/dead-letters.fifo",
        management_url="http://127.0.0.1:1/live",
        jwt_secret_arn=SECRET_ARN,
        jwt_secret_version=VERSION,
    )


@pytest.mark.parametrize(("value", "expected"), [("", 1_000), ("0", 0), ("25", 25)])
def test_the_inline_limit_is_optional(value: str, expected: int) -> None:
    assert FunctionSettings.from_environ({**VARIABLES, "INLINE_LIMIT": value}).inline_limit == expected


@pytest.mark.parametrize(("value", "expected"), [("", 8_000), ("2500", 2_500)])
def test_the_rate_of_fan_outs_is_optional(value: str, expected: int) -> None:
    assert FunctionSettings.from_environ({**VARIABLES, "FAN_OUT_RATE": value}).fan_out_rate == expected


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(InvalidSettings) as error:
        FunctionSettings.from_environ({"TARGET_URL": "http://127.0.0.1:1/slip", "QUEUE_URL": ""})
    assert error.value.problems == [
        "CONNECTIONS_TABLE is not set. Set it to the name of the Connections table",
        "CHANNELS_TABLE is not set. Set it to the name of the Channels table",
        "QUEUE_URL is not set. Set it to the URL of the FIFO queue of deferred messages",
        "INBOUND_QUEUE_URL is not set. Set it to the URL of the FIFO queue of what clients send",
        "DEAD_LETTERS_URL is not set. Set it to the URL of the dead-letter queue",
        "MANAGEMENT_URL is not set. Set it to the WebSocket API's stage, e.g. "
        "https://abc123.execute-api.eu-west-1.amazonaws.com/live",
        "JWT_SECRET_ARN is not set. Set it to the ARN of the secret in Secrets Manager that holds the JWT secrets",
        "JWT_SECRET_VERSION is not set. Set it to the id of the secret's version that this function is deployed with",
    ]


# The secrets


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an AWS to which the environment leads."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": moto_url}.items():
        monkeypatch.setenv(name, value)
    return moto_url


def settings(**variables: str) -> FunctionSettings:
    return FunctionSettings.from_environ(VARIABLES | variables)


@asynccontextmanager
async def started(settings: FunctionSettings) -> AsyncIterator[Control]:
    """The control API of a function after its cold start."""
    runtime = Runtime(settings, NO_OBSERVER)
    try:
        await runtime.start()
        yield runtime.gateway.control
    finally:
        await runtime.aclose()


async def accepts(built: FunctionSettings, secret: str) -> bool:
    headers = {"authorization": f"Bearer {mint('ControlEvent', secret)}"}
    async with started(built) as control:
        response = await control_function(control, {"headers": headers, "body": '{"events": []}'})
    assert response["statusCode"] in (200, 403)
    return bool(response["statusCode"] == 200)


async def test_secret_is_read_whole(aws: str) -> None:
    built = settings(**stored_secrets(aws, json.dumps(["a, secret\nwith ünusual characters "])))
    assert await accepts(built, "a, secret\nwith ünusual characters ")
    assert not await accepts(built, "a")


async def test_previous_secrets_still_verify(aws: str) -> None:
    built = settings(**stored_secrets(aws, '["new", "old", "older"]'))
    assert [await accepts(built, secret) for secret in ("new", "old", "older", "oldest")] == [True, True, True, False]


@pytest.mark.parametrize("value", ["a-secret", '"a-secret"', "[]", '["a-secret", 1]'])
async def test_a_value_that_is_not_a_list_of_secrets_is_not_quoted(aws: str, value: str) -> None:
    built = settings(**stored_secrets(aws, value))
    with pytest.raises(InvalidSettings) as error:
        async with started(built):
            pass
    assert str(error.value) == (
        f"version {built.jwt_secret_version} of the secret {built.jwt_secret_arn} is not a JSON list of secrets. "
        "Deploy again"
    )
    assert error.value.__context__ is None


@pytest.mark.usefixtures("aws")
async def test_secret_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidSettings) as error:
        async with started(settings()):
            pass
    assert str(error.value) == (
        f"Secrets Manager has no version {VERSION} of the secret {SECRET_ARN}, which the deployment makes. Deploy again"
    )


async def test_a_function_reads_the_version_that_it_was_deployed_with(aws: str) -> None:
    """Also when it starts after two other secrets have come, and the version has no staging label any more."""
    deployed = stored_secrets(aws, '["first"]')
    client: Any = boto3_client("secretsmanager", aws)
    for value in ('["second"]', '["third"]'):
        client.put_secret_value(SecretId=deployed["JWT_SECRET_ARN"], SecretString=value)
    stages = client.describe_secret(SecretId=deployed["JWT_SECRET_ARN"])["VersionIdsToStages"]
    assert stages[deployed["JWT_SECRET_VERSION"]] == []
    assert await accepts(settings(**deployed), "first")
    assert not await accepts(settings(**deployed), "third")


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException"])
async def test_secrets_that_cannot_be_read_at_the_start_are_read_by_an_event(
    stub: HttpStub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": stub.url}.items():
        monkeypatch.setenv(name, value)
    stub.script = lambda _: Answer.error("AccessDeniedException")
    built = settings()
    async with started(built) as control:
        (message,) = caplog.messages
        assert message.startswith("the JWT secrets cannot be read, and each event reads them again: Secrets Manager: ")
        assert "AccessDeniedException" in message

        call: dict[str, Any] = {
            "headers": {"authorization": f"Bearer {mint('ControlEvent', 's')}"},
            "body": '{"events": []}',
        }
        stub.script = lambda _: Answer.error(code)
        assert (await control_function(control, call))["statusCode"] == 503
        stub.script = lambda _: Answer.of({"SecretString": '["s"]'})
        assert (await control_function(control, call))["statusCode"] == 200
        calls = len(stub.requests)
        assert (await control_function(control, call))["statusCode"] == 200
        assert len(stub.requests) == calls
