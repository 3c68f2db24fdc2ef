"""Functions are frozen between events: they do nothing, and their connections are forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from local_aws import LocalAws, Strictness

from .cloud import Cloud, settings, zipped
from .waiting import ASK, WaitingRoom

PID = "import os\ndef handler(event, context): return os.getpid()"
WITH_A_CHILD = """
import subprocess
child = subprocess.Popen(["sleep", "1000"])
def handler(event, context): return child.pid
"""
KEEPS_A_CONNECTION = """
import http.client, os
host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
kept = http.client.HTTPConnection(host, timeout=10)
scope = f"{os.environ['AWS_ACCESS_KEY_ID']}/20000101/us-east-1/sqs/aws4_request"

def handler(event, context):
    try:
        for _ in range(2):
            kept.request("GET", "/", headers={"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}"})
            kept.getresponse().read()
    except OSError as error:
        return type(error).__name__, os.getpid()
    return "a response", os.getpid()
"""


@pytest.fixture(scope="module")
def freezing() -> Iterator[Cloud]:
    with LocalAws(replace(settings(), strictness=Strictness(freeze=True))) as aws:
        yield Cloud(aws)


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        pass


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def is_over(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_function_is_stopped_between_events_and_continues_with_the_next(freezing: Cloud) -> None:
    function = freezing.function(PID)
    pid = function.call()
    until(lambda: is_stopped(pid))
    assert function.call() == pid
    until(lambda: is_stopped(pid))


def test_what_a_function_has_started_is_stopped_too(freezing: Cloud) -> None:
    child = freezing.function(WITH_A_CHILD).call()
    until(lambda: is_stopped(child))


def test_a_function_with_the_next_event_at_hand_handles_it() -> None:
    strict = replace(settings(max_environments=1), strictness=Strictness(freeze=True))
    with LocalAws(strict) as aws, WaitingRoom() as waiting_room, ThreadPoolExecutor() as threads:
        source = f"{ASK}\ndef handler(event, context): return ask(event)"
        function = Cloud(aws).function(source, environment={"TEST": waiting_room.address})
        called = [threads.submit(function.call, number) for number in range(3)]
        for _ in called:
            waiting = waiting_room.next()
            waiting.reply(waiting.event)
        assert [call.result() for call in called] == [0, 1, 2]


def test_a_kept_connection_is_reset_while_its_function_is_frozen(freezing: Cloud) -> None:
    function = freezing.function(KEEPS_A_CONNECTION)
    outcome, pid = function.call()
    assert outcome == "a response"
    until(lambda: is_stopped(pid))
    outcome, _ = function.call()
    assert outcome in ("ConnectionResetError", "BrokenPipeError")


def test_a_kept_connection_of_a_function_that_is_not_frozen_is_kept(cloud: Cloud) -> None:
    function = cloud.function(KEEPS_A_CONNECTION)
    assert function.call() == function.call()


def test_a_frozen_function_can_crash_be_replaced_and_end(freezing: Cloud) -> None:
    function = freezing.function(PID)
    first = function.call()
    until(lambda: is_stopped(first))
    freezing.aws.kill(function.arn)
    until(lambda: is_over(first))
    second = function.call()
    until(lambda: is_stopped(second))
    freezing.client("lambda").update_function_code(FunctionName=function.name, ZipFile=zipped(PID + "\n#"))
    third = function.call()
    assert third != second
    until(lambda: is_over(second))
    until(lambda: is_stopped(third))
    freezing.client("lambda").delete_function(FunctionName=function.name)
    until(lambda: is_over(third))
