"""Function URLs: a public one leads to its function; one without both permissions is forbidden, as in AWS."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from .cloud import TIMEOUT_S, Cloud, Deployed

RETURNS_EVENT = """
import json
def handler(event, context):
    return {"statusCode": 201, "body": json.dumps(event)}
"""


def url_of(function: Deployed, *actions: str, auth_type: str = "NONE") -> str:
    """Give a function a URL, and everybody the permission for `actions`. Return the URL."""
    client = function.cloud.client("lambda")
    made = client.create_function_url_config(FunctionName=function.name, AuthType=auth_type)
    for action in actions:
        more: dict[str, Any] = {"FunctionUrlAuthType": auth_type} if action.endswith("Url") else {}
        client.add_permission(
            FunctionName=function.name,
            StatementId=action.replace(":", "-"),
            Action=action,
            Principal="*",
            **more,
        )
    return str(made["FunctionUrl"])


def test_url_leads_to_its_function(cloud: Cloud) -> None:
    function = cloud.function(RETURNS_EVENT)
    url = url_of(function, "lambda:InvokeFunctionUrl", "lambda:InvokeFunction")
    assert url == cloud.client("lambda").get_function_url_config(FunctionName=function.name)["FunctionUrl"]
    response = requests.post(f"{url}a/b?x=1", data="hello", headers={"X-One": "1"}, timeout=TIMEOUT_S)
    assert response.status_code == 201
    event = response.json()
    assert (event["version"], event["rawPath"], event["rawQueryString"]) == ("2.0", "/a/b", "x=1")
    assert (event["body"], event["headers"]["x-one"]) == ("hello", "1")
    assert event["requestContext"]["http"]["method"] == "POST"


@pytest.mark.parametrize("action", ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"])
def test_url_with_one_permission_of_two_is_forbidden(cloud: Cloud, action: str) -> None:
    response = requests.get(url_of(cloud.function(RETURNS_EVENT), action), timeout=TIMEOUT_S)
    assert response.status_code == 403
    assert response.json()["Message"].startswith("Forbidden.")


def test_url_for_iam_users_is_forbidden_to_everybody(cloud: Cloud) -> None:
    actions = ("lambda:InvokeFunctionUrl", "lambda:InvokeFunction")
    url = url_of(cloud.function(RETURNS_EVENT), *actions, auth_type="AWS_IAM")
    assert requests.get(url, timeout=TIMEOUT_S).status_code == 403


def test_failing_function_is_a_bad_gateway(cloud: Cloud) -> None:
    function = cloud.function("def handler(event, context): raise ValueError('no')")
    url = url_of(function, "lambda:InvokeFunctionUrl", "lambda:InvokeFunction")
    assert requests.get(url, timeout=TIMEOUT_S).status_code == 502


def test_auth_type_is_a_condition_of_the_policy(cloud: Cloud) -> None:
    """Terraform reads it there, and would replace a permission that lacks it at each plan."""
    function = cloud.function(RETURNS_EVENT)
    url_of(function, "lambda:InvokeFunctionUrl")
    policy = cloud.client("lambda").get_policy(FunctionName=function.name)["Policy"]
    assert '"lambda:FunctionUrlAuthType": "NONE"' in policy
