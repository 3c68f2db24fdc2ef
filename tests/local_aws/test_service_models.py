"""Requests that are not as botocore's models have them are counted, and refused where AWS refuses them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import LocalAws
from local_aws.api_request import ApiRequest
from local_aws.service_models import RequestChecks

from .cloud import Cloud
from .test_refusals import World

KEY = {"id": {"S": "a"}}


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
    checks = RequestChecks()
    assert checks.check(ApiRequest("POST", "/", headers, body)) is None
    assert [violation for _, _, violation in checks.violations] == found
