from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from slip_sockets.aws.batch import Patience
from slip_sockets.aws.management import ApiGatewaySender
from slip_sockets.aws.sender import Limits
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.ports import SystemClock
from slip_sockets.gateway.values import Outcome

from .http_stub import RESET, Answer, HttpStub, Request
from .moto_server import boto3_client

ME = "AAAAAAAAAAAAAAA="
STATUSES = {
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
PATIENCE = Patience(timeout_s=20, give_up_after_s=0.02, first_pause_s=0.001, longest_pause_s=0.01)
LIMITS = Limits(PATIENCE, tick_s=0.001)


def answer_by_id(request: Request) -> Answer | None:
    id_ = request.path.rpartition("/")[2].replace("%3D", "=")
    status = STATUSES.get(id_, 204 if request.method == "DELETE" else 200)
    if not status:
        return RESET
    headers = {"x-amzn-ErrorType": NAMES[status]} if status in NAMES else {}
    return Answer(status, b"" if status == 204 else b'{"message": "as the test says"}', headers)


class Provider:
    """Its credentials may change."""

    def __init__(self) -> None:
        self.credentials: Credentials | None = Credentials("AKIDFIRST", "a secret", "a token")

    async def __call__(self) -> Credentials | None:
        return self.credentials


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def sender(stub: HttpStub, provider: Provider) -> AsyncIterator[ApiGatewaySender]:
    stub.script = answer_by_id
    sender = ApiGatewaySender(f"{stub.url}/live", "us-east-1", provider, SystemClock(), limits=LIMITS)
    yield sender
    sender.end()
    await asyncio.sleep(0)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_each_connection_has_its_own_outcome(sender: ApiGatewaySender, stub: HttpStub, method: str) -> None:
    ids = [ME, *STATUSES]
    if method == "POST":
        outcome = await sender.send(ids, "hi", until=math.inf)
    else:
        outcome = await sender.close(ids, until=math.inf)
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
        f"/live/@connections/{id_.replace('=', '%3D')}" for id_ in ids
    }
    assert {request.method for request in stub.requests} == {method}


async def test_requests_are_those_of_boto3(sender: ApiGatewaySender, stub: HttpStub) -> None:
    theirs = boto3_client("apigatewaymanagementapi", f"{stub.url}/live")
    for id_ in (ME, "a/b c~d"):
        theirs.post_to_connection(ConnectionId=id_, Data=b"hi")
        theirs.delete_connection(ConnectionId=id_)
        theirs.get_connection(ConnectionId=id_)
        await sender.send([id_], "hi", until=math.inf)
        await sender.close([id_], until=math.inf)
        await sender.is_open(id_)
        sent = [(request.method, request.path, request.body) for request in stub.requests[-6:]]
        assert sent[3:] == sent[:3]


@pytest.mark.parametrize("token", [None, "a token"])
async def test_requests_are_signed(
    sender: ApiGatewaySender, provider: Provider, stub: HttpStub, token: str | None
) -> None:
    provider.credentials = credentials = Credentials("AKID", "a secret", token)
    auth = SigV4Auth(credentials, "execute-api", "us-east-1")
    await sender.send([ME], "Zo\xeb \x00\U0001f600", until=math.inf)
    (received,) = stub.requests
    assert received.body == "Zo\xeb \x00\U0001f600".encode()
    request = AWSRequest("POST", stub.url + received.path, data=received.body)
    request.context["timestamp"] = request.headers["X-Amz-Date"] = received.headers["X-Amz-Date"]
    if token:
        request.headers["X-Amz-Security-Token"] = received.headers["X-Amz-Security-Token"]
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert received.headers["Authorization"].endswith(f"Signature={signature}")


async def test_credentials_are_fetched_for_each_call(
    sender: ApiGatewaySender, provider: Provider, stub: HttpStub
) -> None:
    await sender.send([ME], "hi", until=math.inf)
    provider.credentials = Credentials("AKIDSECOND", "a secret", "a token")
    await sender.send([ME], "hi", until=math.inf)
    keys = [request.headers["Authorization"].partition("Credential=")[2].partition("/")[0] for request in stub.requests]
    assert keys == ["AKIDFIRST", "AKIDSECOND"]


async def test_without_credentials_nothing_is_sent(
    sender: ApiGatewaySender, provider: Provider, stub: HttpStub
) -> None:
    provider.credentials = None
    assert await sender.send([ME], "hi", until=math.inf) == Outcome(failed={ME: "there are no AWS credentials"})
    with pytest.raises(Unavailable, match=r"^management API: there are no AWS credentials$"):
        await sender.is_open(ME)
    assert stub.requests == []


async def test_credentials_that_cannot_be_read_are_a_failure(stub: HttpStub) -> None:
    async def provide() -> Credentials:
        raise Unavailable("credentials: as the test says")

    sender = ApiGatewaySender(f"{stub.url}/live", "us-east-1", provide, SystemClock())
    outcome = Outcome(failed={ME: "credentials: as the test says"})
    assert await sender.close([ME], until=math.inf) == outcome


async def test_many_connections_are_all_sent_to(sender: ApiGatewaySender, stub: HttpStub) -> None:
    ids = [f"{number:015}=" for number in range(200)]
    assert await sender.send(ids, "hi", until=math.inf) == Outcome(done=200)
    assert len(stub.requests) == len(ids)


async def test_no_connections_need_no_call(sender: ApiGatewaySender, stub: HttpStub) -> None:
    assert await sender.send([], "hi", until=math.inf) == Outcome()
    assert stub.requests == []


async def test_is_open_is_a_call(sender: ApiGatewaySender, stub: HttpStub) -> None:
    assert await sender.is_open(ME) is True
    assert await sender.is_open("GoneAAAAAAAAAAA=") is False
    assert [request.method for request in stub.requests] == ["GET", "GET"]


async def test_no_connection_is_open_under_an_id_that_is_not_valid(sender: ApiGatewaySender, stub: HttpStub) -> None:
    """AWS documents no form of ids, so that any text may be asked for."""
    stub.script = lambda _: Answer.error("BadRequestException")
    assert await sender.is_open("nobody") is False


@pytest.mark.parametrize(
    ("id_", "reason"),
    [
        ("LimitedAAAAAAAA=", "429 LimitExceededException: as the test says"),
        ("BrokenAAAAAAAAA=", "500: as the test says"),
        ("ForbiddenAAAAAA=", "403 ForbiddenException: as the test says"),
    ],
)
async def test_is_open_raises_where_the_response_does_not_show_it(
    sender: ApiGatewaySender, id_: str, reason: str
) -> None:
    with pytest.raises(Unavailable) as error:
        await sender.is_open(id_)
    assert str(error.value) == f"management API: {reason}"


async def test_time_of_the_last_activity_is_in_the_response(sender: ApiGatewaySender, stub: HttpStub) -> None:
    stub.script = lambda _: Answer(200, b'{"connectedAt":"x","lastActiveAt":"2026-07-01T12:00:00.25Z","identity":{}}')
    assert await sender.last_active_at(ME) == datetime(2026, 7, 1, 12, 0, 0, 250_000, UTC).timestamp()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"lastActiveAt":1}', b'{"lastActiveAt":"now"}'])
async def test_response_without_the_time_of_the_last_activity_is_a_failure(
    sender: ApiGatewaySender, stub: HttpStub, body: bytes
) -> None:
    stub.script = lambda _: Answer(200, body)
    with pytest.raises(Unavailable, match="management API: its response to GET is not valid: "):
        await sender.last_active_at(ME)
