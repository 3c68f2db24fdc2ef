"""Both stages, deployed for real to the local AWS.

A deployment takes long, so that most tests of this folder share one. Each has a room of its own in it, and restores
what it changes. Files whose tests change a deployment for good have their own (`APART` in `tests/conftest.py`).
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from websockets.typing import Subprotocol

from slip_sockets import Close, ControlApiRefused, Open, Report, Text

from ..docs.markdown import Page
from ..stacks.test_stack import ADDRESSES
from .backend import ChatBackend
from .deployment import PRODUCTION, SECRET, STACKS, STAGING, Deployment
from .patience import until
from .room import Room, all_hear, open_room

pytestmark = pytest.mark.e2e

WORDS_OF_INSIGHTS = {
    "bin",
    "by",
    "count",
    "desc",
    "fields",
    "filter",
    "in",
    "ispresent",
    "limit",
    "pct",
    "sort",
    "stats",
}
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html"""


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def refusals(deployment: Deployment, backend: ChatBackend) -> dict[str, ControlApiRefused]:
    """In each stage a socket lives, and one publish is refused: the refusals, by stack."""

    async def live(stack: str) -> ControlApiRefused:
        async with open_room(deployment, backend) as room:
            ada = await room.join("ada", stack=stack)
            await ada.send("hello")
            await ada.hear("ada: hello")
            await room.publish("from anywhere", stack=stack)
            await ada.hear("from anywhere")
            with (
                deployment.publisher(stack, "a-wrong-secret-of-more-than-32-bytes") as forger,
                pytest.raises(ControlApiRefused) as refusal,
            ):
                forger.publish_text(room.name, "x")
        return refusal.value

    return {stack: asyncio.run(live(stack)) for stack in STACKS}


def test_the_outputs_file_has_the_originals_shape(deployment: Deployment, backend: ChatBackend) -> None:
    assert deployment.outputs.keys() == set(STACKS)
    for outputs in deployment.outputs.values():
        assert outputs.keys() == {"controlApi", "targetUrl", "websocketUrl", "region"}
        assert outputs["targetUrl"] == backend.url
        assert outputs["region"] == "us-east-1"
    assert deployment.outputs[PRODUCTION]["controlApi"] != deployment.outputs[STAGING]["controlApi"]


def test_the_state_lists_what_was_designed(deployment: Deployment, stack: str) -> None:
    of_ordered = [f"aws_cloudwatch_metric_alarm.{name}" for name in ("inbound_age", "inbound_queue_age")]
    of_occupancy = ["aws_lambda_event_source_mapping.timers", "aws_sqs_queue.timers"]
    assert deployment.terraform(stack, "state", "list").splitlines() == sorted(
        [
            *ADDRESSES,
            "aws_sns_topic_subscription.alarm_mail",
            *([*of_ordered, *of_occupancy] if stack == STAGING else []),
        ]
    )


def test_a_second_plan_is_empty(deployment: Deployment, stack: str) -> None:
    assert "No changes." in deployment.terraform(stack, "plan", "-no-color", "-detailed-exitcode")


