"""WebSocket APIs and the management API: a right deployment works, a wrong one fails as it would in AWS."""

from __future__ import annotations

import http
import json
from http.client import HTTPConnection
from typing import Any

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from local_aws import LocalAws

from .cloud import TIMEOUT_S, Api, Cloud, Deployed, allow, settings

OK = "def handler(event, context): return {'statusCode': 200}"
POSTS_BACK = """
import json, os
import boto3

def handler(event, _):
    context = event["requestContext"]
    if context["eventType"] == "MESSAGE":
        url = f"http://{context['domainName']}/{context['apiId']}/{context['stage']}"
        client = boto3.client("apigatewaymanagementapi", endpoint_url=url)
        if event["body"] == "close":
            client.delete_connection(ConnectionId=context["connectionId"])
        else:
            data = json.dumps({"route": context["routeKey"], "body": event["body"]})
            client.post_to_connection(ConnectionId=context["connectionId"], Data=data.encode())
    return {"statusCode": 200}
"""
FAILS = "def handler(event, context): raise ValueError('no')"
ROUTES = ("$connect", "$default", "$disconnect")


def websocket_api(cloud: Cloud, **settings: Any) -> Api:
    api = cloud.api("WEBSOCKET", RouteSelectionExpression="$request.body.action")
    api.stage("live", **settings)
    return api


def connected(api: Api, stage: str = "live") -> ClientConnection:
    return connect(f"{api.endpoint}/{stage}", open_timeout=TIMEOUT_S)


