"""The management API over HTTP: called with the real AWS client, and by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import boto3
import pytest
from botocore.exceptions import ClientError
from yarl import URL

from slip_sockets.dev.server import DevServer

from ..contract.wire import UNKNOWN_ID, Control, joined, refusal, replies
from ..scripted_backend import Events, Post, ScriptedBackend

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
        await backend.next_post("TEXT")
        assert (await asyncio.to_thread(aws.get_connection, ConnectionId=member.connection_id))["LastActiveAt"] > active


async def test_aws_client_deletes_the_connection(server: DevServer, backend: ScriptedBackend, aws: Any) -> None:
    async with joined(server, backend) as member:
        done = await asyncio.to_thread(aws.delete_connection, ConnectionId=member.connection_id)
        assert done["ResponseMetadata"]["HTTPStatusCode"] == 204
        assert await member.close_code() == 1000
        post = await backend.next_post("CLOSE")
        assert (post.connection_id, post.event["code"]) == (member.connection_id, 1000)
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

    async def opening(post: Post) -> Events:
        for call, more in calls(aws):
            errors.append(await error_of(call, ConnectionId=post.connection_id, **more))
        return []

    backend.script = replies(OPEN=opening)
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
