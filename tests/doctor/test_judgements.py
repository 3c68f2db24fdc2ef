"""What AWS's responses mean: each judgement over values.

Long, since each check of `slip_sockets/doctor` has a table of cases here, and nothing else."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from slip_sockets.check.judge import Level
from slip_sockets.check.judge import Verdict as CaseVerdict
from slip_sockets.check.play import Result
from slip_sockets.client.outputs import Outputs
from slip_sockets.doctor import (
    alarms,
    apis,
    backend,
    client_socket,
    concurrency,
    functions,
    logs,
    outputs,
    queues,
    state,
)
from slip_sockets.doctor.account import NotThere
from slip_sockets.doctor.apis import Throttle
from slip_sockets.doctor.findings import CannotCheck, Finding, Verdict, without_secrets_in, wrong
from slip_sockets.gateway.worker import MAX_INBOUND_RETRY_S
from stacks.alarms import QUEUE_AGE_S
from stacks.deferred_queue import DELIVER_TIMEOUT_S

from .examined import NOW, OUTPUTS, FixedAccount, settings, verdicts

FINE, WRONG = Verdict.FINE, Verdict.WRONG
WHERE = "in account 1, eu-west-1"


# Outputs


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"control_api": ""}, "controlApi is not an http or https URL: ''"),
        ({"websocket_url": "https://app.example/"}, "websocketUrl is not a ws or wss URL: 'https://app.example/'"),
        ({"websocket_url": "wss://ws.app.example/"}, None),
        ({"region": ""}, "it has no region"),
        ({"region": "us-east-1"}, "controlApi is in eu-west-1, and region is us-east-1"),
    ],
)
async def test_outputs_must_be_whole_and_of_one_region(changes: dict[str, str], problem: str | None) -> None:
    changed = msgspec.structs.replace(OUTPUTS, **changes)
    assert outputs.problem_with(changed) == problem
    (finding,) = await outputs.check_outputs(settings(changed))
    assert finding.verdict is (FINE if problem is None else WRONG)


# State


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        ({"outputs": {name: {"value": value} for name, value in msgspec.to_builtins(OUTPUTS).items()}}, FINE),
        ({"outputs": {"controlApi": {"value": "https://other.example/"}}}, WRONG),
        ({"outputs": {}}, WRONG),
    ],
)
async def test_the_state_must_have_the_same_outputs(tmp_path: Path, content: object, verdict: Verdict) -> None:
    (tmp_path / "terraform.chat.tfstate").write_text(json.dumps(content))
    assert verdicts(await state.check_state(settings(path=tmp_path / "x.json"))) == [("state", verdict)]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"outputs": {"controlApi": 1}}', "\x00"])
async def test_a_state_that_cannot_be_read_is_not_known(tmp_path: Path, content: str) -> None:
    examined = settings(path=tmp_path / "x.json")
    with pytest.raises(CannotCheck, match="there is no"):
        await state.check_state(examined)
    (tmp_path / "terraform.chat.tfstate").write_text(content)
    with pytest.raises(CannotCheck, match="not a state of Terraform"):
        await state.check_state(examined)
    (tmp_path / "terraform.chat.tfstate").unlink()
    (tmp_path / "terraform.chat.tfstate").mkdir()
    with pytest.raises(CannotCheck, match="cannot read"):
        await state.check_state(examined)


# Functions

DEPLOYED = {"State": "Active", "Environment": {"Variables": {"STACK_NAME": "chat", "TARGET_URL": OUTPUTS.target_url}}}


def configured(**variables: str) -> dict[str, Any]:
    deployed: dict[str, Any] = DEPLOYED
    return deployed | {"Environment": {"Variables": deployed["Environment"]["Variables"] | variables}}


def problems_of(control: dict[str, Any] | None) -> list[str]:
    configurations = {"websocket": configured(X="1"), "control": control, "deliver": configured(X="1")}
    return [each.finding for each in functions.judge(settings(), configurations, where=WHERE) if each.verdict is WRONG]


@pytest.mark.parametrize(
    ("control", "problems"),
    [
        (configured(X="1"), []),
        (None, ["there is no function chat-control in account 1, eu-west-1"]),
        (
            configured(X="1") | {"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "no key"},
            ["chat-control: Lambda could not set it up: no key"],
        ),
        (configured(X="1") | {"State": "Failed"}, ["chat-control: Lambda could not set it up: unknown reason"]),
        (configured(X="1") | {"State": "Inactive"}, []),
        (configured(X="s3cret"), ["X is not the same in all functions"]),
        (configured(), ["X is not the same in all functions"]),
        (configured(X="1", STACK_NAME="x"), ["chat-control: its STACK_NAME is x; the outputs have chat"]),
        (
            configured(X="1", TARGET_URL="https://me:pass@old.example/slip?key=1"),
            ["chat-control: its TARGET_URL is https://old.example/slip; the outputs have https://app.example/slip"],
        ),
    ],
)
def test_functions_must_be_there_and_as_deployed(control: dict[str, Any] | None, problems: list[str]) -> None:
    assert problems_of(control) == problems


# APIs

APIS = [
    {"Name": "chat-websocket", "ApiId": "wss1234567", "ApiEndpoint": OUTPUTS.websocket_url.removesuffix("/live")},
    {"Name": "chat-control", "ApiId": "ctl1234567", "ApiEndpoint": OUTPUTS.control_api},
    {"Name": "other", "ApiId": "oth1234567", "ApiEndpoint": "wss://oth1234567.execute-api.eu-west-1.amazonaws.com"},
]


async def urls(changes: dict[str, str], account: FixedAccount) -> list[Finding]:
    return await apis.check_urls(settings(msgspec.structs.replace(OUTPUTS, **changes)), account)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [FINE, FINE]),
        ({"websocket_url": "wss://oth1234567.execute-api.eu-west-1.amazonaws.com/live"}, [WRONG, FINE]),
        ({"control_api": OUTPUTS.control_api + "7"}, [FINE, WRONG]),
    ],
)
async def test_each_url_must_lead_to_its_api(changes: dict[str, str], expected: list[Verdict]) -> None:
    account = FixedAccount({"get_apis": APIS})
    assert [finding.verdict for finding in await urls(changes, account)] == expected
    assert account.called == ["get_apis"]


@pytest.mark.parametrize(
    ("mapping", "verdict"),
    [
        ({"Items": [{"ApiId": "wss1234567"}]}, FINE),
        ({"Items": [{"ApiId": "oth1234567"}]}, WRONG),
        (NotThere("no such domain"), WRONG),
    ],
)
async def test_a_domain_must_be_mapped_to_its_api(mapping: object, verdict: Verdict) -> None:
    account = FixedAccount({"get_apis": APIS, "get_api_mappings": mapping})
    websocket, control = await urls({"websocket_url": "wss://ws.app.example/"}, account)
    assert (websocket.verdict, control.verdict) == (verdict, FINE)


async def test_apis_that_were_removed_are_named() -> None:
    findings = await urls({}, FixedAccount({"get_apis": []}))
    assert [finding.finding for finding in findings] == [
        f"there is no API chat-{name} in account 123456789012, eu-west-1" for name in ("websocket", "control")
    ]


@pytest.mark.parametrize(
    ("throttle", "verdict"),
    [
        (Throttle(2_000, 1_000), FINE),
        (Throttle(10_000, 1_000), FINE),
        (Throttle(10_001, 1_000), WRONG),
        (Throttle(0, 1_000), WRONG),
        (Throttle(2_000, 0), WRONG),
    ],
)
def test_a_throttle_must_let_something_through_and_be_in_the_quota(throttle: Throttle, verdict: Verdict) -> None:
    assert verdicts(apis.judge_throttles({"chat-control": throttle}, Throttle(10_000, 5_000))) == [
        ("throttles", verdict)
    ]


def test_without_a_stage_there_is_nothing_to_call() -> None:
    assert verdicts(apis.judge_throttles({}, Throttle(10_000, 5_000))) == [("throttles", WRONG)]


# Lambda's concurrency


@pytest.mark.parametrize(
    ("limit", "deliver", "provisioned", "verdict"),
    [(1_000, 100, 0, FINE), (10, 100, 0, WRONG), (1_000, 100, 900, WRONG), (101, 100, 0, FINE), (100, 100, 0, WRONG)],
)
async def test_the_quota_must_leave_room_to_clients(
    limit: int, deliver: int, provisioned: int, verdict: Verdict
) -> None:
    account = FixedAccount(
        {
            "get_account_settings": {"AccountLimit": {"ConcurrentExecutions": limit}},
            "list_event_source_mappings": [{"ScalingConfig": {"MaximumConcurrency": deliver}}],
            "list_provisioned_concurrency_configs": [{"RequestedProvisionedConcurrentExecutions": provisioned}]
            if provisioned
            else NotThere("none"),
            "get_function_concurrency": {},
        }
    )
    assert verdicts(await concurrency.check_concurrency(settings(), account)) == [("concurrency", verdict)]


async def test_a_function_that_was_stopped_by_a_reservation_is_found() -> None:
    def reserved(FunctionName: str) -> object:  # noqa: N803 - AWS's name
        match FunctionName:
            case "chat-control":
                return {"ReservedConcurrentExecutions": 0}
            case "chat-deliver":
                return NotThere("no such function")
        return {"ReservedConcurrentExecutions": 5}

    account = FixedAccount(
        {
            "get_account_settings": {"AccountLimit": {"ConcurrentExecutions": 1_000}},
            "list_event_source_mappings": NotThere("no such function"),
            "list_provisioned_concurrency_configs": [],
            "get_function_concurrency": reserved,
        }
    )
    stopped, quota = await concurrency.check_concurrency(settings(), account)
    assert stopped.finding == "chat-control may not run at all: its reserved concurrency is 0"
    assert quota.verdict is FINE


@pytest.mark.parametrize(
    ("deferred", "inbound", "wrong"),
    [
        ("Enabled", "Enabling", []),
        ("Enabled", None, ["nothing leads the messages of chat-inbound.fifo to chat-deliver"]),
        (
            "Disabling",
            "Enabled",
            ["the messages of chat-deferred.fifo wait: their mapping to chat-deliver is switched off"],
        ),
        (
            None,
            "Disabled",
            [
                "nothing leads the messages of chat-deferred.fifo to chat-deliver",
                "the messages of chat-inbound.fifo wait: their mapping to chat-deliver is switched off",
            ],
        ),
    ],
)
def test_both_queues_must_lead_to_their_function(deferred: str | None, inbound: str | None, wrong: list[str]) -> None:
    arn = "arn:aws:sqs:eu-west-1:000000000000:chat-"
    mappings = [
        {"EventSourceArn": f"{arn}{name}.fifo", "State": state}
        for name, state in (("deferred", deferred), ("inbound", inbound))
        if state is not None
    ]
    findings = concurrency.judge_mappings(settings(), mappings)
    assert [each.finding for each in findings if each.verdict is WRONG] == wrong
    assert wrong or [each.verdict for each in findings] == [FINE]


# Logs


def log_lines(*messages: object) -> dict[str, Any]:
    texts = [message if isinstance(message, str) else json.dumps(message) for message in messages]
    return {"events": [{"timestamp": int(NOW * 1000), "message": text} for text in texts]}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"level": "ERROR", "message": "message 1 of group 2 cannot be read"}, "message 1 of group 2 cannot be read"),
        ({"level": "CRITICAL", "message": "x"}, "x"),
        ({"errorType": "InvalidSettings", "errorMessage": "TARGET_URL is not set"}, "InvalidSettings: TARGET_URL"),
        ({"level": "ERROR", "errorType": "KeyError", "errorMessage": "'x'", "message": "y"}, "KeyError: 'x'"),
        ({"type": "platform.report", "record": {"status": "timeout"}}, "platform.report: timeout"),
        (
            {"type": "platform.initReport", "record": {"status": "error", "errorType": "Runtime.ImportModuleError"}},
            "platform.initReport: Runtime.ImportModuleError",
        ),
        ("2026-11-29T10:00:00Z 1 Task timed out after 29.00 seconds", "Task timed out after 29.00 seconds"),
    ],
)
async def test_each_kind_of_error_is_found_in_a_log(line: object, text: str) -> None:
    account = FixedAccount({"filter_log_events": log_lines(line)})
    *errors, of_backend = await logs.check_errors(settings(), account)
    assert [(finding.verdict, text in finding.finding) for finding in errors] == [(WRONG, True)] * 3
    assert of_backend.verdict is FINE


@pytest.mark.parametrize(
    "line",
    [
        {"level": "WARNING", "message": "connection x: it is refused: ERROR; skipped"},
        {"eventType": "OPEN", "durationMs": 3, "stack": "ERROR"},
        {"type": "platform.report", "record": {"status": "success"}},
        "a line with the word timeout",
        '["ERROR"]',
    ],
)
async def test_other_lines_with_such_words_are_no_errors(line: object) -> None:
    account = FixedAccount({"filter_log_events": log_lines(line)})
    assert {finding.verdict for finding in await logs.check_errors(settings(), account)} == {FINE}


async def test_failures_of_the_backend_are_counted() -> None:
    account = FixedAccount({"filter_log_events": log_lines({"eventType": "OPEN", "BackendFailures": 2}, {"x": 1})})
    *_, finding = await logs.check_errors(settings(), account)
    assert finding.finding == "6 failed calls of the backend in 60 minutes, the last at 08:00:00Z"


async def test_all_pages_of_a_log_are_read() -> None:
    pages = {"": "1", "1": "2", "2": None}

    def page(nextToken: str = "", **_: object) -> dict[str, Any]:  # noqa: N803 - AWS's name
        following = pages[nextToken]
        lines = log_lines({"level": "ERROR", "message": f"error {nextToken}"})
        return lines | ({"nextToken": following} if following else {})

    finding = (await logs.check_errors(settings(), FixedAccount({"filter_log_events": page})))[0]
    assert finding.finding.startswith("chat-websocket has logged 3 errors")


async def test_of_a_long_log_the_beginning_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LINES", 4)
    lines = log_lines(*[{"level": "ERROR", "message": "x", "BackendFailures": 1}] * 3)
    account = FixedAccount({"filter_log_events": lines | {"nextToken": "more"}})
    errors, *_, failures = await logs.check_errors(settings(), account)
    assert account.called == ["filter_log_events"] * 6
    assert "logged at least 6 errors in 60 minutes, and more after 08:00:00Z" in errors.finding
    assert failures.finding.startswith("at least 18 failed calls of the backend in 60 minutes")


async def test_a_log_that_does_not_exist_has_no_errors() -> None:
    account = FixedAccount({"filter_log_events": NotThere("no such group")})
    assert {finding.verdict for finding in await logs.check_errors(settings(), account)} == {FINE}


async def test_the_reason_for_a_refusal_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "INTERVAL_S", 0.01)
    responses = iter([log_lines(), log_lines({"level": "WARNING", "message": "refused with 502"}, {"x": 1})])
    account = FixedAccount({"filter_log_events": lambda **_: next(responses)})
    assert await logs.refusals(settings(), account, NOW) == ["refused with 502"]


def test_a_long_line_is_cut() -> None:
    (problem,) = logs.problems([(NOW, {"level": "ERROR", "message": "x" * 1_000})])
    assert problem.text == "x" * logs.MAX_CHARACTERS + "..."


# Queues


@pytest.mark.parametrize(("check", "late_s"), [("deferred", QUEUE_AGE_S), ("inbound", queues.INBOUND_LATE_S)])
@pytest.mark.parametrize(("waiting", "later_s", "verdict"), [(5, 0, FINE), (5, 1, WRONG), (0, 1, FINE)])
async def test_messages_may_wait_as_long_as_the_alarm_allows(
    check: str, late_s: float, waiting: int, later_s: float, verdict: Verdict
) -> None:
    account = FixedAccount(
        {
            "get_queue_url": lambda **named: {"QueueUrl": named["QueueName"]},
            "get_queue_attributes": lambda **named: {
                "Attributes": {"ApproximateNumberOfMessages": str(waiting if check in named["QueueUrl"] else 0)}
            },
            "get_metric_data": {"MetricDataResults": [{"Values": []}, {"Values": [late_s + later_s, 0.0]}]},
        }
    )
    expected = dict.fromkeys(("deferred", "inbound", "dead-letters"), FINE) | {check: verdict}
    assert verdicts(await queues.check_queues(settings(), account)) == list(expected.items())


async def test_queues_that_do_not_exist_are_wrong() -> None:
    account = FixedAccount({"get_queue_url": NotThere("no"), "get_metric_data": {"MetricDataResults": []}})
    found = verdicts(await queues.check_queues(settings(), account))
    assert found == [("deferred", WRONG), ("inbound", WRONG), ("dead-letters", WRONG)]


def test_the_thresholds_are_the_alarms() -> None:
    assert queues.LATE_S == QUEUE_AGE_S
    assert queues.INBOUND_LATE_S == MAX_INBOUND_RETRY_S + DELIVER_TIMEOUT_S


# Alarms

TOPIC = "arn:aws:sns:eu-west-1:1:chat-alarms"


def alarm(name: str, state: str = "OK", topic: str = TOPIC, **more: Any) -> dict[str, Any]:
    return {"AlarmName": name, "StateValue": state, "AlarmActions": [topic], **more}


@pytest.mark.parametrize(
    ("listed", "problems"),
    [
        ([alarm("chat-queue-age"), alarm("chat-x", "INSUFFICIENT_DATA")], []),
        ([alarm("chat-queue-age"), alarm("chat-staging-queue-age", "ALARM", f"{TOPIC[:-11]}chat-staging-alarms")], []),
        (
            [alarm("chat-queue-age", "ALARM", StateUpdatedTimestamp=dt.datetime(2026, 11, 29, 10, tzinfo=dt.UTC))],
            ["the alarm chat-queue-age is on since 2026-11-29 10:00Z"],
        ),
        ([alarm("chat-x", "ALARM")], ["the alarm chat-x is on"]),
        (
            [alarm("chat-x", ActionsEnabled=False)],
            ["actions are switched off for chat-x: the alarm notifies nobody"],
        ),
        ([], ["chat has no alarms"]),
    ],
)
async def test_alarms_of_this_deployment_that_are_on_or_silent(
    listed: list[dict[str, Any]], problems: list[str]
) -> None:
    findings = await alarms.check_alarms(settings(), FixedAccount({"describe_alarms": listed}))
    assert [finding.finding for finding in findings if finding.verdict is WRONG] == problems


# A client's socket


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 502, 504, 418])
def test_each_refusal_has_a_meaning(status: int) -> None:
    finding = client_socket.judge_refusal(status, ["OPEN of connection x: why"])
    assert finding.finding.startswith(f"a client is refused with {status}: ")
    assert finding.finding.endswith(". The log of that moment: OPEN of connection x: why")
    assert finding.fix


# The backend


def result(title: str, level: Level, finding: str = "it hangs") -> Result:
    return Result(title, "Tokens", title, CaseVerdict(level, finding, "mend it"))


def test_wrong_cases_with_one_reason_are_one_finding() -> None:
    results = [
        result("a", Level.WRONG),
        result("b", Level.RIGHT),
        result("c", Level.WRONG),
        result("d", Level.WRONG, "403"),
    ]
    findings = backend.judge("https://app.example/", results)
    assert [finding.finding for finding in findings] == [
        "https://app.example/, a and 1 more: it hangs",
        "https://app.example/, d: 403",
    ]


def test_warnings_are_mentioned() -> None:
    (finding,) = backend.judge("https://app.example/", [result("a", Level.WARNING), result("b", Level.SKIPPED)])
    assert finding.finding == "https://app.example/ handles 1 case, 1 with a warning: see `slip-sockets check`"
    assert finding.verdict is FINE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"outputs": Outputs()}, "the outputs have no targetUrl"), ({}, "JWT_SECRET is not set")],
)
async def test_without_url_or_secret_the_backend_is_not_checked(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(CannotCheck) as raised:
        await backend.check_backend(settings(**changes))
    assert str(raised.value) == reason


def test_a_secret_in_the_text_of_an_error_is_replaced() -> None:
    finding = without_secrets_in(wrong("x", "no response to s3cret", "set s3cret"), ["", "s3cret"])
    assert (finding.finding, finding.fix) == ("no response to ***", "set ***")
