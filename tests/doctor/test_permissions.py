"""Credentials that may do a part of it, over a local AWS that decides as IAM does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from local_aws import LocalAws
from slip_sockets.client.outputs import Outputs
from slip_sockets.doctor.examine import GROUPS, examine
from slip_sockets.doctor.findings import Finding, Verdict

from ..local_aws.cloud import ASSUMED_BY_LAMBDA, Cloud, allow, settings
from .examined import settings as examined


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A local AWS without a deployment. The environment has the credentials of a role that may read logs and queues."""
    with LocalAws(settings()) as aws:
        cloud = Cloud(aws)
        role = cloud.client("iam").create_role(RoleName="operator", AssumeRolePolicyDocument=ASSUMED_BY_LAMBDA)["Role"]
        policy = {"Version": "2012-10-17", "Statement": [allow(["logs:*", "sqs:*"], "*")]}
        cloud.client("iam").put_role_policy(
            RoleName="operator", PolicyName="operator", PolicyDocument=json.dumps(policy)
        )
        key = aws._server.access.issue(role["Arn"], "operator")
        variables = {
            "AWS_ACCESS_KEY_ID": key.key_id,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_SESSION_TOKEN": key.session_token,
        }
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        for name, value in (aws.environment | variables).items():
            monkeypatch.setenv(name, value)
        yield cloud


async def test_each_permission_that_is_missing_is_named_and_the_other_checks_are_made(
    operator: Cloud, unused_tcp_port: int
) -> None:
    away = f"127.0.0.1:{unused_tcp_port}"
    outputs = Outputs(f"http://{away}/", f"ws://{away}/", f"http://{away}/", "us-east-1")
    findings = [each async for each in examine(examined(outputs, now=time.time))]
    inside: dict[str, Finding] = {each.check: each for each in findings if each.check in GROUPS["From inside"]}
    assert inside["credentials"].finding == f"AWS takes the credentials, of account {operator.account_id}, in us-east-1"
    lacking = {
        "urls": "apigateway:GET",
        "throttles": "apigateway:GET",
        "functions": "lambda:GetFunctionConfiguration",
        "mapping": "lambda:ListEventSourceMappings",
        "concurrency": "lambda:ListEventSourceMappings",
        "alarms": "cloudwatch:DescribeAlarms",
        "deferred": "cloudwatch:GetMetricData",
        "inbound": "cloudwatch:GetMetricData",
        "dead-letters": "cloudwatch:GetMetricData",
    }
    unknown = {name: each.finding for name, each in inside.items() if each.verdict is Verdict.UNKNOWN}
    assert unknown == {name: f"the credentials lack the permission {needed}" for name, needed in lacking.items()}
    assert inside.keys() - unknown.keys() == {"credentials", "errors", "backend-failures"}
