"""Functions: their environment, their failures, their end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local_aws import LocalAws
from local_aws.invocation import MAX_PAYLOAD_BYTES

from .cloud import Cloud, allow, settings, zipped
from .waiting import ASK, WaitingRoom

ECHO = "def handler(event, context): return event"
COUNTER = """
calls = 0
def handler(event, context):
    global calls
    calls += 1
    return calls
"""


@pytest.fixture
def waiting_room() -> Iterator[WaitingRoom]:
    with WaitingRoom() as waiting_room:
        yield waiting_room


def test_function_runs_from_its_zip(cloud: Cloud) -> None:
    assert cloud.function(ECHO).call({"text": "Grüße \u0000"}) == {"text": "Grüße \u0000"}


def test_context_has_the_deployed_configuration(cloud: Cloud) -> None:
    function = cloud.function(
        """
def handler(event, context):
    left = context.get_remaining_time_in_millis()
    return [context.function_name, context.memory_limit_in_mb, context.invoked_function_arn, 0 < left <= 7000]
""",
        timeout_s=7,
        MemorySize=512,
    )
    assert function.call() == [function.name, "512", function.arn, True]


def test_environment_is_the_deployed_one_and_lambdas_own(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_USER", "secret")
    monkeypatch.setenv("PYTHONPATH", "/of/the/user")
    function = cloud.function(
        "import os\ndef handler(event, context): return dict(os.environ)", environment={"TARGET_URL": "http://x/"}
    )
    seen = function.call()
    assert seen["TARGET_URL"] == "http://x/"
    assert seen["AWS_ENDPOINT_URL"] == cloud.url
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == function.name
    assert seen["AWS_REGION"] == "us-east-1"
    assert seen["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert "OF_THE_USER" not in seen
    assert "PYTHONPATH" not in seen
    assert not [name for name, value in seen.items() if str(Path(__file__).parents[2]) in value]


def test_neither_the_checkout_nor_its_packages_can_be_imported(cloud: Cloud) -> None:
    function = cloud.function(
        """
import importlib.util
def handler(event, context):
    return [name for name in event if importlib.util.find_spec(name)]
"""
    )
    names = ["slip_sockets", "functions", "local_aws", "msgspec", "requests", "moto", "boto3", "awslambdaric", "code"]
    assert function.call(names) == ["boto3", "awslambdaric", "code"]


def test_deployed_code_comes_before_the_runtimes_packages(cloud: Cloud) -> None:
    """`code` is also a module of Python's own."""
    assert cloud.function("def handler(event, context): return __name__").call() == "code"


def test_environment_is_used_again(cloud: Cloud) -> None:
    function = cloud.function(COUNTER)
    assert [function.call(), function.call(), function.call()] == [1, 2, 3]


def test_two_events_at_once_have_an_environment_each(cloud: Cloud, waiting_room: WaitingRoom) -> None:
    source = f"{ASK}\ndef handler(event, context): return ask(event)"
    function = cloud.function(source, environment={"TEST": waiting_room.address})
    with ThreadPoolExecutor() as threads:
        results = threads.map(function.call, (1, 2))
        for waiting in (waiting_room.next(), waiting_room.next()):
            waiting.reply(waiting.event * 10)
        assert list(results) == [10, 20]
    assert cloud.aws.environments(function.arn) == 2


def test_events_beyond_the_limit_wait_for_an_environment() -> None:
    with LocalAws(settings(max_environments=1)) as aws:
        function = Cloud(aws).function(COUNTER)
        with ThreadPoolExecutor() as threads:
            assert sorted(threads.map(lambda _: function.call(), range(5))) == [1, 2, 3, 4, 5]
        assert aws.environments(function.arn) == 1


def test_exception_is_reported_with_its_trace(cloud: Cloud) -> None:
    failure = cloud.function("def handler(event, context): return {}['missing']").fail()
    assert failure["errorType"] == "KeyError"
    assert failure["errorMessage"] == "'missing'"
    assert "line 1, in handler" in failure["stackTrace"][0]


def test_function_that_takes_too_long_is_killed_with_what_it_started(cloud: Cloud, waiting_room: WaitingRoom) -> None:
    source = """
import os, signal, socket, subprocess, sys
def handler(event, context):
    host, port = os.environ["TEST"].split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"0\\n")
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], pass_fds=[connection.fileno()])
        signal.pause()
"""
    function = cloud.function(source, environment={"TEST": waiting_room.address}, timeout_s=1)
    failure = function.fail()
    assert failure["errorType"] == "Sandbox.Timedout"
    assert failure["errorMessage"].endswith("Task timed out after 1.00 seconds")
    waiting_room.next().wait_until_killed()


