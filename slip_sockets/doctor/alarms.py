"""The alarms that are on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .account import Account
from .findings import Finding, fine, wrong
from .settings import DoctorSettings


async def check_alarms(settings: DoctorSettings, account: Account) -> list[Finding]:
    """Raises CannotCheck."""
    prefix = f"{settings.stack}-"
    alarms = await account.pages("cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=prefix)
    # The names of production's stack begin those of staging's; the topics differ.
    topic = f":{settings.stack}-alarms"
    return judge(settings, [alarm for alarm in alarms if any(arn.endswith(topic) for arn in alarm["AlarmActions"])])


def judge(settings: DoctorSettings, alarms: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """`alarms` are CloudWatch's of this deployment."""
    if not alarms:
        return [wrong("alarms", f"{settings.stack} has no alarms", "Deploy again")]
    on = [alarm for alarm in alarms if alarm["StateValue"] == "ALARM"]
    findings = [_of(settings, alarm) for alarm in on]
    silent = [alarm["AlarmName"] for alarm in alarms if not alarm.get("ActionsEnabled", True)]
    if silent:
        finding = f"actions are switched off for {', '.join(silent)}: the alarm notifies nobody"
        findings.append(wrong("alarms", finding, "They were changed by hand: deploy again"))
    return findings or [fine("alarms", f"{len(alarms)} alarms are off")]


def _of(settings: DoctorSettings, alarm: Mapping[str, Any]) -> Finding:
    name = str(alarm["AlarmName"])
    since = f" since {alarm['StateUpdatedTimestamp']:%Y-%m-%d %H:%MZ}" if "StateUpdatedTimestamp" in alarm else ""
    short = name.removeprefix(f"{settings.stack}-")
    return wrong("alarms", f"the alarm {name} is on{since}", f"docs/operations.md#{short} says what it means")
