"""HTTP APIs: a right deployment works, a wrong one fails as it would in AWS."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from .cloud import TIMEOUT_S, Api, Cloud, Deployed

RETURNS_EVENT = """
import json
def handler(event, context):
    return {"statusCode": 201, "headers": {"x-own": "yes"}, "cookies": ["a=b"], "body": json.dumps(event)}
"""
FAILS = "def handler(event, context): raise ValueError('no')"


@pytest.fixture(scope="module")
def returns_event(cloud: Cloud) -> Deployed:
    return cloud.function(RETURNS_EVENT)


def http_api(cloud: Cloud, function: Deployed, *route_keys: str, stage: str = "$default", **settings: Any) -> Api:
    api = cloud.api("HTTP")
    api.stage(stage, **settings)
    api.integrate(function, *route_keys)
    return api


def test_most_specific_route_gets_the_request(cloud: Cloud, returns_event: Deployed) -> None:
    api = http_api(cloud, returns_event, "POST /", "POST /{proxy+}", "ANY /{proxy+}", "GET /a/{id}", "$default")
    for method, path, route_key, parameters in (
        ("POST", "/", "POST /", None),
        ("POST", "/x/y", "POST /{proxy+}", {"proxy": "x/y"}),
        ("GET", "/x", "ANY /{proxy+}", {"proxy": "x"}),
        ("GET", "/a/1", "GET /a/{id}", {"id": "1"}),
        ("GET", "/", "$default", None),
    ):
        event = requests.request(method, api.endpoint + path, timeout=TIMEOUT_S).json()
        assert (event["routeKey"], event.get("pathParameters")) == (route_key, parameters)
        assert event["requestContext"]["routeKey"] == route_key


def test_event_is_of_payload_version_2(cloud: Cloud, returns_event: Deployed) -> None:
    api = http_api(cloud, returns_event, "POST /{proxy+}")
    response = requests.post(
        f"{api.endpoint}/a%20b?x=1&x=2", data=b"\xff", headers={"X-One": "1"}, cookies={"c": "d"}, timeout=TIMEOUT_S
    )
    assert response.status_code == 201
    assert response.headers["x-own"] == "yes"
    assert response.cookies["a"] == "b"
    event = response.json()
    assert event["version"] == "2.0"
    assert event["rawPath"] == "/a b"
    assert event["rawQueryString"] == "x=1&x=2"
    assert event["headers"]["x-one"] == "1"
    assert (event["body"], event["isBase64Encoded"]) == ("/w==", True)
    context = event["requestContext"]
    assert context["accountId"] == cloud.account_id
    assert (context["apiId"], context["stage"], context["http"]["method"]) == (api.api_id, "$default", "POST")


def test_named_stage_is_a_path_of_its_own(cloud: Cloud, returns_event: Deployed) -> None:
    api = http_api(cloud, returns_event, "GET /x", stage="live")
    event = requests.get(f"{api.endpoint}/live/x", timeout=TIMEOUT_S).json()
    assert (event["routeKey"], event["rawPath"], event["requestContext"]["stage"]) == ("GET /x", "/live/x", "live")
    assert requests.get(f"{api.endpoint}/x", timeout=TIMEOUT_S).status_code == 404


def test_request_without_a_route_is_not_found(cloud: Cloud, returns_event: Deployed) -> None:
    api = http_api(cloud, returns_event, "POST /")
    for response in (requests.get(api.endpoint, timeout=TIMEOUT_S), requests.post(f"{api.endpoint}/x", timeout=9)):
        assert (response.status_code, response.json()) == (404, {"message": "Not Found"})


def test_other_responses_are_json(cloud: Cloud) -> None:
    api = http_api(cloud, cloud.function("def handler(event, context): return {'done': True}"), "$default")
    response = requests.get(api.endpoint, timeout=TIMEOUT_S)
    assert (response.status_code, response.json()) == (200, {"done": True})


def test_binary_response(cloud: Cloud) -> None:
    source = "def handler(event, context): return {'statusCode': 200, 'body': '/w==', 'isBase64Encoded': True}"
    api = http_api(cloud, cloud.function(source), "$default")
    assert requests.get(api.endpoint, timeout=TIMEOUT_S).content == b"\xff"


def test_failing_function_is_an_internal_server_error(cloud: Cloud) -> None:
    api = http_api(cloud, cloud.function(FAILS), "$default")
    response = requests.get(api.endpoint, timeout=TIMEOUT_S)
    assert (response.status_code, response.json()) == (500, {"message": "Internal Server Error"})


def test_route_needs_permission(cloud: Cloud) -> None:
    api = cloud.api("HTTP")
    api.stage("$default")
    function = cloud.function(RETURNS_EVENT)
    api.integrate(function, "POST /", "POST /{proxy+}", permit=False)
    assert requests.post(api.endpoint, timeout=TIMEOUT_S).status_code == 500
    function.let_invoke(f"{api.arn}/*/POST/*")
    assert requests.post(api.endpoint, timeout=TIMEOUT_S).status_code == 201
    assert requests.post(f"{api.endpoint}/x", timeout=TIMEOUT_S).status_code == 201


def test_integration_that_takes_too_long_is_unavailable(cloud: Cloud) -> None:
    function = cloud.function("import signal\ndef handler(event, context): signal.pause()", timeout_s=1)
    api = cloud.api("HTTP")
    api.stage("$default")
    api.integrate(function, "$default", timeout_ms=50)
    response = requests.get(api.endpoint, timeout=TIMEOUT_S)
    assert (response.status_code, response.json()) == (503, {"message": "Service Unavailable"})


def test_throttle_of_zero_refuses_every_request(cloud: Cloud, returns_event: Deployed) -> None:
    limits = {"ThrottlingRateLimit": 0, "ThrottlingBurstLimit": 0}
    api = http_api(cloud, returns_event, "$default", DefaultRouteSettings=limits)
    assert requests.get(api.endpoint, timeout=TIMEOUT_S).status_code == 429
