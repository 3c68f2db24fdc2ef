"""Each role's permissions, whole, and held against what the functions really call."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Iterable
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from botocore.credentials import Credentials

from slip_sockets.aws.connections import INDEX_NAME, DynamoDbConnectionStore
from slip_sockets.aws.management import ApiGatewayManagement
from slip_sockets.aws.progress import DynamoDbProgress
from slip_sockets.aws.queue import SqsQueue
from slip_sockets.errors import InvalidEvents
from slip_sockets.events import decode_answer, decode_control
from slip_sockets.gateway.ports import Continuation, SystemClock

from ..aws.http_stub import Answer, HttpStub, Request
from ..aws.moto_server import client
from .synthesis import FUNCTIONS, PRODUCTION, Stack, Synthesis

TABLE = "${aws_dynamodb_table.Connections.arn}"
INDEX = f"{TABLE}/index/channel-index"
QUEUE = "${aws_sqs_queue.deferred.arn}"
LIVE = "${aws_apigatewayv2_api.websocket.execution_arn}/live"
CONNECTION = "AAAAAAAAAAAAAAA="

POST, DELETE, GET = (f"{LIVE}/{method}/@connections/*" for method in ("POST", "DELETE", "GET"))
MANAGE = "execute-api:ManageConnections"
READ_A_ROW = ("dynamodb:GetItem", TABLE)
COMMON = {
    ("dynamodb:BatchGetItem", TABLE),
    ("dynamodb:BatchWriteItem", TABLE),
    ("dynamodb:ConditionCheckItem", TABLE),
    ("dynamodb:DeleteItem", TABLE),
    ("dynamodb:PutItem", TABLE),
    ("dynamodb:Query", TABLE),
    ("dynamodb:UpdateItem", TABLE),
    ("dynamodb:Query", INDEX),
    ("sqs:SendMessage", QUEUE),
    ("ssm:GetParameter", "${local.jwt_secrets}"),
    (MANAGE, POST),
    (MANAGE, DELETE),
}
OWN = {
    "websocket": {READ_A_ROW},
    "control": {(MANAGE, GET)},
    "deliver": {
        READ_A_ROW,
        ("sqs:ChangeMessageVisibility", QUEUE),
        ("sqs:DeleteMessage", QUEUE),
        ("sqs:GetQueueAttributes", QUEUE),
        ("sqs:ReceiveMessage", QUEUE),
    },
}
TRACES = {("xray:PutTraceSegments", "*"), ("xray:PutTelemetryRecords", "*")}
BY_LAMBDA_ITSELF = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
"""What an event source mapping does in the name of the function.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""


