"""`slip-sockets doctor` over the shared deployment, with each fault really made.

What is broken for good, in staging, is broken and deployed again in the last test.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from moto.backends import get_backend

from slip_sockets.client.outputs import Outputs, read_outputs
from slip_sockets.doctor.examine import GROUPS, examine
from slip_sockets.doctor.findings import Finding, Verdict
from slip_sockets.doctor.settings import FUNCTIONS, DoctorSettings

from .backend import Chat, ChatBackend, open_chat
from .deployment import PRODUCTION, SECRET, STAGING, Deployment
from .patience import PATIENCE_S, until
from .queues import StageQueue, deferred

pytestmark = pytest.mark.e2e

FROM_INSIDE = set(GROUPS["From inside"])
WRONG_SECRET = "a-wrong-secret-of-more-than-32-bytes"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of a busy machine has its lines late."""
    monkeypatch.setattr("slip_sockets.doctor.logs.FOUND_WITHIN_S", PATIENCE_S)
    monkeypatch.setattr("slip_sockets.doctor.examine.REASON_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr("slip_sockets.doctor.client_socket.TIMEOUT_S", 2 * PATIENCE_S)


@pytest.fixture
def chat(backend: ChatBackend) -> Iterator[Chat]:
    """A room that takes the doctor's clients."""
    with open_chat(backend) as chat:
        yield chat


@pytest.fixture
def aws(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The deployment, with credentials for it in the environment."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in deployment.aws.environment.items():
        monkeypatch.setenv(name, value)
    return deployment


def forget_logs(deployment: Deployment, stack: str = PRODUCTION) -> None:
    """Delete what the functions have logged in earlier tests."""
    logs = deployment.client("logs")
    for name in FUNCTIONS:
        group = f"/aws/lambda/{stack}-{name}"
        for stream in logs.describe_log_streams(logGroupName=group)["logStreams"]:
            logs.delete_log_stream(logGroupName=group, logStreamName=stream["logStreamName"])


def settings(deployment: Deployment, chat: Chat, stack: str = PRODUCTION, **changes: Any) -> DoctorSettings:
    path = deployment.project / "cdk-outputs.json"
    outputs = changes.pop("outputs", None) or read_outputs(path, stack)
    usual: dict[str, Any] = {"outputs": outputs, "jwt_secret": SECRET}
    query = {"room": [chat.room], "user": ["doctor"]}
    return DoctorSettings(**({"stack": stack, "path": path, **usual, "query": query} | changes))


async def found(examined: DoctorSettings) -> list[Finding]:
    return [finding async for finding in examine(examined)]


class Texts(dict[str, list[str]]):
    """The texts of the findings with one verdict, by their checks. To ask for a check without one is a failure."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__()
        self._findings = findings

    def __missing__(self, check: str) -> list[str]:
        raise AssertionError(f"no finding of {check} has that verdict: {self._findings}")


def those(findings: list[Finding], verdict: Verdict) -> Texts:
    texts = Texts(findings)
    for finding in findings:
        if finding.verdict is verdict:
            assert (finding.fix == "") is (verdict is Verdict.FINE), finding
            texts.setdefault(finding.check, []).append(finding.finding)
    return texts


async def wrong(examined: DoctorSettings) -> Texts:
    return those(await found(examined), Verdict.WRONG)


async def test_all_is_fine(aws: Deployment, chat: Chat, backend: ChatBackend) -> None:
    forget_logs(aws)
    findings = await found(settings(aws, chat))
    assert those(findings, Verdict.WRONG) == {}
    assert those(findings, Verdict.UNKNOWN) == {}
    every = {check for checks in GROUPS.values() for check in checks}
    assert those(findings, Verdict.FINE).keys() >= every


async def test_it_leaves_no_row_and_no_message(aws: Deployment, chat: Chat) -> None:
    assert await wrong(settings(aws, chat)) == {}

    def rows() -> list[str]:
        return [row["connectionId"]["S"] for row in aws.connections(PRODUCTION)]

    await until(lambda: chat.connection_ids.isdisjoint(rows()))
    await until(lambda: deferred(aws).waiting == 0)


def doctor(deployment: Deployment, *options: str, **variables: str) -> tuple[int, str]:
    """Run the command as a user does. Return its exit code and its output."""
    done = subprocess.run(
        ["slip-sockets", "doctor", "--stack", PRODUCTION, *options],
        cwd=deployment.project,
        env=deployment.environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


async def test_the_command_prints_it_and_ends_with_0_or_1(deployment: Deployment, chat: Chat) -> None:
    forget_logs(deployment)
    room = ("--query", f"room={chat.room}", "--query", "user=doctor")
    status, text = await asyncio.to_thread(doctor, deployment, *room, PYTHONUTF8="1")
    assert status == 0, text
    assert text.startswith(f"Examining {PRODUCTION}, of cdk-outputs.json\n\nThe deployment\n")
    assert "\n  ✓ secret: the control API takes tokens signed with JWT_SECRET\n" in text
    assert " 0 wrong" in text
    status, text = await asyncio.to_thread(doctor, deployment, "--json", JWT_SECRET=WRONG_SECRET)
    document = json.loads(text)
    assert (status, document["ok"], document["stack"]) == (1, False, PRODUCTION)
    assert WRONG_SECRET not in text
    assert document["counts"]["wrong"] == sum(each["verdict"] == "wrong" for each in document["findings"])


async def test_a_wrong_secret_is_named(aws: Deployment, chat: Chat) -> None:
    findings = await found(settings(aws, chat, jwt_secret=WRONG_SECRET, previous_secrets=[SECRET, "x" * 32]))
    assert those(findings, Verdict.WRONG)["secret"] == [
        "the control API refuses JWT_SECRET",
        "the control API refuses number 2 of JWT_PREVIOUS_SECRETS",
    ]
    assert those(findings, Verdict.FINE)["secret"] == [
        "the control API takes tokens signed with number 1 of JWT_PREVIOUS_SECRETS"
    ]
    assert "backend" in those(findings, Verdict.WRONG), "it refuses the valid ones"


@pytest.mark.parametrize(("seconds", "where"), [(-600, "behind"), (600, "ahead of")])
async def test_a_wrong_clock_is_not_taken_for_a_wrong_secret(
    aws: Deployment, chat: Chat, seconds: int, where: str
) -> None:
    findings = await found(settings(aws, chat, now=lambda: time.time() + seconds))
    (clock,) = those(findings, Verdict.WRONG)["clock"]
    assert clock.startswith("this machine's clock is ")
    assert clock.endswith(f"{where} the server's")
    assert "secret" in those(findings, Verdict.FINE)


async def test_a_backend_that_is_away_is_found_thrice(aws: Deployment, chat: Chat, backend: ChatBackend) -> None:
    with backend.away():
        problems = await wrong(settings(aws, chat))
    assert "cannot be reached" in problems["backend"][0]
    (socket,) = problems["socket"]
    assert socket.startswith("a client is refused with 502: ")
    assert "cannot be reached" in socket.partition("The log of that moment: ")[2]
    assert "backend-failures" in await wrong(settings(aws, chat))


async def test_a_backend_that_refuses_a_client_or_fails_is_found(aws: Deployment, chat: Chat) -> None:
    problems = await wrong(settings(aws, chat, query={"room": ["another"]}))
    assert problems["socket"][0].startswith("a client is refused with 400: ")
    assert "not let in" in problems["backend"][0]
    chat.fault = lambda event, metadata: "503"
    problems = await wrong(settings(aws, chat))
    (socket,) = problems["socket"]
    assert socket.startswith("a client is refused with 500: ")
    assert "responded with 503" in socket.partition("The log of that moment: ")[2]
    assert problems["backend"] != []


async def test_an_error_in_a_log_is_found_and_its_dead_letter(aws: Deployment, chat: Chat, dead: StageQueue) -> None:
    queue = deferred(aws)
    with queue.dead_after(1, dead):
        queue.send("not ours", group=uuid.uuid4().hex)
        await until(lambda: dead.waiting == 1)
    await until(lambda: any(line.get("level") == "ERROR" for line in aws.log_lines(f"{PRODUCTION}-deliver")))
    problems = await wrong(settings(aws, chat))
    assert any("cannot be read" in text for text in problems["errors"])
    assert problems["dead-letters"] == [f"{PRODUCTION}-dead-letters.fifo has about 1 dead letter"]


async def test_an_alarm_that_is_on_is_found(aws: Deployment, chat: Chat) -> None:
    cloudwatch = aws.client("cloudwatch")
    names = [f"{stack}-queue-age" for stack in (PRODUCTION, STAGING)]

    def set_state(state: str) -> None:
        for name in names:
            cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="made by a test")

    set_state("ALARM")
    try:
        alarms = (await wrong(settings(aws, chat)))["alarms"]
    finally:
        set_state("OK")
    assert [text.partition(" since")[0] for text in alarms] == [f"the alarm {names[0]} is on"], "one deployment's only"


async def test_outputs_of_another_deployment_are_found(aws: Deployment, chat: Chat) -> None:
    others = read_outputs(aws.project / "cdk-outputs.json", STAGING)
    problems = await wrong(settings(aws, chat, outputs=others))
    assert len(problems["urls"]) == 2
    assert all(f"leads to the API {STAGING}-" in text for text in problems["urls"])
    (state,) = problems["state"]
    assert state.endswith("differ in controlApi, websocketUrl")


async def test_outputs_of_a_removed_deployment_are_found(aws: Deployment, chat: Chat, tmp_path: Path) -> None:
    gone = Outputs(
        f"{aws.aws.url}/abcdefgh12", f"ws{aws.aws.url[4:]}/abcdefgh34/live", "http://127.0.0.1:9/", "us-east-1"
    )
    examined = settings(aws, chat, "gone", outputs=gone, path=tmp_path / "cdk-outputs.json")
    findings = await found(examined)
    problems = those(findings, Verdict.WRONG)
    assert problems.keys() >= {"secret", "socket", "backend", "urls", "functions", "mapping", "deferred", "alarms"}
    assert len(problems["functions"]) == 3
    assert "state" in those(findings, Verdict.UNKNOWN)


async def test_a_target_url_of_the_outputs_that_is_not_deployed_is_found(aws: Deployment, chat: Chat) -> None:
    other = msgspec.structs.replace(
        read_outputs(aws.project / "cdk-outputs.json", PRODUCTION), target_url="http://user:pass@127.0.0.1:9/slip"
    )
    problems = await wrong(settings(aws, chat, outputs=other))
    assert len(problems["functions"]) == 3
    assert "user:pass" not in str(problems)
    assert problems["state"][0].endswith("differ in targetUrl")


@contextmanager
def throttled(deployment: Deployment, api_name: str, rate: int) -> Iterator[None]:
    """Change a stage as `aws apigatewayv2 update-stage` does, which moto does not know."""
    models: Any = get_backend("apigatewayv2")
    backend = models[deployment.aws.settings.account_id]["us-east-1"]
    (api,) = [api for api in backend.apis.values() if api.name == api_name]
    (stage,) = backend.get_stages(api.api_id)
    deployed = stage.default_route_settings
    stage.default_route_settings = deployed | {"throttlingRateLimit": rate}
    assert stage.default_route_settings.keys() == deployed.keys()
    yield
    stage.default_route_settings = deployed


async def test_a_throttle_beyond_the_accounts_quota_is_found(aws: Deployment, chat: Chat) -> None:
    with throttled(aws, f"{PRODUCTION}-control", 20_000):
        (throttle,) = (await wrong(settings(aws, chat)))["throttles"]
    assert throttle.startswith(f"{PRODUCTION}-control takes 20,000 requests a second")
    with throttled(aws, f"{PRODUCTION}-websocket", 0):
        (throttle,) = (await wrong(settings(aws, chat)))["throttles"]
    assert throttle.endswith("all others get 429")


async def test_without_credentials_everything_from_outside_is_checked(
    aws: Deployment, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    findings = await found(settings(aws, chat))
    unknown = those(findings, Verdict.UNKNOWN)
    assert unknown == {check: ["there are no credentials for AWS"] for check in FROM_INSIDE}
    assert those(findings, Verdict.WRONG) == {}


async def test_what_was_changed_by_hand_is_found_and_a_deploy_mends_it(aws: Deployment, chat: Chat) -> None:
    functions, apis = aws.client("lambda"), aws.client("apigatewayv2")
    forget_logs(aws, STAGING)
    where = f"in account {aws.aws.settings.account_id}, us-east-1"
    name = f"{STAGING}-websocket"
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    by_hand = variables | {"TARGET_URL": "http://127.0.0.1:9/slip", "CHANNELS_TABLE": "another"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": by_hand})
    version = functions.publish_version(FunctionName=name)["Version"]
    functions.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
    functions.delete_function(FunctionName=f"{STAGING}-control")
    deliver = aws.function_arn(f"{STAGING}-deliver")
    mappings = functions.list_event_source_mappings(FunctionName=deliver)["EventSourceMappings"]
    (mapping,) = [each for each in mappings if each["EventSourceArn"].endswith(f":{STAGING}-deferred.fifo")]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    ids = {api["Name"]: api["ApiId"] for api in apis.get_apis()["Items"]}
    apis.delete_api(ApiId=ids[f"{STAGING}-control"])
    problems = await wrong(settings(aws, chat, STAGING))
    assert problems["functions"] == [
        f"{name}: its TARGET_URL is http://127.0.0.1:9/slip; the outputs have {aws.target_url}",
        f"there is no function {STAGING}-control {where}",
        "CHANNELS_TABLE is not the same in all functions",
    ]
    assert problems["urls"] == [
        f"there is no API {STAGING}-control in account {aws.aws.settings.account_id}, us-east-1"
    ]
    assert problems["mapping"] == [
        f"the messages of {STAGING}-deferred.fifo wait: their mapping to {STAGING}-deliver is switched off"
    ]
    assert "secret" in problems
    assert "socket" in problems
    await asyncio.to_thread(aws.deploy_both)
    forget_logs(aws, STAGING)
    assert await wrong(settings(aws, chat, STAGING)) == {}
