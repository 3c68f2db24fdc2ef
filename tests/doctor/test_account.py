"""Calls of AWS: each way in which they cannot be made has a reason and what it needs."""

from __future__ import annotations

import re
import sys

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from slip_sockets.doctor import account as account_module
from slip_sockets.doctor.account import CREDENTIALS, Account, NotThere, _Errors, permission, side_by_side
from slip_sockets.doctor.findings import CannotCheck

from ..docs.markdown import ROOT, Page


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return Account("eu-west-1")


async def reason(account: Account) -> CannotCheck:
    with pytest.raises(CannotCheck) as raised:
        await account.check()
    return raised.value


async def test_without_credentials_it_says_what_to_set(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = await reason(account)
    assert (str(error), error.needed) == ("there are no credentials for AWS", CREDENTIALS)


async def test_a_profile_that_does_not_exist_is_named(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "nobody" in str(await reason(account))


async def test_without_boto3_it_says_what_to_install(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    error = await reason(account)
    assert (str(error), error.needed) == (
        "boto3 is missing",
        'Install it: pip install "path/to/slip-sockets[aws]"',
    )


async def test_an_aws_that_is_away_ends_in_a_reason(
    account: Account, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(account_module, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_tcp_port}")
    assert str(await reason(account)).startswith("AWS cannot be called: Could not connect to the endpoint URL")


def refused(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "FilterLogEvents",
    )


@pytest.mark.parametrize(
    ("error", "text", "needed"),
    [
        (
            refused("AccessDeniedException"),
            "the credentials lack the permission logs:FilterLogEvents",
            "The permission",
        ),
        (refused("AccessDenied"), "the credentials lack the permission logs:FilterLogEvents", "The permission"),
        (refused("ExpiredTokenException"), "AWS refuses these credentials: ", CREDENTIALS),
        (refused("SignatureDoesNotMatch"), "AWS refuses these credentials: ", CREDENTIALS),
        (refused("ThrottlingException"), "AWS responds with ThrottlingException: ", "Try again"),
        (NoCredentialsError(), "there are no credentials for AWS", CREDENTIALS),
        (
            PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
            "there are no credentials for AWS",
            CREDENTIALS,
        ),
        (ProfileNotFound(profile="x"), "AWS cannot be called: ", CREDENTIALS),
        (EndpointConnectionError(endpoint_url="x"), "AWS cannot be called: ", CREDENTIALS),
    ],
)
def test_each_error_of_aws_has_a_reason(error: Exception, text: str, needed: str) -> None:
    with pytest.raises(CannotCheck) as raised, _Errors("logs", "filter_log_events"):
        raise error
    assert str(raised.value).startswith(text)
    assert raised.value.needed.startswith(needed)


@pytest.mark.parametrize(
    "code",
    ["ResourceNotFoundException", "NotFoundException", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"],
)
def test_what_does_not_exist_is_news(code: str) -> None:
    with pytest.raises(NotThere), _Errors("sqs", "get_queue_url"):
        raise refused(code)


@pytest.mark.parametrize("error", [KeyError("x"), ModuleNotFoundError("No module named 'x'", name="x")])
def test_other_errors_are_bugs(error: Exception) -> None:
    with pytest.raises(type(error)), _Errors("sqs", "get_queue_url"):
        raise error


def test_permissions_have_iams_names() -> None:
    assert permission("logs", "filter_log_events") == "logs:FilterLogEvents"
    assert permission("apigatewayv2", "get_apis") == "apigateway:GET"


async def test_the_first_error_of_several_calls_is_raised_when_all_are_done() -> None:
    done = []

    async def fail(error: Exception) -> None:
        raise error

    async def work() -> int:
        done.append(1)
        return 1

    with pytest.raises(KeyError, match="first"):
        await side_by_side(work(), fail(KeyError("first")), fail(ValueError()), work())
    assert done == [1, 1]
    assert await side_by_side(work(), work()) == [1, 1]


def test_the_page_names_each_permission_and_no_other() -> None:
    (text,) = re.findall(r"From inside it needs\s(.*?)\.\n\n", Page("docs/operations.md").path.read_text(), re.DOTALL)
    calls = {
        call
        for path in (ROOT / "slip_sockets" / "doctor").glob("*.py")
        for call in re.findall(r"\.(?:call|pages)\(\s*\"(\w+)\",\s*\"(\w+)\"", path.read_text())
    }
    assert ("sts", "get_caller_identity") in calls
    needed = {permission(*call) for call in calls if call[0] != "sts"}  # that one needs no permission
    assert set(re.findall(r"`(\w+:\w+)`", text)) == needed
