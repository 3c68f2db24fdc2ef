"""A local AWS as a whole: its start and end, several side by side, and its patches of moto."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from botocore.exceptions import ClientError

from local_aws import LocalAws, LocalAwsSettings
from local_aws.api_request import ApiRequest, error_response

from .cloud import RUNTIME_PYTHON, TIMEOUT_S, Cloud, settings

ECHO = "def handler(event, context): return event"


def test_environment_leads_here_and_nowhere_else(aws: LocalAws) -> None:
    variables = os.environ | aws.environment
    source = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
    done = subprocess.run([sys.executable, "-c", source], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == aws.settings.account_id


def test_two_at_once_are_independent(cloud: Cloud) -> None:
    with LocalAws(settings()) as another:
        other = Cloud(another)
        for here, word in ((cloud, "here"), (other, "there")):
            here.client("ssm").put_parameter(Name="/word", Value=word, Type="String")
        assert cloud.client("ssm").get_parameter(Name="/word")["Parameter"]["Value"] == "here"
        function = cloud.function(ECHO)
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            other.client("lambda").get_function(FunctionName=function.name)


def test_account_is_empty_at_the_next_start() -> None:
    same = settings()
    with LocalAws(same) as aws:
        Cloud(aws).queue()
    with LocalAws(same) as aws:
        assert "QueueUrls" not in Cloud(aws).client("sqs").list_queues()


def test_port_in_use_is_reported(aws: LocalAws) -> None:
    with pytest.raises(OSError, match="address already in use"), LocalAws(settings(port=aws.port)):
        pass


def test_missing_python_is_reported() -> None:
    with pytest.raises(ValueError, match="cannot be started: No such file or directory") as raised:
        LocalAws(replace(settings(), runtime_python=Path("/nowhere/python"))).__enter__()
    assert str(raised.value).startswith("/nowhere/python ")


def test_python_may_be_a_relative_path() -> None:
    relative = Path(os.path.relpath(RUNTIME_PYTHON))
    with LocalAws(replace(settings(), runtime_python=relative)) as aws:
        assert Cloud(aws).function(ECHO).call("hi") == "hi"


def test_python_without_lambdas_packages_is_reported(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"No module named 'awslambdaric'\" >&2; exit 1\n")
    python.chmod(0o755)
    with pytest.raises(ValueError, match="cannot run functions") as raised:
        LocalAws(replace(settings(), runtime_python=python)).__enter__()
    reason = "it needs awslambdaric and boto3: No module named 'awslambdaric'"
    assert str(raised.value) == f"{python} cannot run functions, {reason}"


@pytest.fixture
def program(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """`python -m local_aws` at a free port; a parameter is a list of options."""
    options = getattr(request, "param", [])
    command = [sys.executable, "-m", "local_aws", "--port", "0", "--runtime-python", str(RUNTIME_PYTHON), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def cloud_of(program: subprocess.Popen[str]) -> Cloud:
    """Return a Cloud at the address that the program prints."""
    assert program.stdout is not None
    match = re.match(r"A local AWS at (http://127\.0\.0\.1:(\d+))\. ", program.stdout.readline())
    assert match
    assert program.stdout.readline() == f"export AWS_ENDPOINT_URL={match[1]}\n"
    return Cloud(LocalAws(LocalAwsSettings(RUNTIME_PYTHON, int(match[2]))))


def test_program_runs_until_it_is_stopped(program: subprocess.Popen[str]) -> None:
    assert cloud_of(program).function(ECHO).call("hello") == "hello"
    program.send_signal(signal.SIGTERM)
    assert program.stdout is not None
    output = program.stdout.read()
    assert program.wait(TIMEOUT_S) == 0
    assert "an event took" in output
    assert "Error" not in output


@pytest.mark.parametrize(
    ("program", "error"),
    [(["--concurrency", "0"], "TooManyRequestsException"), (["--iam-delay", "60"], "InvalidParameterValueException")],
    indirect=["program"],
)
def test_program_is_as_strict_as_its_options(program: subprocess.Popen[str], error: str) -> None:
    with pytest.raises(ClientError, match=error):
        cloud_of(program).function(ECHO).call()


def test_functions_end_with_a_program_that_is_killed(program: subprocess.Popen[str]) -> None:
    source = "import os\ndef handler(event, context): return os.getpid()"
    process = os.pidfd_open(cloud_of(program).function(source).call())
    program.kill()
    ended, _, _ = select.select([process], [], [], TIMEOUT_S)  # readable when it has ended
    os.close(process)
    assert ended == [process]


def test_program_reports_why_it_does_not_start(aws: LocalAws) -> None:
    command = [sys.executable, "-m", "local_aws", "--port", str(aws.port), "--runtime-python", str(RUNTIME_PYTHON)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("local_aws: ")
    assert "address already in use" in done.stderr


def test_logging_configuration_is_remembered(cloud: Cloud) -> None:
    client = cloud.client("lambda")
    function = cloud.function(ECHO)
    default = {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{function.name}"}
    assert client.get_function(FunctionName=function.name)["Configuration"]["LoggingConfig"] == default
    own = {"LogFormat": "JSON", "LogGroup": "/own"}
    client.update_function_configuration(FunctionName=function.name, LoggingConfig=own)
    assert client.get_function_configuration(FunctionName=function.name)["LoggingConfig"] == own


def test_redrive_policy_reads_as_terraform_writes_it(cloud: Cloud) -> None:
    _, dead = cloud.queue()
    policy = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 2}, separators=(",", ":"))
    url, _ = cloud.queue(RedrivePolicy=policy)
    response = cloud.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    assert response["Attributes"]["RedrivePolicy"] == policy


def test_waiting_for_messages_holds_up_no_other_call(cloud: Cloud) -> None:
    url, _ = cloud.queue()
    client = cloud.client("sqs")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(client.receive_message, QueueUrl=url, WaitTimeSeconds=TIMEOUT_S - 1)
        client.send_message(QueueUrl=url, MessageBody="hello")
        assert [message["Body"] for message in waiting.result(timeout=TIMEOUT_S - 5)["Messages"]] == ["hello"]


def test_moto_gets_unsigned_requests_for_no_api(aws: LocalAws) -> None:
    assert requests.get(f"{aws.url}/moto-api/", timeout=TIMEOUT_S).status_code == 200


def test_error_in_the_query_protocol_is_xml() -> None:
    request = ApiRequest(
        "POST", "/", {"content-type": "application/x-www-form-urlencoded"}, b"Action=ListRoles&Version=1"
    )
    response = error_response(request, 403, "AccessDeniedException", "<no>")
    assert response.headers["Content-Type"] == "text/xml"
    assert b"<Code>AccessDenied</Code><Message>&lt;no&gt;</Message>" in response.body
