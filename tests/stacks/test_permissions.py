"""Each role's permissions, complete, and compared with the calls that the functions really make."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from slip_sockets.aws.channels import DynamoDbChannels
from slip_sockets.aws.checkpoints import DynamoDbCheckpoints
from slip_sockets.aws.connections import INDEX_NAME, DynamoDbConnections
from slip_sockets.aws.history import DynamoDbHistory
from slip_sockets.aws.management import ApiGatewaySender
from slip_sockets.aws.presence import DynamoDbPresence
from slip_sockets.aws.queue import SqsQueue
from slip_sockets.gateway.deferred import Continuation
from slip_sockets.gateway.ports import SystemClock
from slip_sockets.gateway.values import ChannelState, Form, MemberConnection, Membership, Notified, Origin, Publication
from slip_sockets.protocol.errors import InvalidEvents
from slip_sockets.protocol.events import Keep, decode_control, decode_reply
from slip_sockets.protocol.positions import Position

from ..aws.http_stub import Answer, HttpStub, Request
from ..aws.moto_server import client, keys
from .synthesis import FUNCTIONS, PRODUCTION, Stack, Synthesis

CONNECTIONS = "${aws_dynamodb_table.Connections.arn}"
INDEX = f"{CONNECTIONS}/index/channel-index"
CHANNELS = "${aws_dynamodb_table.Channels.arn}"
TABLES = {"Connections": CONNECTIONS, "Channels": CHANNELS}
QUEUE, INBOUND, DEAD_LETTERS = (f"${{aws_sqs_queue.{name}.arn}}" for name in ("deferred", "inbound", "dead_letters"))
LIVE = "${aws_apigatewayv2_api.websocket.execution_arn}/live"
CONNECTION = "AAAAAAAAAAAAAAA="

POST, DELETE, GET = (f"{LIVE}/{method}/@connections/*" for method in ("POST", "DELETE", "GET"))
MANAGE = "execute-api:ManageConnections"
COMMON = {
    ("dynamodb:BatchGetItem", CONNECTIONS),
    ("dynamodb:BatchWriteItem", CONNECTIONS),
    ("dynamodb:ConditionCheckItem", CONNECTIONS),
    ("dynamodb:DeleteItem", CONNECTIONS),
    ("dynamodb:GetItem", CONNECTIONS),
    ("dynamodb:PutItem", CONNECTIONS),
    ("dynamodb:Query", CONNECTIONS),
    ("dynamodb:UpdateItem", CONNECTIONS),
    ("dynamodb:Query", INDEX),
    ("dynamodb:BatchGetItem", CHANNELS),
    ("dynamodb:BatchWriteItem", CHANNELS),
    ("dynamodb:GetItem", CHANNELS),
    ("dynamodb:PutItem", CHANNELS),
    ("dynamodb:Query", CHANNELS),
    ("dynamodb:UpdateItem", CHANNELS),
    ("sqs:SendMessage", QUEUE),
    ("secretsmanager:GetSecretValue", "${aws_secretsmanager_secret.jwt_secrets.arn}"),
    (MANAGE, POST),
    (MANAGE, DELETE),
}
OWN = {
    "websocket": {("sqs:SendMessage", INBOUND)},
    "control": {(MANAGE, GET)},
    "deliver": {
        ("sqs:ChangeMessageVisibility", QUEUE),
        ("sqs:DeleteMessage", QUEUE),
        ("sqs:GetQueueAttributes", QUEUE),
        ("sqs:ReceiveMessage", QUEUE),
        ("sqs:ChangeMessageVisibility", INBOUND),
        ("sqs:DeleteMessage", INBOUND),
        ("sqs:GetQueueAttributes", INBOUND),
        ("sqs:ReceiveMessage", INBOUND),
        ("sqs:SendMessage", INBOUND),
        ("sqs:SendMessage", DEAD_LETTERS),
        ("dynamodb:DeleteItem", CHANNELS),
    },
}
TRACES = {("xray:PutTraceSegments", "*"), ("xray:PutTelemetryRecords", "*")}
BY_LAMBDA_ALONE = {"sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
"""What an event source mapping calls with the function's role, beside DeleteMessage, which the function calls too.
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
def test_grip_adds_the_queue_of_timers_and_a_look_at_connections(
    synth: Callable[..., Synthesis], function: str
) -> None:
    timers = "${aws_sqs_queue.timers.arn}"
    received = {(action, timers) for action, queue in OWN["deliver"] if queue == QUEUE}
    added: dict[str, set[tuple[str, str]]] = {
        "websocket": {("sqs:SendMessage", timers)},
        "control": set(),
        "deliver": {("sqs:SendMessage", timers), (MANAGE, GET), *received},
    }
    in_grip = allowed(synth(BACKEND_PROTOCOL="grip").stack(PRODUCTION), function)
    assert in_grip == COMMON | OWN[function] | added[function] | logs(function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_occupancy_events_add_the_queue_of_timers_for_one_function(
    synth: Callable[..., Synthesis], function: str
) -> None:
    timers = "${aws_sqs_queue.timers.arn}"
    received = {(action, timers) for action, queue in OWN["deliver"] if queue == QUEUE}
    added = {("sqs:SendMessage", timers), *received} if function == "deliver" else set()
    with_events = allowed(synth(OCCUPANCY_EVENTS="true").stack(PRODUCTION), function)
    assert with_events == COMMON | OWN[function] | added | logs(function)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_option_but_tracing_changes_a_role(
    defaults: Synthesis, all_options: Synthesis, ordered: Synthesis, function: str
) -> None:
    """Nor does a rotation: an environment may start between the change of its role and that of its configuration."""
    assert allowed(ordered.stack(PRODUCTION), function) == allowed(defaults.stack(PRODUCTION), function)
    assert allowed(all_options.stack(PRODUCTION), function) == allowed(defaults.stack(PRODUCTION), function) | TRACES


@pytest.mark.parametrize("function", FUNCTIONS)
def test_traces_may_be_written_with_tracing(all_options: Synthesis, stack: Stack, function: str) -> None:
    traced = all_options.stack(PRODUCTION)
    assert traced.resource("lambda_function", function)["tracing_config"] == {"mode": "Active"}
    assert allowed(traced, function) >= TRACES
    assert "tracing_config" not in stack.resource("lambda_function", function)


def test_no_role_has_other_policies(stack: Stack) -> None:
    assert [type_ for type_ in stack.config["resource"] if type_.startswith("aws_iam_")] == [
        "aws_iam_role",
        "aws_iam_role_policy",
    ]
    assert {frozenset(role) for role in stack.config["resource"]["aws_iam_role"].values()} == {
        frozenset({"//", "assume_role_policy", "name"})
    }


# The calls that the functions make: all methods of the ports are called, against a stub.

ITEM = {
    "connectionId": {"S": CONNECTION},
    "channel": {"S": f"$connection:{CONNECTION}"},
    "key": {"S": "mark:queued"},
    "metadata": {"S": "null"},
    "connectedAt": {"N": "0"},
    "remaining": {"S": "{}"},
    "ttl": {"N": "99999999999"},
}
MEMBERSHIP = Membership("ann")
MEMBER = {
    "connectionId": {"S": CONNECTION},
    "channel": {"S": "news"},
    "member": {"S": "ann"},
    "joinedAt": {"N": "99999999999999"},
    "ttl": {"N": "99999999999"},
}
HEAD = {
    "channel": {"S": "news"},
    "key": {"S": "mark:head"},
    "epoch": {"S": "abc"},
    "newest": {"N": "99"},
    "keptUntil": {"N": "99999999999999"},
    "rthe-newest-one-00": {"N": "99"},
    "ttl": {"N": "99999999999"},
}


def dynamodb_answers(request: Request) -> Answer:
    match request.operation:
        case "Query":
            found = [] if "BETWEEN" in request.json["KeyConditionExpression"] else [ITEM]
            return Answer.of({"Items": found, "Count": len(found), "ScannedCount": len(found)})
        case "BatchGetItem":
            (table,) = request.json["RequestItems"]
            return Answer.of({"Responses": {table: [ITEM] if table == "Connections" else []}, "UnprocessedKeys": {}})
        case "BatchWriteItem":
            return Answer.of({"UnprocessedItems": {}})
        case "GetItem":
            return Answer.of({"Item": HEAD if request.json["Key"].get("key") == HEAD["key"] else ITEM})
        case "UpdateItem":
            return Answer.of({"Attributes": HEAD})
        case _:
            return Answer()


def dynamodb_needs(request: Request) -> Iterable[tuple[str, str]]:
    """A transaction needs the permissions of its parts, a batch those for each of its tables.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html"""
    match request.json:
        case {"TransactItems": parts}:
            actions = {
                "ConditionCheck": "ConditionCheckItem",
                "Delete": "DeleteItem",
                "Put": "PutItem",
                "Update": "UpdateItem",
            }
            for part in parts:
                yield from ((f"dynamodb:{actions[kind]}", TABLES[part[kind]["TableName"]]) for kind in part)
        case {"RequestItems": by_table}:
            yield from ((f"dynamodb:{request.operation}", TABLES[name]) for name in by_table)
        case {"TableName": name, "IndexName": index}:
            assert index == INDEX_NAME
            yield f"dynamodb:{request.operation}", f"{TABLES[name]}/index/{index}"
        case {"TableName": name}:
            yield f"dynamodb:{request.operation}", TABLES[name]


def needs(stub: HttpStub) -> set[tuple[str, str]]:
    """Return what the calls since the last time needed."""
    needed = {need for request in stub.requests for need in dynamodb_needs(request)}
    stub.requests.clear()
    return needed


def of(pairs: Iterable[tuple[str, str]], *resources: str) -> set[tuple[str, str]]:
    return {pair for pair in pairs if pair[1] in resources}


async def call_all_methods(port: object, **arguments: Any) -> None:
    """Call each public method of a port with those of `arguments` that it takes."""
    for name, method in inspect.getmembers(port, inspect.ismethod):
        if not name.startswith("_"):
            result = method(**{parameter: arguments[parameter] for parameter in inspect.signature(method).parameters})
            if isinstance(result, Awaitable):
                await result
            elif isinstance(result, AsyncIterable):
                async for _ in result:
                    pass


async def test_connections_need_what_every_role_allows(stub: HttpStub) -> None:
    stub.script = dynamodb_answers
    connections = DynamoDbConnections(client("dynamodb", stub.url), "Connections", "Channels", SystemClock())
    await call_all_methods(
        connections,
        connection_id=CONNECTION,
        connection_ids=[CONNECTION],
        metadata=b"null",
        form=Form.RAW,
        user=None,
        number=1,
        channels=["news"],
        channel="news",
        accepted_before=1,
        after=None,
        subscribed_before=1,
        page_size=1,
        until=math.inf,
        memberships={"news": MEMBERSHIP},
        membership=MEMBERSHIP,
    )
    await connections.subscribe(CONNECTION, "news")
    needed = needs(stub)
    assert of(needed, CONNECTIONS, INDEX) == of(COMMON, CONNECTIONS, INDEX)
    assert {action for action, _ in of(needed, CHANNELS)} == {"dynamodb:BatchWriteItem", "dynamodb:PutItem"}
    stub.script = lambda request: (
        Answer.error("ConditionalCheckFailedException", Item=MEMBER)
        if request.operation == "DeleteItem"
        else dynamodb_answers(request)
    )
    await connections.unsubscribe(CONNECTION, "news")
    assert "TransactWriteItems" in stub.operations
    assert needs(stub) <= COMMON


async def test_channels_need_what_every_role_allows(stub: HttpStub) -> None:
    stub.script = dynamodb_answers
    channels = DynamoDbChannels(client("dynamodb", stub.url), "Channels", SystemClock())
    await call_all_methods(
        channels,
        channel="news",
        connection_ids=[CONNECTION],
        message_id="1",
        last_id="1",
        claimant="me",
        lease_s=1,
        for_s=1,
        position="abc:1",
    )
    history = DynamoDbHistory(client("dynamodb", stub.url), "Channels", SystemClock())
    await call_all_methods(
        history,
        publication=Publication("news", "hi", keep=Keep(count=1, seconds=1)),
        origin=Origin("1"),
        state=ChannelState(kept=HEAD),
        channel="news",
        since=Position("abc", 90),
        limit=1,
    )
    assert needs(stub) == of(COMMON, CHANNELS)


async def test_presence_needs_what_the_deliver_role_allows(stub: HttpStub) -> None:
    stub.script = lambda request: Answer.of({"Items": []}) if request.operation == "Query" else Answer()
    presence = DynamoDbPresence(client("dynamodb", stub.url), "Channels", SystemClock())
    left = [MemberConnection("ann", CONNECTION, 1, left_at=2)]
    await call_all_methods(presence, channel="news", notified=Notified(version=1), left=left)
    needed = needs(stub)
    assert {action for action, _ in needed} == {"dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem"}
    assert needed <= COMMON | OWN["deliver"]


async def test_checkpoints_need_what_the_deliver_role_allows(stub: HttpStub) -> None:
    stub.script = dynamodb_answers
    checkpoints = DynamoDbCheckpoints(client("dynamodb", stub.url), "Channels", SystemClock())
    await call_all_methods(checkpoints, message_id="1", remaining="{}")
    needed = needs(stub)
    assert needed == {("dynamodb:PutItem", CHANNELS), ("dynamodb:GetItem", CHANNELS)}
    assert needed <= COMMON | OWN["deliver"]


async def test_queue_needs_what_the_roles_allow(stub: HttpStub) -> None:
    stub.script = lambda _: Answer.of({"Successful": [], "Failed": []})
    queue = SqsQueue(client("sqs", stub.url), f"{stub.url}/000000000000/deferred.fifo", SystemClock())
    await call_all_methods(
        queue,
        messages=[Continuation(CONNECTION, [])],
        timeouts_s={"handle": 1},
        handles=["handle"],
        event={"Records": [{"eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:deferred.fifo"}]},
    )
    # IAM checks a batch as its single action.
    needed = {f"sqs:{operation.removesuffix('Batch')}" for operation in stub.operations}
    common, own = ({action for action, resource in pairs if resource == QUEUE} for pairs in (COMMON, OWN["deliver"]))
    assert needed == common | own - BY_LAMBDA_ALONE


async def test_sender_needs_what_the_control_role_allows(stub: HttpStub) -> None:
    sender = ApiGatewaySender(f"{stub.url}/live", "us-east-1", keys, SystemClock())
    await sender.send([CONNECTION], "hi", until=math.inf)
    await sender.close([CONNECTION], until=math.inf)
    await sender.is_open(CONNECTION)
    sender.end()
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
        decode_reply(poll)
