"""Requests that are not as botocore's models have them are counted, and refused where AWS refuses them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import LocalAws
from local_aws.api_request import ApiRequest, ApiResponse
from local_aws.modelled import read_request
from local_aws.service_models import ModelChecks

from .cloud import Cloud
from .test_refusals import World

KEY = {"id": {"S": "a"}}


def check(checks: ModelChecks, given: ApiRequest) -> ApiResponse | None:
    return checks.check(given, read_request(given))


@pytest.mark.parametrize(
    ("given", "code", "violation"),
    [
        ({}, "ValidationException", "missing required field: .Key"),
        ({"Key": KEY, "ConsistentRead": "yes"}, "SerializationException", "invalid type: .ConsistentRead"),
    ],
)
def test_a_request_that_aws_cannot_read_is_refused_and_counted(
    aws: LocalAws, cloud: Cloud, given: dict[str, Any], code: str, violation: str
) -> None:
    before = aws.request_violations()
    with pytest.raises(ClientError, match=code):
        World(cloud).client("dynamodb").get_item(TableName="a-table", **given)
    assert list(aws.request_violations() - before) == [("dynamodb", "GetItem", violation)]


@pytest.mark.parametrize(
    ("more", "found"),
    [({"Consistent": "a secret"}, ["unknown field: .Consistent"]), ({"ConsistentRead": None}, [])],
)
def test_a_field_that_aws_ignores_is_counted_without_its_value(more: dict[str, Any], found: list[str]) -> None:
    headers = {
        "authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request",
        "x-amz-target": "DynamoDB_20120810.GetItem",
    }
    body = json.dumps({"TableName": "a-table", "Key": KEY} | more).encode()
    checks = ModelChecks()
    assert check(checks, ApiRequest("POST", "/", headers, body)) is None
    assert [violation for _, _, violation in checks.requests] == found


def request(service: str, method: str, target: str, body: bytes = b"", **headers: str) -> ApiRequest:
    scope = f"AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{service}/aws4_request"
    return ApiRequest(method, target, {"authorization": scope} | headers, body)


def read(given: ApiRequest) -> tuple[str, Any]:
    modelled = read_request(given)
    assert modelled is not None
    return modelled.operation.name, modelled.parameters


def test_a_rest_request_is_read_from_path_query_and_body() -> None:
    of_a_version = "/2019-09-30/functions/f%3Alive/provisioned-concurrency?Qualifier=3"
    body = b'{"ProvisionedConcurrentExecutions": 2}'
    assert read(request("lambda", "PUT", of_a_version, body)) == (
        "PutProvisionedConcurrencyConfig",
        {"FunctionName": "f:live", "Qualifier": "3", "ProvisionedConcurrentExecutions": 2},
    )
    every = "/2019-09-30/functions/f/provisioned-concurrency?List=ALL&MaxItems=5"
    assert read(request("lambda", "GET", every)) == (
        "ListProvisionedConcurrencyConfigs",
        {"FunctionName": "f", "MaxItems": 5},
    )
    assert read(request("lambda", "GET", of_a_version))[0] == "GetProvisionedConcurrencyConfig"


def test_a_rest_request_has_the_models_names() -> None:
    tags = "/v2/tags/arn%3Aaws%3Aapigateway%3Aus-east-1%3A%3A%2Fapis%2Fa"
    assert read(request("apigateway", "POST", tags, b'{"tags": {"Stage": "live"}}')) == (
        "TagResource",
        {"ResourceArn": "arn:aws:apigateway:us-east-1::/apis/a", "Tags": {"Stage": "live"}},
    )


def test_a_form_is_read_with_its_lists_and_structures() -> None:
    form = b"Action=CreateRole&Version=2010-05-08&RoleName=r&MaxSessionDuration=3600&Odd=1&Tags.member.1.Key=a"
    given = request("iam", "POST", "/", form, **{"content-type": "application/x-www-form-urlencoded"})
    parameters = {"RoleName": "r", "MaxSessionDuration": 3600, "Tags": [{"Key": "a"}], "Odd": "1"}
    assert read(given) == ("CreateRole", parameters)
    checks = ModelChecks()
    assert check(checks, given) is None  # moto refuses what it cannot read
    assert sorted(violation for _, _, violation in checks.requests) == [
        "missing required field: .AssumeRolePolicyDocument",
        "missing required field: .Tags[0].Value",
        "unknown field: .Odd",
    ]


def test_a_request_that_no_model_has_is_counted() -> None:
    checks = ModelChecks()
    assert check(checks, request("s3", "GET", "/bucket/key")) is None
    assert dict(checks.unread) == {("s3", "GET /bucket/key"): 1}


def test_a_response_that_lacks_a_required_field_is_counted() -> None:
    given = request("lambda", "GET", "/2020-06-30/functions/f/code-signing-config")
    checks = ModelChecks()
    checks.check_response(read_request(given), ApiResponse(200, b'{"FunctionName": "f"}'))
    violation = "missing required field: .CodeSigningConfigArn"
    assert list(checks.responses) == [("lambda", "GetFunctionCodeSigningConfig", violation)]