def test_a_plan_of_a_synth_in_another_folder_is_empty_too(deployment: Deployment, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(
        deployment.project, elsewhere, symlinks=True, ignore=shutil.ignore_patterns("cdktf.out", "build", "*.pyc")
    )
    deployment.run("python", str(elsewhere / "main.py"), cwd=tmp_path)
    for stack in STACKS:
        deployment.terraform(stack, "init", "-no-color", "-input=false", project=elsewhere)
        planned = deployment.terraform(stack, "plan", "-no-color", "-detailed-exitcode", project=elsewhere)
        assert "No changes." in planned


async def test_a_socket_lives_from_open_to_close(room: Room, stack: str) -> None:
    ada = await room.join("ada", stack=stack, subprotocols=[Subprotocol("v1")])
    assert ada.socket.subprotocol == "v1"
    opened, metadata = await room.received(Open, room.connection_id("ada"))
    assert metadata["query"] == {"room": [room.name], "user": ["ada"]}
    assert metadata["ip"] == "127.0.0.1"
    bob = await room.join("bob", stack=stack)
    await ada.send("hello é😀")
    await all_hear([ada, bob], "ada: hello é😀")
    text, metadata = await room.received(Text, opened.connection_id)
    assert isinstance(text, Text)
    assert (text.data, text.id is not None) == ("hello é😀", stack == STAGING)
    assert metadata == room.chat.metadata("ada")
    assert await room.publish("from anywhere", stack=stack) == Report(matched=2, sent=2, gone=0, queued=0)
    await all_hear([ada, bob], "from anywhere")
    await bob.send("leave")
    assert await bob.closed() == 1000
    await ada.hear("bob left")
    assert bob.received == ["ada: hello é😀", "from anywhere"]
    assert ada.received == [*bob.received, "bob left"]
    await ada.socket.close()
    close, metadata = await room.received(Close, opened.connection_id)
    assert close == Close(opened.connection_id, 1000, "")
    assert metadata == room.chat.metadata("ada")
    await until(lambda: room.rows(stack) == [])  # in order they go last, after the CLOSE


async def test_a_ping_is_answered_by_api_gateway_itself(room: Room, stack: str) -> None:
    ada = await room.join("ada", stack=stack)
    texts = ['{"slip":"$connect"}', '{"slip":"$disconnect"}', '["ping"]']
    for text in texts:
        await ada.send('{"slip":"ping"}')
        await ada.hear('{"slip":"pong"}')
        await ada.send(text)
        await ada.hear(f"ada: {text}")
        ada.received.clear()
    assert [event.data for event, _ in room.chat.received if isinstance(event, Text)] == texts


async def test_a_publish_reaches_all_subscribers_of_one_stage_alone(room: Room) -> None:
    clients = await room.join_many(20)
    stranger = await room.join(stack=STAGING)
    assert await room.publish("to all") == Report(20, 20, 0, 0)
    await all_hear(clients, "to all")
    assert await room.publish("x", stack=STAGING) == Report(1, 1, 0, 0)
    await stranger.hear("x")
    assert [client.received for client in clients] == [["to all"]] * 20
    assert stranger.received == ["x"]


def test_a_call_without_a_valid_token_is_refused(refusals: dict[str, ControlApiRefused], stack: str) -> None:
    assert (refusals[stack].status, refusals[stack].body) == (403, "Invalid token")


def is_of_an_event(line: dict[str, Any]) -> bool:
    return "durationMs" in line


@pytest.mark.usefixtures("refusals")
async def test_the_log_says_what_happened_and_to_which_connection(deployment: Deployment, stack: str) -> None:
    """With INBOUND=ordered, as staging has it, `deliver` has all but the connects."""
    expected = {"websocket": {"OPEN", "TEXT", "CLOSE"}, "control": {"CONTROL"}, "deliver": {"DEFERRED"}}
    if stack == STAGING:
        expected |= {"websocket": {"OPEN"}, "deliver": {"TEXT"}}

    def events_of(function: str) -> list[dict[str, Any]]:
        return [line for line in deployment.log_lines(f"{stack}-{function}") if is_of_an_event(line)]

    for function, event_types in expected.items():
        await until(lambda: {line["eventType"] for line in events_of(function)} >= event_types)  # noqa: B023
        lines = events_of(function)
        # Another test of this deployment may have members, whose looks are deferred.
        further = {"DEFERRED"} if function == "deliver" else set[str]()
        assert event_types <= {line["eventType"] for line in lines} <= event_types | further
        assert {line["stack"] for line in lines} == {stack}
        assert all(line["requestId"] and line["durationMs"] >= 0 for line in lines)
        assert all(("connectionId" in line) == (function == "websocket") for line in lines)
        # One line for each event.
        assert len({line["requestId"] for line in lines}) == len(lines)


@pytest.mark.usefixtures("refusals")
async def test_a_refusal_is_logged_beside_its_event(deployment: Deployment, stack: str) -> None:
    def refusals_in_log() -> list[dict[str, Any]]:
        return [line for line in lines() if "refused with 403" in line.get("message", "")]

    def lines() -> list[dict[str, Any]]:
        return deployment.log_lines(f"{stack}-control")

    await until(lambda: refusals_in_log() != [])
    (refusal,) = refusals_in_log()
    assert (refusal["level"], refusal["eventType"]) == ("WARNING", "CONTROL")

    def events() -> list[dict[str, Any]]:
        return [line for line in lines() if is_of_an_event(line) and line["requestId"] == refusal["requestId"]]

    await until(lambda: events() != [])
    (event,) = events()
    assert event["Failures"] == 1


@pytest.mark.usefixtures("refusals")
async def test_the_fields_in_operations_queries_are_logged(deployment: Deployment) -> None:
    def logged() -> set[str]:
        return {
            name
            for stack in STACKS
            for function in ("websocket", "control", "deliver")
            for line in deployment.log_lines(f"{stack}-{function}")
            for name in line
        }

    queries = [block.text for block in Page("docs/operations.md").blocks if block.language == "text"]
    named = {name for query in queries for name in re.findall(r"@?[A-Za-z_]+", re.sub(r'"[^"]*"', "", query))}
    results = {name for query in queries for name in re.findall(r" as (\w+)", query)}
    assert len(queries) == 5
    fields = named - WORDS_OF_INSIGHTS - results - {"as", "h", "@timestamp"}
    await until(lambda: fields <= logged())


def test_an_operator_finds_alarms_and_a_dashboard(deployment: Deployment, stack: str) -> None:
    (topic,) = (
        subscription["TopicArn"]
        for subscription in deployment.client("sns").list_subscriptions()["Subscriptions"]
        if subscription["TopicArn"].endswith(f":{stack}-alarms")
    )
    cloudwatch = deployment.client("cloudwatch")
    alarms = [a for a in cloudwatch.describe_alarms()["MetricAlarms"] if a["AlarmActions"] == [topic]]
    body = json.loads(cloudwatch.get_dashboard(DashboardName=stack)["DashboardBody"])
    shown = [widget["properties"]["alarms"] for widget in body["widgets"] if widget["type"] == "alarm"]
    assert sorted(*shown) == sorted(alarm["AlarmArn"] for alarm in alarms)
    assert f"{stack}-dead-letters" in {alarm["AlarmName"] for alarm in alarms}
    policy = deployment.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]
    (statement,) = json.loads(policy)["Statement"]
    assert sorted(statement["Condition"]["ArnEquals"]["aws:SourceArn"]) == sorted(*shown)


