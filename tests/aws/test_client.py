"""The functions' client for AWS's JSON services, beside boto3's."""

from __future__ import annotations

import contextlib
import gzip
import socket
import time
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from slip_sockets.aws.client import ATTEMPTS, BACKOFF_BASE, PROTOCOLS, TIMEOUTS, Client, aws_http, endpoint_url
from slip_sockets.aws.credentials import Keys
from slip_sockets.aws.errors import AwsError, NoResponse, calling, error_code
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.ports import SystemClock
from slip_sockets.http.client import Client as HttpClient
from slip_sockets.http.client import Timeouts

from .http_stub import RESET, Answer, HttpStub
from .moto_server import boto3_client, client
from .raw_server import RawServer, answer, answering

KEYS = Keys("AKID", "a secret", "a token")
KEY = {"connectionId": {"S": "A="}, "channel": {"S": "Zoë 😀"}}
CALLS: Sequence[tuple[str, str, Mapping[str, Any]]] = [
    ("dynamodb", "get_item", {"TableName": "t", "Key": KEY, "ConsistentRead": True}),
    ("dynamodb", "put_item", {"TableName": "t", "Item": {**KEY, "ttl": {"N": "17"}}}),
    ("dynamodb", "batch_write_item", {"RequestItems": {"t": [{"DeleteRequest": {"Key": KEY}}]}}),
    (
        "dynamodb",
        "transact_write_items",
        {"TransactItems": [{"Put": {"TableName": "t", "Item": KEY}}], "ClientRequestToken": "boto3 would make one"},
    ),
    (
        "sqs",
        "send_message_batch",
        {
            "QueueUrl": "http://127.0.0.1:1/0/deferred.fifo",
            "Entries": [{"Id": "0", "MessageBody": "{}", "MessageGroupId": "a", "MessageDeduplicationId": "b"}],
        },
    ),
    ("secretsmanager", "get_secret_value", {"SecretId": "a-secret", "VersionId": "0" * 32}),
]


