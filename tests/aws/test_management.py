from __future__ import annotations

import pytest

from slip_sockets.aws.management import MAX_CONCURRENT_CALLS, ApiGatewayManagement
from slip_sockets.gateway.ports import Unavailable

from .http_stub import RESET, Answer, HttpStub, Request
from .moto_server import client

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


def answer_by_id(request: Request) -> Answer | None:
    whose = request.path.rpartition("/")[2].replace("%3D", "=")
    status = FATES.get(whose, 204 if request.method == "DELETE" else 200)
    if not status:
        return RESET
    headers = {"x-amzn-ErrorType": NAMES[status]} if status in NAMES else {}
    return Answer(status, b"" if status == 204 else b'{"message": "as the test says"}', headers)


@pytest.fixture
def management(stub: HttpStub) -> ApiGatewayManagement:
    stub.script = answer_by_id
    return ApiGatewayManagement(client("apigatewaymanagementapi", f"{stub.url}/live"))


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_each_connection_has_its_own_fate(management: ApiGatewayManagement, stub: HttpStub, method: str) -> None:
    ids = [ME, *FATES]
    outcome = await (management.post(ids, "hi") if method == "POST" else management.delete(ids))
    assert outcome.done == 1
    assert outcome.gone == ["GoneAAAAAAAAAAA="]
    assert list(outcome.failed) == ["LimitedAAAAAAAA=", "BrokenAAAAAAAAA=", "BusyAAAAAAAAAAA=", "ResetAAAAAAAAAA="]
    assert list(outcome.refused) == ["ForbiddenAAAAAA=", "malformed", "TooLargeAAAAAAA="]
    assert "as the test says" in outcome.failed["LimitedAAAAAAAA="]
    assert "ForbiddenException" in outcome.refused["ForbiddenAAAAAA="]
    # One request for each: repeating is the gateway's business.
    assert sorted(request.path for request in stub.requests) == sorted(
        f"/live/@connections/{whose.replace('=', '%3D')}" for whose in ids
    )
    assert {request.method for request in stub.requests} == {method}


async def test_text_arrives_as_utf8_signed_for_execute_api(management: ApiGatewayManagement, stub: HttpStub) -> None:
    await management.post([ME], "Zoë \x00\U0001f600")
    (request,) = stub.requests
    assert request.body == "Zoë \x00\U0001f600".encode()
    assert "/us-east-1/execute-api/aws4_request" in request.headers["Authorization"]


async def test_many_connections_are_all_told(management: ApiGatewayManagement, stub: HttpStub) -> None:
    ids = [f"{number:015}=" for number in range(3 * MAX_CONCURRENT_CALLS)]
    assert (await management.post(ids, "hi")).done == len(ids)
    assert len(stub.requests) == len(ids)


async def test_nobody_is_told_nothing(management: ApiGatewayManagement, stub: HttpStub) -> None:
    assert (await management.post([], "hi")).done == 0
    assert stub.requests == []


async def test_is_open_asks(management: ApiGatewayManagement, stub: HttpStub) -> None:
    assert await management.is_open(ME) is True
    assert await management.is_open("GoneAAAAAAAAAAA=") is False
    assert [request.method for request in stub.requests] == ["GET", "GET"]


@pytest.mark.parametrize("whose", ["LimitedAAAAAAAA=", "BrokenAAAAAAAAA=", "ResetAAAAAAAAAA=", "ForbiddenAAAAAA="])
async def test_is_open_does_not_guess(management: ApiGatewayManagement, whose: str) -> None:
    with pytest.raises(Unavailable, match=r"^management API: "):
        await management.is_open(whose)