@pytest.mark.usefixtures("refusals")
def test_no_function_was_denied_anything(deployment: Deployment) -> None:
    judgements = deployment.aws.access_decisions()
    assert {judgement.action for judgement in judgements} >= {
        "dynamodb:PutItem",
        "dynamodb:Query",
        "execute-api:ManageConnections",
        "secretsmanager:GetSecretValue",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
    }
    assert [judgement for judgement in judgements if not judgement.allowed] == []


def test_the_secret_is_in_the_private_files_alone(deployment: Deployment) -> None:
    found = [path for path in deployment.project.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    private = [deployment.project / "cdktf.out" / "stacks" / name / "secrets.auto.tfvars.json" for name in STACKS]
    test_code = deployment.project / "tests" / "e2e" / "deployment.py"
    assert sorted(path for path in found if path != test_code) == sorted(private)
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    for stack in STACKS:
        state = json.loads((deployment.project / f"terraform.{stack}.tfstate").read_text())
        assert SECRET not in json.dumps(state)
        deployment.terraform(stack, "plan", "-no-color", "-out=plan")
        assert SECRET not in deployment.terraform(stack, "show", "-json", "plan")
    functions = deployment.client("lambda").list_functions()["Functions"]
    assert len(functions) == 6
    assert SECRET not in json.dumps(functions, default=str)
    assert SECRET not in "".join(deployment.printed)
    logs = deployment.client("logs")
    lines = [
        event["message"]
        for function in functions
        for event in logs.filter_log_events(logGroupName=f"/aws/lambda/{function['FunctionName']}")["events"]
    ]
    assert SECRET not in "".join(lines)


KNOWN_OF_MOTO = {
    ("dynamodb", "invalid range: .ProvisionedThroughput.NumberOfDecreasesToday"),  # 0, as AWS sends it too
    ("lambda", "missing required field: .CodeSigningConfigArn"),  # of a function that has none
}
"""Where responses of the local AWS are not as botocore's models have them."""


@pytest.mark.usefixtures("refusals")
def test_all_calls_were_as_the_services_models_have_them(deployment: Deployment) -> None:
    """Those of Terraform, of the functions and of the tests."""
    assert deployment.aws.request_violations() == {}
    assert deployment.aws.unread_requests() == {}
    found = deployment.aws.response_violations()
    assert {(service, re.sub(r"\.Table(Description)?\.", ".", text)) for service, _, text in found} <= KNOWN_OF_MOTO