class Naps:
    """Records how long a client would sleep between attempts."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    http = aws_http()
    yield http
    await http.aclose()


async def keys() -> Keys:
    return KEYS


def dynamodb(url: str, naps: Naps, http: HttpClient, attempts: int = ATTEMPTS) -> Any:
    return Client("dynamodb", "us-east-1", keys, endpoint_url=url, http=http, attempts=attempts, sleep=naps)


# Requests


@pytest.mark.parametrize(("service", "method", "parameters"), CALLS, ids=[method for _, method, _ in CALLS])
async def test_requests_are_those_of_boto3(
    stub: HttpStub, service: str, method: str, parameters: Mapping[str, Any]
) -> None:
    stub.script = lambda _: Answer.of({"Failed": [], "Successful": []})
    getattr(boto3_client(service, stub.url), method)(**parameters)
    await getattr(client(service, stub.url), method)(**parameters)
    theirs, ours = stub.requests
    assert (ours.method, ours.path, ours.json) == (theirs.method, theirs.path, theirs.json)
    for header in ("X-Amz-Target", "Content-Type"):
        assert ours.headers[header] == theirs.headers[header]


@pytest.mark.parametrize("service", PROTOCOLS)
async def test_requests_are_signed(stub: HttpStub, http: HttpClient, service: str) -> None:
    await Client(service, "eu-west-1", keys, endpoint_url=stub.url, http=http).some_call(Name="Zoë")
    (received,) = stub.requests
    auth = SigV4Auth(Credentials(KEYS.access_key, KEYS.secret_key, KEYS.token), service, "eu-west-1")
    signed = ("Content-Type", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Target")
    headers = {name: received.headers[name] for name in signed}
    request = AWSRequest("POST", f"{stub.url}/", data=received.body, headers=headers)
    request.context["timestamp"] = received.headers["X-Amz-Date"]
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert received.headers["Authorization"].endswith(f"Signature={signature}")
    assert received.headers["Host"] == stub.url.removeprefix("http://")


async def test_credentials_are_fetched_for_each_call(stub: HttpStub, http: HttpClient) -> None:
    left: list[Keys | None] = [None, Keys("AKIDSECOND", "s"), Keys("AKIDFIRST", "s")]

    async def provide() -> Keys | None:
        return left.pop()

    made = Client("dynamodb", "us-east-1", provide, endpoint_url=stub.url, http=http)
    await made.get_item()
    await made.get_item()
    with pytest.raises(Unavailable, match=r"^there are no AWS credentials$"):
        await made.get_item()
    used = [request.headers["Authorization"].partition("Credential=")[2].partition("/")[0] for request in stub.requests]
    assert used == ["AKIDFIRST", "AKIDSECOND"]


async def test_connection_is_kept(naps: Naps, http: HttpClient) -> None:
    with RawServer(answering(answer(b"{}"))) as server:
        made = dynamodb(server.url, naps, http)
        for _ in range(3):
            assert await made.get_item() == {}
    assert server.connections == 1


# Failures


async def test_error_has_the_shape_of_boto3s(stub: HttpStub) -> None:
    more: dict[str, Any] = {"Item": {"a": {"S": "b"}}, "CancellationReasons": [{"Code": "X"}]}
    stub.script = lambda _: Answer.error("ConditionalCheckFailedException", **more)
    with pytest.raises(ClientError) as theirs:
        boto3_client("dynamodb", stub.url).put_item(TableName="t", Item=KEY)
    with pytest.raises(AwsError) as ours:
        await client("dynamodb", stub.url).put_item(TableName="t", Item=KEY)
    assert ours.value.response["Error"] == theirs.value.response["Error"]
    assert ours.value.response["Item"] == {"a": {"S": "b"}}
    assert ours.value.response["CancellationReasons"] == [{"Code": "X"}]
    assert error_code(ours.value) == theirs.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert str(ours.value) == "PutItem: ConditionalCheckFailedException: as the test says"


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Answer(403, b'{"Message": "no", "__type": "AccessDeniedException"}'), "AccessDeniedException"),
        (
            Answer(400, b"{}", {"x-amzn-errortype": "ValidationException:http://internal.amazon.com/"}),
            "ValidationException",
        ),
        (Answer(404, b"<html>"), "404"),
    ],
    ids=["no namespace", "in a header", "no JSON"],
)
async def test_errors_of_all_kinds_have_a_code_and_are_final(
    stub: HttpStub, naps: Naps, http: HttpClient, refusal: Answer, code: str
) -> None:
    stub.script = lambda _: refusal
    with pytest.raises(AwsError) as error:
        await dynamodb(stub.url, naps, http).get_item()
    assert error_code(error.value) == code
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    "failure",
    [
        Answer(500, b"oh"),
        Answer(503),
        RESET,
        Answer.error("ProvisionedThroughputExceededException"),
        Answer.error("ThrottlingException"),
        Answer(200, b"{"),
    ],
    ids=["500", "503", "reset", "throughput", "throttling", "no JSON"],
)
async def test_transient_failure_is_tried_three_times(
    stub: HttpStub, naps: Naps, http: HttpClient, failure: Answer | None
) -> None:
    stub.script = lambda _: failure if len(stub.requests) < 3 else Answer(200, b'{"ok": true}')
    assert await dynamodb(stub.url, naps, http).get_item() == {"ok": True}
    first, second = naps.seconds
    assert 0 <= first < 1
    assert 0 <= second < 2
    stub.requests.clear()
    stub.script = lambda _: failure
    with calling_fails(), calling("DynamoDB"):
        await dynamodb(stub.url, naps, http).get_item()
    assert len(stub.requests) == 3
    assert len({request.body for request in stub.requests}) == 1


async def test_response_with_another_checksum_is_damaged_and_tried_again(
    stub: HttpStub, naps: Naps, http: HttpClient
) -> None:
    body = b'{"ok": true}'
    whole, damaged = ({"x-amz-crc32": str(zlib.crc32(sent))} for sent in (body, b"{}"))
    stub.script = lambda _: Answer(200, body, damaged if len(stub.requests) < 3 else whole)
    assert await dynamodb(stub.url, naps, http).get_item() == {"ok": True}
    assert len(stub.requests) == 3
    stub.script = lambda _: Answer(200, body, damaged)
    with pytest.raises(NoResponse, match="GetItem: the response is damaged: its checksum is another"):
        await dynamodb(stub.url, naps, http).get_item()


async def test_checksum_is_not_of_a_body_that_was_compressed(stub: HttpStub, naps: Naps, http: HttpClient) -> None:
    sent = gzip.compress(b'{"ok": true}')
    headers = {"x-amz-crc32": str(zlib.crc32(sent)), "Content-Encoding": "gzip"}
    stub.script = lambda _: Answer(200, sent, headers)
    assert await dynamodb(stub.url, naps, http).get_item() == {"ok": True}


async def test_operation_without_output_may_answer_nothing(stub: HttpStub) -> None:
    stub.script = lambda _: Answer(200, b"")
    assert await client("sqs", stub.url).delete_message(QueueUrl="q", ReceiptHandle="r") == {}
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("answer", "is_throttled"),
    [
        (Answer.error("ProvisionedThroughputExceededException"), True),
        (Answer.error("TransactionCanceledException", CancellationReasons=[{"Code": "ThrottlingError"}]), True),
        (Answer.of({"UnprocessedItems": {"Connections": [{}]}}), True),
        (Answer.of({"UnprocessedKeys": {"Connections": {}}}), True),
        (Answer.of({"UnprocessedItems": {}}), False),
        (Answer.error("ConditionalCheckFailedException"), False),
        (Answer(503), False),
    ],
)
async def test_calls_that_are_throttled_in_whole_or_in_part_are_reported(
    stub: HttpStub, http: HttpClient, answer: Answer, is_throttled: bool
) -> None:
    stub.script = lambda _: answer
    throttled: list[None] = []
    made: Any = Client(
        "dynamodb",
        "us-east-1",
        keys,
        endpoint_url=stub.url,
        http=http,
        attempts=1,
        on_throttled=lambda: throttled.append(None),
    )
    with contextlib.suppress(AwsError, NoResponse):
        await made.batch_write_item()
    assert len(throttled) == is_throttled


def calling_fails() -> Any:
    return pytest.raises(Unavailable, match=r"^DynamoDB: GetItem: ")


async def test_server_that_does_not_exist_gives_no_response(naps: Naps, http: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NoResponse, match=r"^GetItem: .*Connection refused"):
        await dynamodb(f"http://127.0.0.1:{port}", naps, http).get_item()
    assert len(naps.seconds) == 2


async def test_silence_ends_with_the_timeout(naps: Naps) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        server.stopping.wait()

    with RawServer(script) as server:
        http = HttpClient(SystemClock(), Timeouts(connect_s=2, first_byte_s=0.2, total_s=2), idle_s=0)
        began = time.monotonic()
        with pytest.raises(NoResponse, match=r"not within 0\.2 s"):
            await dynamodb(server.url, naps, http, attempts=1).get_item()
        assert time.monotonic() - began >= 0.2


async def test_response_that_breaks_off_is_no_response(naps: Naps, http: HttpClient) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(answer(b'{"Item": {}}')[:-1])

    with RawServer(script) as server:
        with pytest.raises(NoResponse):
            await dynamodb(server.url, naps, http).get_item()
        assert len(server.requests) == 3


def test_all_attempts_fit_into_a_functions_timeout() -> None:
    pauses_s = sum(BACKOFF_BASE**attempt for attempt in range(ATTEMPTS - 1))
    assert ATTEMPTS * TIMEOUTS.total_s + pauses_s <= 14


# Endpoints


@pytest.mark.parametrize(
    ("region", "environ", "expected"),
    [
        ("eu-west-1", {}, "https://sqs.eu-west-1.amazonaws.com"),
        ("cn-north-1", {}, "https://sqs.cn-north-1.amazonaws.com.cn"),
        ("eu-west-1", {"AWS_ENDPOINT_URL": "http://all"}, "http://all"),
        ("eu-west-1", {"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_SQS": "http://one"}, "http://one"),
    ],
)
def test_endpoints_are_those_of_the_region_or_the_environment(
    region: str, environ: Mapping[str, str], expected: str
) -> None:
    assert endpoint_url("sqs", region, environ) == expected


@pytest.mark.parametrize("service", PROTOCOLS)
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-2", "cn-northwest-1", "us-gov-west-1"])
def test_endpoints_are_those_of_boto3(service: Any, region: str) -> None:
    import boto3

    session = boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name=region)
    assert session.client(service).meta.endpoint_url == endpoint_url(service, region, {})
