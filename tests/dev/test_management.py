"""The management API: with the real AWS client, and with bare HTTP."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import aiohttp
import boto3
import pytest
from botocore.exceptions import ClientError
from yarl import URL

from slip_sockets.dev.edge import Edge, Limits, ManagementError
from slip_sockets.dev.management import CALLS_AT_ONCE, RETRY_PAUSES_S, EdgeManagement
from slip_sockets.dev.proxy_events import ApiIdentity
from slip_sockets.dev.server import DevServer
from slip_sockets.gateway.ports import Outcome

from ..contract.wire import UNKNOWN_ID, Control, answers, joined, refusal
from ..gateway.doubles import ME, START, YOU, FakeClock
from ..scripted_backend import Events, ScriptedBackend, Told
from .edges import RecordingFunction

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=any/20240101/local/execute-api/aws4_request"}


@pytest.fixture
def aws(server: DevServer) -> Any:
    return boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=server.management_url.removesuffix("/@connections"),
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )


async def error_of(call: Callable[..., object], **arguments: object) -> tuple[int, str, type[ClientError]]:
    with pytest.raises(ClientError) as error:
        await asyncio.to_thread(call, **arguments)
    response = error.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], type(error.value)


async def test_aws_client_posts_text(server: DevServer, backend: ScriptedBackend, aws: Any) -> None:
    async with joined(server, backend) as member:
        for data in ("hi", "gr\u00fc\u00dfe \U0001f44b", "", "x" * 131_072):
            done = await asyncio.to_thread(
                aws.post_to_connection, ConnectionId=member.connection_id, Data=data.encode()
            )
            assert done["ResponseMetadata"]["HTTPStatusCode"] == 200
            assert await member.recv() == data


async def test_aws_client_gets_the_connection(server: DevServer, backend: ScriptedBackend, aws: Any) -> None:
    async with joined(server, backend, user_agent_header="tests") as member:
        got = await asyncio.to_thread(aws.get_connection, ConnectionId=member.connection_id)
        assert got["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "tests"}
        connected, active = got["ConnectedAt"], got["LastActiveAt"]
        now = datetime.now(UTC)
        assert now - timedelta(seconds=30) < connected <= active <= now
        await member.client.send("x")
        await backend.next_told("TEXT")
        assert (await asyncio.to_thread(aws.get_connection, ConnectionId=member.connection_id))["LastActiveAt"] > active


async def test_aws_client_deletes_the_connection(server: DevServer, backend: ScriptedBackend, aws: Any) -> None:
    async with joined(server, backend) as member:
        done = await asyncio.to_thread(aws.delete_connection, ConnectionId=member.connection_id)
        assert done["ResponseMetadata"]["HTTPStatusCode"] == 204
        assert await member.close_code() == 1000
        told = await backend.next_told("CLOSE")
        assert (told.connection_id, told.event["code"]) == (member.connection_id, 1000)
        gone = (410, "GoneException", aws.exceptions.GoneException)
        for call, more in calls(aws):
            assert await error_of(call, ConnectionId=member.connection_id, **more) == gone


def calls(aws: Any) -> list[tuple[Callable[..., object], dict[str, object]]]:
    return [(aws.post_to_connection, {"Data": b"x"}), (aws.get_connection, {}), (aws.delete_connection, {})]


async def test_unknown_connection_is_410_and_malformed_id_400(aws: Any) -> None:
    for call, more in calls(aws):
        gone = (410, "GoneException", aws.exceptions.GoneException)
        assert await error_of(call, ConnectionId=UNKNOWN_ID, **more) == gone
        for malformed in ("x", "A" * 16, "A" * 14 + "=", "A" * 14 + "$=", "\u00e4" * 15 + "="):
            assert (await error_of(call, ConnectionId=malformed, **more))[:2] == (400, "BadRequestException")


async def test_connection_that_is_not_open_yet_is_410(server: DevServer, backend: ScriptedBackend, aws: Any) -> None:
    errors = []

    async def opening(told: Told) -> Events:
        for call, more in calls(aws):
            errors.append(await error_of(call, ConnectionId=told.connection_id, **more))
        return []

    backend.script = answers(OPEN=opening)
    assert await refusal(server) == 400
    assert errors == [(410, "GoneException", aws.exceptions.GoneException)] * 3


async def test_more_than_128_kb_is_413(server: DevServer, backend: ScriptedBackend, control: Control, aws: Any) -> None:
    async with joined(server, backend) as member:
        refused = await error_of(aws.post_to_connection, ConnectionId=member.connection_id, Data=b"x" * 131_073)
        assert refused == (413, "PayloadTooLargeException", aws.exceptions.PayloadTooLargeException)
        assert await member.received(control) == []


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}])
async def test_unsigned_call_is_403(
    server: DevServer,
    backend: ScriptedBackend,
    control: Control,
    http: aiohttp.ClientSession,
    method: str,
    headers: dict[str, str],
) -> None:
    async with joined(server, backend) as member:
        url = f"{server.management_url}/{member.connection_id}"
        async with http.request(method, url, data=b"x", headers=headers) as response:
            assert response.status == 403
            assert await response.json() == {"message": "Missing Authentication Token"}
        assert await member.received(control) == []


@pytest.mark.parametrize("at", ["@", "%40"])
@pytest.mark.parametrize("equals", ["=", "%3D", "%3d"])
async def test_path_may_be_encoded(
    server: DevServer, backend: ScriptedBackend, http: aiohttp.ClientSession, at: str, equals: str
) -> None:
    async with joined(server, backend) as member:
        path = f"/{at}connections/{member.connection_id.replace('=', equals)}"
        url = URL(f"http://127.0.0.1:{server.port}{path}", encoded=True)
        async with http.post(url, data=b"hi", headers=SIGNED) as response:
            assert response.status == 200
        assert await member.recv() == "hi"


async def test_errors_name_their_aws_type(server: DevServer, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{server.management_url}/{UNKNOWN_ID}", headers=SIGNED) as response:
        assert response.status == 410
        assert response.headers["x-amzn-ErrorType"] == "GoneException"


async def test_data_that_is_not_utf8_is_refused(
    server: DevServer, backend: ScriptedBackend, control: Control, aws: Any
) -> None:
    async with joined(server, backend) as member:
        refused = await error_of(aws.post_to_connection, ConnectionId=member.connection_id, Data=b"\xff")
        assert refused[:2] == (400, "BadRequestException")
        assert await member.received(control) == []


# The gateway's port


class ScriptedEdge(Edge):
    """Takes every frame, but for connections whose buffer is `full`: so many times yet."""

    def __init__(self, **full: float) -> None:
        super().__init__(RecordingFunction(), ApiIdentity("abc123", "live", "sockets.example"), Limits())
        self.full = full
        self.posted: list[str] = []

    def post(self, connection_id: str, frame: bytes) -> None:
        if self.full.get(connection_id, 0) > 0:
            self.full[connection_id] -= 1
            raise ManagementError(HTTPStatus.TOO_MANY_REQUESTS, "LimitExceededException", "the client's buffer is full")
        if connection_id.startswith("gone"):
            raise ManagementError(HTTPStatus.GONE, "GoneException", "the connection is not open")
        if connection_id.startswith("bad"):
            raise ManagementError(HTTPStatus.BAD_REQUEST, "BadRequestException", "Invalid connectionId")
        self.posted.append(connection_id)


FULL = "the client's buffer is full"


async def test_slow_connection_is_tried_again_when_all_others_have_been_sent_to() -> None:
    edge, clock = ScriptedEdge(slow=2), FakeClock()
    outcome = await EdgeManagement(edge, clock).post(["gone1", "slow", "a", "bad1", "b"], "hi", until=math.inf)
    assert outcome == Outcome(done=3, gone=["gone1"], refused={"bad1": "Invalid connectionId"})
    assert edge.posted == ["a", "b", "slow"]
    assert len(clock.sleeps) == 2
    assert clock.sleeps[0] < clock.sleeps[1]


async def test_connection_that_stays_slow_fails_in_the_end_and_holds_up_nobody() -> None:
    edge, clock = ScriptedEdge(slow=math.inf, slower=math.inf), FakeClock()
    outcome = await EdgeManagement(edge, clock).post(["slow", "a", "slower"], "hi", until=math.inf)
    assert outcome == Outcome(done=1, failed={"slow": FULL, "slower": FULL})
    assert len(clock.sleeps) == len(RETRY_PAUSES_S)
    assert 1.0 < sum(clock.sleeps) < 2.0


async def test_nobody_sleeps_for_connections_that_are_not_slow() -> None:
    clock = FakeClock()
    await EdgeManagement(ScriptedEdge(), clock).post(["a", "gone1", "bad1"], "hi", until=math.inf)
    await EdgeManagement(ScriptedEdge(), clock).delete([UNKNOWN_ID], until=math.inf)
    assert clock.sleeps == []


async def test_what_there_is_no_time_for_is_unsent() -> None:
    edge, clock = ScriptedEdge(slow=math.inf), FakeClock()
    outcome = await EdgeManagement(edge, clock).post(["slow", "a"], "hi", until=START + 0.2)
    assert outcome == Outcome(done=1, unsent=["slow"])
    assert clock.now() <= START + 0.2
    outcome = await EdgeManagement(edge, clock).post([ME, YOU], "hi", until=START)
    assert outcome == Outcome(unsent=[ME, YOU])


async def test_time_that_runs_out_underway_leaves_the_rest_unsent() -> None:
    edge, clock = ScriptedEdge(), FakeClock()
    whose = [f"c{number}" for number in range(3 * CALLS_AT_ONCE)]

    async def pass_the_time() -> None:
        clock.time += 60

    posting = EdgeManagement(edge, clock).post(whose, "hi", until=START + 60)
    outcome, _ = await asyncio.gather(posting, pass_the_time())
    assert outcome == Outcome(done=CALLS_AT_ONCE, unsent=whose[CALLS_AT_ONCE:])


async def test_many_connections_leave_time_for_others() -> None:
    edge = ScriptedEdge()
    whose = [f"c{number}" for number in range(10 * CALLS_AT_ONCE)]
    seen: list[int] = []

    async def look() -> None:
        while len(edge.posted) < len(whose):
            seen.append(len(edge.posted))
            await asyncio.sleep(0)

    await asyncio.gather(EdgeManagement(edge, FakeClock()).post(whose, "hi", until=math.inf), look())
    assert seen == list(range(CALLS_AT_ONCE, len(whose), CALLS_AT_ONCE))
    assert edge.posted == whose
