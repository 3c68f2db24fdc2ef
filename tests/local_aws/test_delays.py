"""What AWS applies some seconds after it has accepted it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests
from botocore.exceptions import ClientError

from local_aws import LocalAws, Strictness

from .cloud import TIMEOUT_S, Cloud, allow, settings
from .test_edge_quotas import Time

DELAY_S = 5.0
WHO = "def handler(event, context): return {'statusCode': 200, 'body': context.function_name}"
READS = """
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    try:
        boto3.client("sqs").get_queue_attributes(QueueUrl=event)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "allowed"
"""


class SlowCloud(Cloud):
    """Functions have a role that is old enough."""

    def __init__(self, aws: LocalAws, time: Time) -> None:
        super().__init__(aws)
        self.time = time

    def role(self, name: str) -> str:
        arn = super().role(name)
        self.time.now += DELAY_S
        return arn


@pytest.fixture
def slow() -> Iterator[SlowCloud]:
    time = Time()
    strictness = Strictness(iam_delay_s=DELAY_S, deploy_delay_s=DELAY_S)
    with LocalAws(replace(settings(), clock=time, strictness=strictness)) as aws:
        yield SlowCloud(aws, time)


def test_a_policy_counts_some_seconds_after_each_change(slow: SlowCloud) -> None:
    url, arn = slow.queue()
    function = slow.function(READS, allow("sqs:GetQueueAttributes", arn))
    assert function.call(url) == "AccessDenied"
    slow.time.now += DELAY_S / 2
    function.allow()
    slow.time.now += DELAY_S / 2
    assert function.call(url) == "allowed"
    slow.time.now += DELAY_S / 2
    assert function.call(url) == "AccessDenied"


def test_a_new_role_cannot_be_assumed_by_a_function(slow: SlowCloud) -> None:
    function = slow.function(WHO)
    role = Cloud(slow.aws).role("new")

    def use() -> None:
        slow.client("lambda").update_function_configuration(FunctionName=function.name, Role=role)

    with pytest.raises(ClientError, match=r"cannot be assumed by Lambda\.$") as refused:
        use()
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"
    slow.time.now += DELAY_S
    use()


def test_a_function_with_a_new_role_is_refused(slow: SlowCloud) -> None:
    with pytest.raises(ClientError, match=r"CreateFunction operation.* cannot be assumed by Lambda\.$"):
        Cloud(slow.aws).function(WHO)


def test_routes_of_a_stage_with_auto_deploy_come_and_change_later(slow: SlowCloud) -> None:
    first, second = slow.function(WHO), slow.function(WHO)
    api = slow.api("HTTP")
    api.stage("$default")
    api.integrate(first, "GET /x")

    def get() -> tuple[int, str]:
        response = requests.get(f"{api.endpoint}/x", timeout=TIMEOUT_S)
        return response.status_code, response.text

    assert get()[0] == 404
    slow.time.now += DELAY_S
    assert get() == (200, first.name)
    client = slow.client("apigatewayv2")
    (integration,) = client.get_integrations(ApiId=api.api_id)["Items"]
    uri = integration["IntegrationUri"].replace(first.arn, second.arn)
    client.update_integration(
        ApiId=api.api_id, IntegrationId=integration["IntegrationId"], IntegrationType="AWS_PROXY", IntegrationUri=uri
    )
    second.let_invoke(f"{api.arn}/*")
    assert get() == (200, first.name)
    slow.time.now += DELAY_S
    assert get() == (200, second.name)