def refusal(api: Api, stage: str = "live") -> tuple[int, str]:
    """Return status and message of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as raised:
        connected(api, stage)
    response = raised.value.response
    return response.status_code, json.loads(response.body or b"{}")["message"]


@pytest.fixture(scope="module")
def ok(cloud: Cloud) -> Deployed:
    return cloud.function(OK)


@pytest.fixture(scope="module")
def posts_back(cloud: Cloud) -> Deployed:
    return cloud.function(POSTS_BACK, allow("execute-api:ManageConnections", "*"))


def test_a_management_call_can_be_reset(cloud: Cloud, posts_back: Deployed) -> None:
    """botocore makes it again."""
    calls: list[str] = []

    def reset_first(method: str, connection_id: str) -> Any:
        calls.append(method)
        return "reset" if len(calls) == 1 else None

    api = websocket_api(cloud)
    api.integrate(posts_back, *ROUTES)
    cloud.aws.set_management_fault(reset_first)
    try:
        with connected(api) as client:
            client.send("x")
            assert json.loads(client.recv(TIMEOUT_S))["body"] == "x"
    finally:
        cloud.aws.set_management_fault(lambda method, connection_id: None)
    assert calls == ["POST", "POST"]


def test_proxy_reuses_a_connection(cloud: Cloud, posts_back: Deployed) -> None:
    """For a request, for a handshake that is refused, and for another."""
    api = websocket_api(cloud)
    api.integrate(posts_back, *ROUTES)
    kept = HTTPConnection("127.0.0.1", cloud.aws.port, timeout=TIMEOUT_S)
    kept.request("POST", "/", "Action=GetCallerIdentity&Version=2011-06-15")
    assert b"Missing Authentication Token" in kept.getresponse().read()
    asked = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    kept.request("GET", f"/{api.api_id}/elsewhere", headers=asked)
    refused = kept.getresponse()
    assert (refused.status, refused.read()) == (403, b'{"message": "Forbidden"}')
    with connect(f"{api.endpoint}/live", sock=kept.sock, open_timeout=TIMEOUT_S) as client:
        client.send("x")
        assert json.loads(client.recv(TIMEOUT_S))["body"] == "x"


def test_endpoints_are_here(cloud: Cloud) -> None:
    websockets, http_api = cloud.api("WEBSOCKET", RouteSelectionExpression="$x"), cloud.api("HTTP")
    assert websockets.endpoint == f"ws://127.0.0.1:{cloud.aws.port}/{websockets.api_id}"
    assert http_api.endpoint == f"http://127.0.0.1:{cloud.aws.port}/{http_api.api_id}"
    client = cloud.client("apigatewayv2")
    assert client.get_api(ApiId=websockets.api_id)["ApiEndpoint"] == websockets.endpoint
    assert websockets.endpoint in [item["ApiEndpoint"] for item in client.get_apis()["Items"]]


def test_function_posts_back(cloud: Cloud, posts_back: Deployed) -> None:
    api = websocket_api(cloud)
    api.integrate(posts_back, *ROUTES)
    with connected(api) as socket:
        socket.send("hello")
        assert json.loads(socket.recv(TIMEOUT_S)) == {"route": "$default", "body": "hello"}
        socket.send("close")
        assert [*socket] == []
        assert socket.close_code == 1000


def test_route_is_selected_by_the_message(cloud: Cloud, posts_back: Deployed) -> None:
    api = websocket_api(cloud)
    api.integrate(posts_back, *ROUTES, "join")
    with connected(api) as socket:
        for text, route in (('{"action": "join"}', "join"), ('{"action": "leave"}', "$default"), ("[1]", "$default")):
            socket.send(text)
            assert json.loads(socket.recv(TIMEOUT_S)) == {"route": route, "body": text}


@pytest.mark.parametrize("route", ["$connect", "$disconnect"])
def test_no_message_selects_connect_or_disconnect(cloud: Cloud, posts_back: Deployed, route: str) -> None:
    api = websocket_api(cloud)
    api.integrate(posts_back, *ROUTES)
    text = json.dumps({"action": route})
    with connected(api) as socket:
        socket.send(text)
        assert json.loads(socket.recv(TIMEOUT_S)) == {"route": "$default", "body": text}


def test_two_way_route_of_a_function_sends_its_body(cloud: Cloud) -> None:
    api = websocket_api(cloud)
    api.integrate(cloud.function("def handler(event, _): return {'statusCode': 200, 'body': 'own'}"), *ROUTES, "ask")
    client = cloud.client("apigatewayv2")
    routes = {route["RouteKey"]: route["RouteId"] for route in client.get_routes(ApiId=api.api_id)["Items"]}
    two_way = {"ApiId": api.api_id, "RouteId": routes["ask"]}
    client.update_route(**two_way, RouteResponseSelectionExpression="$default")
    client.create_route_response(**two_way, RouteResponseKey="$default")
    with connected(api) as socket:
        socket.send('{"action": "ask"}')
        assert socket.recv(TIMEOUT_S) == "own"


def test_unknown_api_and_stage_are_forbidden(cloud: Cloud, ok: Deployed) -> None:
    api = websocket_api(cloud)
    api.integrate(ok, *ROUTES)
    assert refusal(api, "dead") == (http.HTTPStatus.FORBIDDEN, "Forbidden")
    nowhere = Api(cloud, "zzzzzzzz", f"ws://127.0.0.1:{cloud.aws.port}/zzzzzzzz")
    assert refusal(nowhere) == (http.HTTPStatus.FORBIDDEN, "Forbidden")


def test_stage_without_a_deployment_is_forbidden(cloud: Cloud, ok: Deployed) -> None:
    api = websocket_api(cloud, AutoDeploy=False)
    api.integrate(ok, *ROUTES)
    assert refusal(api) == (http.HTTPStatus.FORBIDDEN, "Forbidden")


def test_http_api_takes_no_websockets(cloud: Cloud, ok: Deployed) -> None:
    api = cloud.api("HTTP")
    api.stage("live")
    api.integrate(ok, "$default")
    assert refusal(Api(cloud, api.api_id, api.endpoint.replace("http", "ws"))) == (403, "Forbidden")


def test_without_a_connect_route_every_client_is_accepted(cloud: Cloud, posts_back: Deployed) -> None:
    api = websocket_api(cloud)
    api.integrate(posts_back, "$default")
    with connected(api) as socket:
        socket.send("hello")
        assert "hello" in str(socket.recv(TIMEOUT_S))


def test_message_without_a_route_is_forbidden(cloud: Cloud, ok: Deployed) -> None:
    api = websocket_api(cloud)
    api.integrate(ok, "$connect")
    with connected(api) as socket:
        socket.send("hello")
        message = json.loads(socket.recv(TIMEOUT_S))
        assert message.keys() == {"message", "connectionId", "requestId"}
        assert message["message"] == "Forbidden"


def test_route_without_integration_fails(cloud: Cloud) -> None:
    api = websocket_api(cloud)
    cloud.client("apigatewayv2").create_route(ApiId=api.api_id, RouteKey="$connect")
    assert refusal(api) == (500, "Internal server error")


def test_integration_without_a_function_fails(cloud: Cloud) -> None:
    api = websocket_api(cloud)
    client = cloud.client("apigatewayv2")
    made = client.create_integration(ApiId=api.api_id, IntegrationType="HTTP_PROXY", IntegrationUri="http://x/")
    client.create_route(ApiId=api.api_id, RouteKey="$connect", Target=f"integrations/{made['IntegrationId']}")
    assert refusal(api) == (500, "Internal server error")


def test_deleted_function_fails(cloud: Cloud) -> None:
    api = websocket_api(cloud)
    function = cloud.function(OK)
    api.integrate(function, *ROUTES)
    cloud.client("lambda").delete_function(FunctionName=function.name)
    assert refusal(api) == (500, "Internal server error")


def test_function_that_does_not_permit_it_is_not_invoked(cloud: Cloud) -> None:
    api = websocket_api(cloud)
    function = cloud.function(OK)
    api.integrate(function, *ROUTES, permit=False)
    assert refusal(api) == (500, "Internal server error")
    function.let_invoke(f"{api.arn}/dead/*")
    assert refusal(api) == (500, "Internal server error")
    function.let_invoke(f"{api.arn}/live/$connect")
    with connected(api):
        pass


def test_throttle_of_zero_refuses_every_client(cloud: Cloud, ok: Deployed) -> None:
    api = websocket_api(cloud, DefaultRouteSettings={"ThrottlingRateLimit": 0, "ThrottlingBurstLimit": 0})
    api.integrate(ok, *ROUTES)
    assert refusal(api) == (429, "Too Many Requests")


def test_failing_function_refuses_the_connection(cloud: Cloud) -> None:
    api = websocket_api(cloud)
    api.integrate(cloud.function(FAILS), *ROUTES)
    assert refusal(api) == (502, "Internal server error")


def test_response_without_a_status_refuses_the_connection(cloud: Cloud) -> None:
    api = websocket_api(cloud)
    api.integrate(cloud.function("def handler(event, context): return 'yes'"), *ROUTES)
    assert refusal(api) == (502, "Internal server error")


def test_integration_that_takes_too_long_is_given_up(cloud: Cloud) -> None:
    api = websocket_api(cloud)
    function = cloud.function("import signal\ndef handler(event, context): signal.pause()", timeout_s=1)
    api.integrate(function, *ROUTES, timeout_ms=50)
    assert refusal(api) == (504, "Endpoint request timed out")


def test_client_gets_an_error_for_a_message_that_fails(cloud: Cloud) -> None:
    api = websocket_api(cloud)
    api.integrate(cloud.function(FAILS), "$default")
    with connected(api) as socket:
        socket.send("hello")
        assert json.loads(socket.recv(TIMEOUT_S))["message"] == "Internal server error"


def test_message_after_the_api_was_deleted_is_forbidden(cloud: Cloud, ok: Deployed) -> None:
    api = websocket_api(cloud)
    api.integrate(ok, *ROUTES)
    with connected(api) as socket:
        cloud.client("apigatewayv2").delete_api(ApiId=api.api_id)
        socket.send("hello")
        assert json.loads(socket.recv(TIMEOUT_S))["message"] == "Forbidden"


def test_at_the_end_sockets_close_and_functions_get_the_disconnect() -> None:
    with LocalAws(settings()) as aws:
        cloud = Cloud(aws)
        queue_url, arn = cloud.queue()
        function = cloud.function(
            """