def allowed(stack: Stack, function: str) -> set[tuple[str, str]]:
    """Return the pairs of action and resource that a role allows."""
    statements = stack.statements(function)
    assert [statement.keys() for statement in statements] == [{"Effect", "Action", "Resource"}] * len(statements)
    assert {statement["Effect"] for statement in statements} == {"Allow"}
    return {
        (action, resource)
        for statement in statements
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


def logs(function: str) -> set[tuple[str, str]]:
    group = f"${{aws_cloudwatch_log_group.{function}.arn}}:*"
    return {("logs:CreateLogStream", group), ("logs:PutLogEvents", group)}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_role_allows_this_and_nothing_else(stack: Stack, function: str) -> None:
    assert allowed(stack, function) == COMMON | OWN[function] | logs(function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_option_but_tracing_changes_a_role(defaults: Synthesis, all_options: Synthesis, function: str) -> None:
    """A rotation is one: an environment may start between the change of its role and that of its configuration."""
    assert allowed(all_options.stack(PRODUCTION), function) == allowed(defaults.stack(PRODUCTION), function) | TRACES


@pytest.mark.parametrize("function", FUNCTIONS)
def test_traces_may_be_written_where_they_are_asked_for(all_options: Synthesis, stack: Stack, function: str) -> None:
    traced = all_options.stack(PRODUCTION)
    assert traced.resource("lambda_function", function)["tracing_config"] == {"mode": "Active"}
    assert allowed(traced, function) >= TRACES
    assert "tracing_config" not in stack.resource("lambda_function", function)


def test_no_role_has_more_policies(stack: Stack) -> None:
    assert [type_ for type_ in stack.config["resource"] if type_.startswith("aws_iam_")] == [
        "aws_iam_role",
        "aws_iam_role_policy",
    ]
    assert {frozenset(role) for role in stack.config["resource"]["aws_iam_role"].values()} == {
        frozenset({"//", "assume_role_policy", "name"})
    }


# What the functions call. A stub answers, and all methods of the ports are used.

ITEM = {
    "connectionId": {"S": CONNECTION},
    "channel": {"S": f"$connection:{CONNECTION}"},
    "metadata": {"S": "null"},
    "connectedAt": {"N": "0"},
    "rest": {"S": "{}"},
    "ttl": {"N": "99999999999"},
}


def dynamodb_answers(request: Request) -> Answer:
    match request.operation:
        case "Query":
            return Answer.of({"Items": [ITEM], "Count": 1, "ScannedCount": 1})
        case "BatchGetItem":
            return Answer.of({"Responses": {"Connections": [ITEM]}, "UnprocessedKeys": {}})
        case "BatchWriteItem":
            return Answer.of({"UnprocessedItems": {}})
        case "GetItem":
            return Answer.of({"Item": ITEM})
        case _:
            return Answer()


def dynamodb_needs(request: Request) -> Iterable[tuple[str, str]]:
    """A transaction needs what its parts would need.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html"""
    if request.operation == "TransactWriteItems":
        actions = {"ConditionCheck": "ConditionCheckItem", "Put": "PutItem"}
        for part in request.json["TransactItems"]:
            yield from ((f"dynamodb:{actions[kind]}", TABLE) for kind in part)
    elif (index := request.json.get("IndexName")) is None:
        yield f"dynamodb:{request.operation}", TABLE
    else:
        assert index == INDEX_NAME
        yield f"dynamodb:{request.operation}", INDEX


async def call_all_methods(port: object, **arguments: Any) -> None:
    """Call each public method of a port with those of `arguments` that it takes."""
    for name, method in inspect.getmembers(port, inspect.ismethod):
        if not name.startswith("_"):
            result = method(**{parameter: arguments[parameter] for parameter in inspect.signature(method).parameters})
            if isinstance(result, Awaitable):
                await result
            elif result is not None:
                async for _ in result:
                    pass


async def test_store_needs_what_every_role_allows(stub: HttpStub) -> None:
    stub.script = dynamodb_answers
    store = DynamoDbConnectionStore(client("dynamodb", stub.url), "Connections", SystemClock())
    await call_all_methods(
        store,
        connection_id=CONNECTION,
        connection_ids=[CONNECTION],
        metadata=b"null",
        channels=["news"],
        channel="news",
        message_id="1",
        claimant="me",
        lease_s=1,
        for_s=1,
        accepted_before=1,
        after=None,
        page_size=1,
        until=math.inf,
    )
    progress = DynamoDbProgress(client("dynamodb", stub.url), "Connections", SystemClock())
    await call_all_methods(progress, message_id="1", rest="{}")
    needed = {need for request in stub.requests for need in dynamodb_needs(request)}
    assert needed == {pair for pair in COMMON | {READ_A_ROW} if pair[0].startswith("dynamodb:")}


async def test_queue_needs_what_the_roles_allow(stub: HttpStub) -> None:
    stub.script = lambda _: Answer.of({"Successful": [], "Failed": []})
    queue = SqsQueue(client("sqs", stub.url), f"{stub.url}/000000000000/deferred.fifo", SystemClock())
    await call_all_methods(queue, messages=[Continuation(CONNECTION, [])], pauses_s={"handle": 1})
    # A batch is allowed by the action of one.
    needed = {f"sqs:{operation.removesuffix('Batch')}" for operation in stub.operations}
    common, own = ({action for action, resource in pairs if resource == QUEUE} for pairs in (COMMON, OWN["deliver"]))
    assert needed == common | own - BY_LAMBDA_ITSELF


async def test_management_needs_what_the_control_role_allows(stub: HttpStub) -> None:
    credentials = Credentials("key", "secret")
    management = ApiGatewayManagement(f"{stub.url}/live", "us-east-1", lambda: credentials, SystemClock())
    await management.post([CONNECTION], "hi", until=math.inf)
    await management.delete([CONNECTION], until=math.inf)
    await management.is_open(CONNECTION)
    management.close()
    await asyncio.sleep(0)
    assert {f"{request.method} {unquote(request.path)}" for request in stub.requests} == {
        f"{method} /live/@connections/{CONNECTION}" for method in ("POST", "DELETE", "GET")
    }


def test_only_the_control_api_may_ask_whether_a_connection_is_open() -> None:
    poll = msgspec.json.encode(
        {"events": [{"type": "POLL_FOR_CONNECTION", "connectionId": CONNECTION, "timeout": 1000}]}
    )
    assert len(decode_control(poll)) == 1
    with pytest.raises(InvalidEvents):
        decode_answer(poll)
