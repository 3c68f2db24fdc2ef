"""Both stages, deployed for real to the local AWS.

A deployment takes long, so the tests share one: they run in the order in which they stand, here and then in
`test_redeployment.py`, whose last test takes it away.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from slip_sockets import Close, ControlApiRefused, Open, Report, SlipSocketsPublisher, Text

from ..docs.markdown import Page
from ..stacks.test_stack import ADDRESSES
from .backend import LobbyBackend
from .deployment import PRODUCTION, SECRET, STACKS, STAGING, Deployment

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


def publisher(deployment: Deployment, stack: str, secret: str = SECRET) -> SlipSocketsPublisher:
    return SlipSocketsPublisher.from_outputs(deployment.project / "cdk-outputs.json", stack=stack, jwt_secret=secret)


def socket(deployment: Deployment, stack: str, query: str = "", **options: Any) -> ClientConnection:
    url = deployment.outputs[stack]["websocketUrl"] + query
    client: ClientConnection = connect(url, open_timeout=60, proxy=None, **options)
    return client


def test_the_outputs_file_has_the_originals_shape(deployment: Deployment, backend: LobbyBackend) -> None:
    assert deployment.outputs.keys() == set(STACKS)
    for outputs in deployment.outputs.values():
        assert outputs.keys() == {"controlApi", "targetUrl", "websocketUrl", "region"}
        assert outputs["targetUrl"] == backend.url
        assert outputs["region"] == "us-east-1"
    assert deployment.outputs[PRODUCTION]["controlApi"] != deployment.outputs[STAGING]["controlApi"]


def test_the_state_lists_what_was_designed(deployment: Deployment, stack: str) -> None:
    assert deployment.terraform(stack, "state", "list").splitlines() == sorted(
        [*ADDRESSES, "aws_sns_topic_subscription.alarm_mail"]
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


def test_a_socket_lives_from_open_to_close(deployment: Deployment, stack: str, backend: LobbyBackend) -> None:
    with socket(deployment, stack, "?user=ada", subprotocols=[Subprotocol("v1")]) as ada:
        assert ada.subprotocol == "v1"
        opened, metadata = backend.next_told(Open)
        assert isinstance(metadata, dict)
        assert (metadata["query"], metadata["ip"]) == ({"user": ["ada"]}, "127.0.0.1")
        assert ada.recv(60) == "welcome"
        with socket(deployment, stack, "?user=bob") as bob:
            assert bob.recv(60) == "welcome"
            ada.send("hello é😀")
            assert ada.recv(60) == bob.recv(60) == "ada: hello é😀"
            assert backend.next_told(Text) == (Text(opened.connection_id, "hello é😀"), {"user": "ada"})
            report = publisher(deployment, stack).publish_text("lobby", "from anywhere")
            assert report == Report(matched=2, sent=2, gone=0, queued=0)
            assert ada.recv(60) == bob.recv(60) == "from anywhere"
            bob.send("leave")
            with pytest.raises(ConnectionClosed) as closed:
                bob.recv(60)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1000
        assert ada.recv(60) == "bob left"
    close, metadata = backend.next_told(Close)
    while close.connection_id != opened.connection_id:
        close, metadata = backend.next_told(Close)
    assert close == Close(opened.connection_id, 1000, "")
    assert metadata == {"user": "ada"}
    assert deployment.rows(stack) == []


def test_a_publish_reaches_everybody_of_one_stage_alone(deployment: Deployment) -> None:
    async def listen() -> None:
        async def join(stack: str) -> websockets.ClientConnection:
            url = deployment.outputs[stack]["websocketUrl"]
            client = await websockets.connect(url, open_timeout=60, proxy=None)
            assert await client.recv() == "welcome"
            return client

        async with asyncio.timeout(120):
            clients = await asyncio.gather(*(join(PRODUCTION) for _ in range(20)))
            stranger = await join(STAGING)
            report = await asyncio.to_thread(publisher(deployment, PRODUCTION).publish_text, "lobby", "to all")
            assert report == Report(20, 20, 0, 0)
            assert [await client.recv() for client in clients] == ["to all"] * 20
            assert await asyncio.to_thread(publisher(deployment, STAGING).publish_text, "lobby", "x") == Report(
                1, 1, 0, 0
            )
            assert await stranger.recv() == "x"
            await asyncio.gather(*(client.close() for client in (*clients, stranger)))

    asyncio.run(listen())


def test_a_call_without_a_valid_token_is_refused(deployment: Deployment, stack: str) -> None:
    with pytest.raises(ControlApiRefused) as refusal:
        publisher(deployment, stack, "a-wrong-secret-of-more-than-32-bytes").publish_text("lobby", "x")
    assert (refusal.value.status, refusal.value.body) == (403, "Invalid token")


def lines_of(deployment: Deployment, function: str) -> list[dict[str, Any]]:
    """Return what a function has logged so far; the local AWS writes it a little later."""
    found = deployment.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
    return [json.loads(event["message"]) for event in found]


def is_of_an_event(line: dict[str, Any]) -> bool:
    return "durationMs" in line


def test_the_log_says_what_happened_and_to_whom(deployment: Deployment, stack: str) -> None:
    expected = {"websocket": {"OPEN", "TEXT", "CLOSE"}, "control": {"CONTROL"}, "deliver": {"DEFERRED"}}
    for function, event_types in expected.items():
        told: list[dict[str, Any]] = []
        give_up_at = time.monotonic() + 60
        while {line["eventType"] for line in told} != event_types and time.monotonic() < give_up_at:
            told = [line for line in lines_of(deployment, f"{stack}-{function}") if is_of_an_event(line)]
        assert {line["eventType"] for line in told} == event_types
        assert {line["stack"] for line in told} == {stack}
        assert all(line["requestId"] and line["durationMs"] >= 0 for line in told)
        assert all(("connectionId" in line) == (function == "websocket") for line in told)
        # One line for each event.
        assert len({line["requestId"] for line in told}) == len(told)


def test_a_refusal_is_logged_beside_its_event(deployment: Deployment, stack: str) -> None:
    lines = lines_of(deployment, f"{stack}-control")
    (refusal,) = (line for line in lines if "refused with 403" in line.get("message", ""))
    assert (refusal["level"], refusal["eventType"]) == ("WARNING", "CONTROL")
    (event,) = (line for line in lines if is_of_an_event(line) and line["requestId"] == refusal["requestId"])
    assert event["Failures"] == 1


def test_the_fields_in_operations_queries_are_logged(deployment: Deployment) -> None:
    """After the tests that cause lines of each kind."""
    logged = {
        name
        for stack in STACKS
        for function in ("websocket", "control", "deliver")
        for line in lines_of(deployment, f"{stack}-{function}")
        for name in line
    }
    queries = [block.text for block in Page("docs/operations.md").blocks if block.language == "text"]
    named = {name for query in queries for name in re.findall(r"@?[A-Za-z_]+", re.sub(r'"[^"]*"', "", query))}
    results = {name for query in queries for name in re.findall(r" as (\w+)", query)}
    assert len(queries) == 5
    assert named - WORDS_OF_INSIGHTS - results - {"as", "h", "@timestamp"} - logged == set()


def test_who_is_paged_finds_alarms_and_a_dashboard(deployment: Deployment, stack: str) -> None:
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


def test_no_function_was_denied_anything(deployment: Deployment) -> None:
    judgements = deployment.aws.judgements()
    assert {judgement.action for judgement in judgements} >= {
        "dynamodb:PutItem",
        "dynamodb:Query",
        "execute-api:ManageConnections",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
        "ssm:GetParameter",
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
