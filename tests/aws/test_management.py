from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from slip_sockets.aws.management import ApiGatewayManagement
from slip_sockets.aws.sender import Limits
from slip_sockets.gateway.ports import Outcome, SystemClock, Unavailable

from .http_stub import RESET, Answer, HttpStub, Request
from .moto_server import boto3_client

ME = "AAAAAAAAAAAAAAA="
FATES = {
    "GoneAAAAAAAAAAA=": 410,
    "LimitedAAAAAAAA=": 429,
    "BrokenAAAAAAAAA=": 500,
    "BusyAAAAAAAAAAA=": 503,
    "ResetAAAAAAAAAA=": 0,
    "ForbiddenAAAAAA=": 403,
    "malformed": 400,
    "TooLargeAAAAAAA=": 413,
}
NAMES = {
    410: "GoneException",
    429: "LimitExceededException",
    403: "ForbiddenException",
    413: "PayloadTooLargeException",
}
LIMITS = Limits(give_up_after_s=0.02, stall_s=0.1, first_pause_s=0.001, longest_pause_s=0.01, tick_s=0.001)


def answer_by_id(request: Request) -> Answer | None:
    whose = request.path.rpartition("/")[2].replace("%3D", "=")
    status = FATES.get(whose, 204 if request.method == "DELETE" else 200)
    if not status:
        return RESET
    headers = {"x-amzn-ErrorType": NAMES[status]} if status in NAMES else {}
    return Answer(status, b"" if status == 204 else b'{"message": "as the test says"}', headers)


class Provider:
    """What it gives may change."""

    def __init__(self) -> None:
        self.credentials: Credentials | None = Credentials("AKIDFIRST", "a secret", "a token")

    def __call__(self) -> Credentials | None:
        return self.credentials


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def management(stub: HttpStub, provider: Provider) -> AsyncIterator[ApiGatewayManagement]:
    stub.script = answer_by_id
    management = ApiGatewayManagement(f"{stub.url}/live", "us-east-1", provider, SystemClock(), limits=LIMITS)
    yield management
    management.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_each_connection_has_its_own_fate(management: ApiGatewayManagement, stub: HttpStub, method: str) -> None:
    ids = [ME, *FATES]
    if method == "POST":
        outcome = await management.post(ids, "hi", until=math.inf)
    else:
        outcome = await management.delete(ids, until=math.inf)
    assert outcome.done == 1
    assert outcome.gone == ["GoneAAAAAAAAAAA="]
    assert outcome.unsent == []
    assert outcome.refused == {
        "ForbiddenAAAAAA=": "403 ForbiddenException: as the test says",
        "malformed": "400: as the test says",
        "TooLargeAAAAAAA=": "413 PayloadTooLargeException: as the test says",
    }
    assert outcome.failed.keys() == {"LimitedAAAAAAAA=", "BrokenAAAAAAAAA=", "BusyAAAAAAAAAAA=", "ResetAAAAAAAAAA="}
    assert outcome.failed["LimitedAAAAAAAA="] == "429 LimitExceededException: as the test says"
    assert {request.path for request in stub.requests} == {
        f"/live/@connections/{whose.replace('=', '%3D')}" for whose in ids
    }
    assert {request.method for request in stub.requests} == {method}


async def test_requests_are_those_of_boto3(management: ApiGatewayManagement, stub: HttpStub) -> None:
    theirs = boto3_client("apigatewaymanagementapi", f"{stub.url}/live")
    for whose in (ME, "a/b c~d"):
        theirs.post_to_connection(ConnectionId=whose, Data=b"hi")
        theirs.delete_connection(ConnectionId=whose)
        theirs.get_connection(ConnectionId=whose)
        await management.post([whose], "hi", until=math.inf)
        await management.delete([whose], until=math.inf)
        await management.is_open(whose)
        sent = [(request.method, request.path, request.body) for request in stub.requests[-6:]]
        assert sent[3:] == sent[:3]


@pytest.mark.parametrize("token", [None, "a token"])
async def test_what_is_received_is_signed(
    management: ApiGatewayManagement, provider: Provider, stub: HttpStub, token: str | None
) -> None:
    provider.credentials = credentials = Credentials("AKID", "a secret", token)
    auth = SigV4Auth(credentials, "execute-api", "us-east-1")
    await management.post([ME], "Zo\xeb \x00\U0001f600", until=math.inf)
    (received,) = stub.requests
    assert received.body == "Zo\xeb \x00\U0001f600".encode()
    request = AWSRequest("POST", stub.url + received.path, data=received.body)
    request.context["timestamp"] = request.headers["X-Amz-Date"] = received.headers["X-Amz-Date"]
    if token:
        request.headers["X-Amz-Security-Token"] = received.headers["X-Amz-Security-Token"]
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert received.headers["Authorization"].endswith(f"Signature={signature}")


async def test_credentials_are_asked_for_each_time(
    management: ApiGatewayManagement, provider: Provider, stub: HttpStub
) -> None:
    await management.post([ME], "hi", until=math.inf)
    provider.credentials = Credentials("AKIDSECOND", "a secret", "a token")
    await management.post([ME], "hi", until=math.inf)
    keys = [request.headers["Authorization"].partition("Credential=")[2].partition("/")[0] for request in stub.requests]
    assert keys == ["AKIDFIRST", "AKIDSECOND"]


async def test_without_credentials_nothing_is_sent(
    management: ApiGatewayManagement, provider: Provider, stub: HttpStub
) -> None:
    provider.credentials = None
    assert await management.post([ME], "hi", until=math.inf) == Outcome(failed={ME: "there are no AWS credentials"})
    with pytest.raises(Unavailable, match=r"^management API: there are no AWS credentials$"):
        await management.is_open(ME)
    assert stub.requests == []


async def test_credentials_that_cannot_be_had_are_a_failure(stub: HttpStub) -> None:
    def provide() -> Credentials:
        raise Unavailable("credentials: as the test says")

    management = ApiGatewayManagement(f"{stub.url}/live", "us-east-1", provide, SystemClock())
    outcome = Outcome(failed={ME: "credentials: as the test says"})
    assert await management.delete([ME], until=math.inf) == outcome


async def test_many_connections_are_all_told(management: ApiGatewayManagement, stub: HttpStub) -> None:
    ids = [f"{number:015}=" for number in range(200)]
    assert await management.post(ids, "hi", until=math.inf) == Outcome(done=200)
    assert len(stub.requests) == len(ids)


async def test_nobody_is_told_nothing(management: ApiGatewayManagement, stub: HttpStub) -> None:
    assert await management.post([], "hi", until=math.inf) == Outcome()
    assert stub.requests == []


async def test_is_open_asks(management: ApiGatewayManagement, stub: HttpStub) -> None:
    assert await management.is_open(ME) is True
    assert await management.is_open("GoneAAAAAAAAAAA=") is False
    assert [request.method for request in stub.requests] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("whose", "reason"),
    [
        ("LimitedAAAAAAAA=", "429 LimitExceededException: as the test says"),
        ("BrokenAAAAAAAAA=", "500: as the test says"),
        ("ForbiddenAAAAAA=", "403 ForbiddenException: as the test says"),
    ],
)
async def test_is_open_does_not_guess(management: ApiGatewayManagement, whose: str, reason: str) -> None:
    with pytest.raises(Unavailable) as error:
        await management.is_open(whose)
    assert str(error.value) == f"management API: {reason}"