import os, sys
import boto3
def handler(event, context):
    if event["requestContext"]["eventType"] == "DISCONNECT":
        os.write(2, b"left")
        boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody="left")
    return {"statusCode": 200}
""",
            allow("sqs:SendMessage", arn),
            environment={"QUEUE_URL": queue_url},
        )
        api = websocket_api(cloud)
        api.integrate(function, *ROUTES)
        socket = connect(f"{api.endpoint}/live", legacy=True)
    assert [*socket] == []
    assert socket.close_code == 1001
    assert [decision.action for decision in aws.access_decisions() if decision.allowed] == ["sqs:SendMessage"]


# The management API


def management(api: Api, path: str = "live/@connections/AAAAAAAAAAAAAAA=") -> requests.Response:
    return requests.post(f"{api.endpoint.replace('ws', 'http', 1)}/{path}", data="x", timeout=TIMEOUT_S)


def test_unsigned_management_call_is_refused(cloud: Cloud) -> None:
    response = management(websocket_api(cloud))
    assert (response.status_code, response.json()) == (403, {"message": "Missing Authentication Token"})


def test_management_call_of_an_unknown_stage_is_forbidden(cloud: Cloud) -> None:
    response = management(websocket_api(cloud), "dead/@connections/AAAAAAAAAAAAAAA=")
    assert (response.status_code, response.json()) == (403, {"message": "Forbidden"})