def test_environment_is_replaced_after_a_timeout(cloud: Cloud) -> None:
    function = cloud.function(
        """
import signal
def handler(event, context):
    return signal.pause() if event else "new"
""",
        timeout_s=1,
    )
    function.fail("pause")
    assert function.call() == "new"


def test_crash_fails_the_event_and_no_other(cloud: Cloud) -> None:
    function = cloud.function("import os\ndef handler(event, context): return event or os._exit(3)")
    failure = function.fail(0)
    assert failure["errorType"] == "Runtime.ExitError"
    assert failure["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    assert function.call(1) == 1


def test_failure_to_start_fails_each_event(cloud: Cloud) -> None:
    function = cloud.function("raise ValueError('QUEUE_URL is not set')")
    for _ in range(2):
        failure = function.fail()
        assert failure == {"errorType": "ValueError", "errorMessage": "QUEUE_URL is not set"}


def test_missing_handler_is_reported(cloud: Cloud) -> None:
    failure = cloud.function("").fail()
    assert failure["errorType"] == "Runtime.HandlerNotFound"


def test_new_code_replaces_the_old(cloud: Cloud) -> None:
    function = cloud.function("def handler(event, context): return 'old'")
    assert function.call() == "old"
    cloud.client("lambda").update_function_code(
        FunctionName=function.name, ZipFile=zipped("def handler(event, context): return 'new'")
    )
    assert function.call() == "new"
    assert cloud.aws.environments(function.arn) == 1


def test_new_configuration_replaces_the_environments(cloud: Cloud) -> None:
    function = cloud.function(
        "import os\ndef handler(event, context): return os.environ['WORD']", environment={"WORD": "old"}
    )
    assert function.call() == "old"
    cloud.client("lambda").update_function_configuration(
        FunctionName=function.name, Environment={"Variables": {"WORD": "new"}}
    )
    assert function.call() == "new"


def test_deleted_function_is_gone_with_its_environments(cloud: Cloud) -> None:
    function = cloud.function(ECHO)
    function.call()
    cloud.client("lambda").delete_function(FunctionName=function.name)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        function.call()
    assert cloud.aws.environments(function.arn) == 0


def test_event_larger_than_lambda_accepts_is_refused(cloud: Cloud) -> None:
    failure = cloud.function(ECHO).fail("x" * MAX_PAYLOAD_BYTES)
    assert failure["errorType"] == "RequestTooLargeException"


def test_response_larger_than_lambda_accepts_fails(cloud: Cloud) -> None:
    failure = cloud.function("def handler(event, context): return 'x' * event").fail(MAX_PAYLOAD_BYTES)
    assert failure["errorType"] == "Function.ResponseSizeTooLarge"


def test_function_for_another_machine_is_refused_at_deployment(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as raised:
        cloud.function(ECHO, Runtime="python3.99", Architectures=["x86_64"])
    message = raised.value.response["Error"]["Message"]
    assert message.startswith("the function is built for x86_64 and python3.99, but here run ")
    assert "Deploy with LAMBDA_ARCHITECTURE=" in message


def test_asynchronous_invocation_is_refused(cloud: Cloud) -> None:
    function = cloud.function(ECHO)
    with pytest.raises(ClientError, match="the local AWS invokes synchronously"):
        cloud.client("lambda").invoke(FunctionName=function.name, InvocationType="Event")


def test_output_is_in_the_functions_log_group(cloud: Cloud) -> None:
    function = cloud.function(
        "import logging\ndef handler(event, context): logging.getLogger().error('to the log: %s', event)",
        allow("logs:*", "*"),
        LoggingConfig={"LogFormat": "JSON", "LogGroup": "/of/our/own"},
    )
    function.call("hello")
    logs = cloud.client("logs")
    (stream,) = logs.describe_log_streams(logGroupName="/of/our/own")["logStreams"]
    events = logs.get_log_events(logGroupName="/of/our/own", logStreamName=stream["logStreamName"])["events"]
    assert [json.loads(event["message"])["message"] for event in events] == ["to the log: hello"]


def test_output_is_lost_without_the_permission_to_log(cloud: Cloud) -> None:
    function = cloud.function("def handler(event, context): print('lost')")
    function.call()
    groups = cloud.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{function.name}")["logGroups"]
    assert groups == []


def test_account_settings_have_the_concurrency(cloud: Cloud) -> None:
    limit = cloud.client("lambda").get_account_settings()["AccountLimit"]
    assert (limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]) == (1_000, 1_000)
