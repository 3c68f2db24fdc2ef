"""The page on operations is right about commands, metrics, prices and log lines. `tests/stacks/test_alarms.py` checks
its alarms, `tests/e2e/test_deployment.py` the fields of its queries."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from slip_sockets.aws.metrics import BY_EVENT_TYPE, BY_STACK, EVENT_TYPES, NAMESPACE, MetricsLog
from slip_sockets.gateway.observer import EventType

from .markdown import Page

PAGE = Page("docs/operations.md")
OF_THE_COMMAND_LINE = {("logs", "tail"): {"--since", "--filter-pattern"}}
"""Commands of the AWS command line that are not a single API call.
https://docs.aws.amazon.com/cli/latest/reference/logs/tail.html"""


def commands() -> list[list[str]]:
    lines = [line for block in PAGE.blocks for line in block.text.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("aws ")]


def test_aws_has_each_command() -> None:
    assert len(commands()) == 15
    session = botocore.session.get_session()
    for service, command, *arguments in commands():
        options = {word for word in arguments if word.startswith("--")} - {"--region"}  # which all commands have
        if (service, command) in OF_THE_COMMAND_LINE:
            assert options <= OF_THE_COMMAND_LINE[service, command]
            continue
        model = session.get_service_model(service)
        (operation,) = (name for name in model.operation_names if xform_name(name, "-") == command)
        shape: Any = model.operation_model(operation).input_shape
        known = {f"--{xform_name(name, '-')}" for name in shape.members}
        assert {f"--{xform_name(name, '-')}" for name in shape.required_members} <= options <= known


def test_the_table_of_metrics_is_whole() -> None:
    rows = PAGE.rows("Our metrics")
    documented = {name: row[1].code for row in rows for name in row[0].code}
    by_event_type = dict.fromkeys(BY_EVENT_TYPE, ("stack", "eventType"))
    assert documented == by_event_type | dict.fromkeys(BY_STACK, ("stack",))
    assert f"the namespace `{NAMESPACE}`" in PAGE.path.read_text()


def test_the_table_of_fields_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    log = MetricsLog("chat")

    class Context:
        aws_request_id = "c6af9ac6"

        def get_remaining_time_in_millis(self) -> int:
            return 1000

    with log.event(EventType.OPEN, Context(), "AAAA="):
        log.metrics.counts.update([*BY_EVENT_TYPE, *BY_STACK])
    line = json.loads(capsys.readouterr().out)
    assert {name for row in PAGE.rows("Logs") for name in row[0].code} == line.keys()
    (types,) = (row[1].code for row in PAGE.rows("Logs") if row[0].code == ("eventType",))
    assert types == EVENT_TYPES


def test_the_largest_number_of_metrics_is_right() -> None:
    """CONTROL does not call the backend. Those by type are by stack, too."""
    most = len(EVENT_TYPES) + len(EVENT_TYPES) - 1 + len(BY_EVENT_TYPE) + len(BY_STACK)
    assert list(BY_EVENT_TYPE) == ["Failures", "BackendLatency"]
    assert re.search(
        rf"\| our metrics \| at most {most}, at 0\.30, [^|]*\| 0 to {most * 0.3:.2f} \|", PAGE.path.read_text()
    )


def test_alarms_cost_their_number() -> None:
    rows = re.findall(r"(\d+) metrics in alarms, at 0\.10 \| ([\d.]+)", PAGE.path.read_text())
    assert len(rows) == 2  # without and with INBOUND=ordered
    for number, usd in rows:
        assert float(usd) == round(int(number) * 0.1, 2)
