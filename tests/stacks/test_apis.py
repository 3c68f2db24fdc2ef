from __future__ import annotations

import json

import pytest

from .synthesis import PRODUCTION, STAGING, Stack, Synthesis

LIMITS = {
    STAGING: {"throttling_rate_limit": 200, "throttling_burst_limit": 100},
    PRODUCTION: {"throttling_rate_limit": 2_000, "throttling_burst_limit": 1_000},
}


@pytest.mark.parametrize(
    ("address", "protocol", "routes"),
    [
        ("websocket", "WEBSOCKET", {"$connect", "$disconnect", "$default"}),
        ("control", "HTTP", {"POST /", "POST /{proxy+}"}),
    ],
)
def test_all_routes_of_an_api_but_ping_lead_to_its_function(
    stack: Stack, address: str, protocol: str, routes: set[str]
) -> None:
    assert stack.resource("apigatewayv2_api", address)["protocol_type"] == protocol
    own = [
        route
        for route in stack.config["resource"]["aws_apigatewayv2_route"].values()
        if route["api_id"] == f"${{aws_apigatewayv2_api.{address}.id}}" and route["route_key"] != "ping"
    ]
    assert {route["route_key"] for route in own} == routes
    assert {route["target"] for route in own} == {f"integrations/${{aws_apigatewayv2_integration.{address}.id}}"}
    integration = stack.resource("apigatewayv2_integration", address)
    assert integration["api_id"] == f"${{aws_apigatewayv2_api.{address}.id}}"
    assert integration["integration_type"] == "AWS_PROXY"
    assert integration["integration_method"] == "POST"
    assert integration["integration_uri"] == f"${{aws_lambda_alias.{address}.invoke_arn}}"


def test_api_gateway_answers_pings_by_itself(stack: Stack) -> None:
    assert stack.resource("apigatewayv2_api", "websocket")["route_selection_expression"] == "$request.body.slip"
    of_ping = {
        type_: {name: value for name, value in stack.resource(f"apigatewayv2_{type_}", "ping").items() if name != "//"}
        for type_ in ("route", "integration", "integration_response", "route_response")
    }
    api = {"api_id": "${aws_apigatewayv2_api.websocket.id}"}
    assert of_ping == {
        "route": api
        | {
            "route_key": "ping",
            "target": "integrations/${aws_apigatewayv2_integration.ping.id}",
            "route_response_selection_expression": "$default",
            "depends_on": ["aws_apigatewayv2_integration_response.ping"],
        },
        "integration": api
        | {
            "integration_type": "MOCK",
            "template_selection_expression": "200",
            "request_templates": {"200": '{"statusCode":200}'},
        },
        "integration_response": api
        | {
            "integration_id": "${aws_apigatewayv2_integration.ping.id}",
            "integration_response_key": "$default",
            "template_selection_expression": "200",
            "response_templates": {"200": '{"slip":"pong"}'},
        },
        "route_response": api | {"route_id": "${aws_apigatewayv2_route.ping.id}", "route_response_key": "$default"},
    }


def test_control_api_speaks_the_format_that_its_function_reads(stack: Stack) -> None:
    assert stack.resource("apigatewayv2_integration", "control")["payload_format_version"] == "2.0"


def test_an_api_waits_as_long_as_its_function_may_take(stack: Stack) -> None:
    for address in ("websocket", "control"):
        waits_ms = stack.resource("apigatewayv2_integration", address)["timeout_milliseconds"]
        assert waits_ms >= 1000 * stack.resource("lambda_function", address)["timeout"]


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("websocket", "${aws_apigatewayv2_api.websocket.execution_arn}/live/*"),
        ("control", "${aws_apigatewayv2_api.control.execution_arn}/*/POST/*"),
    ],
)
def test_an_api_may_call_its_function_and_no_other_may(stack: Stack, address: str, source: str) -> None:
    permission = stack.resource("lambda_permission", address)
    assert permission["action"] == "lambda:InvokeFunction"
    assert permission["principal"] == "apigateway.amazonaws.com"
    assert permission["function_name"] == f"${{aws_lambda_function.{address}.function_name}}"
    assert permission["source_arn"] == source
    assert stack.config["resource"]["aws_lambda_permission"].keys() == {"websocket", "control"}


@pytest.mark.parametrize(("stage", "api", "name"), [("live", "websocket", "live"), ("control", "control", "$default")])
@pytest.mark.parametrize("stack_name", [STAGING, PRODUCTION])
def test_a_stage_is_deployed_by_itself_and_throttled(
    defaults: Synthesis, stack_name: str, stage: str, api: str, name: str
) -> None:
    resource = defaults.stack(stack_name).resource("apigatewayv2_stage", stage)
    assert resource["api_id"] == f"${{aws_apigatewayv2_api.{api}.id}}"
    assert resource["name"] == name
    assert resource["auto_deploy"] is True
    assert resource["default_route_settings"] == LIMITS[stack_name]
    assert "access_log_settings" not in resource


@pytest.mark.parametrize(("stage", "address"), [("live", "websocket"), ("control", "control")])
def test_access_logs_are_written_where_asked_for(all_options: Synthesis, stage: str, address: str) -> None:
    stack = all_options.stack(PRODUCTION)
    group = stack.resource("cloudwatch_log_group", f"{address}_access")
    assert group["name"] == f"/aws/vendedlogs/apigateway/slip-sockets-{address}"
    assert group["retention_in_days"] == 90
    settings = stack.resource("apigatewayv2_stage", stage)["access_log_settings"]
    assert settings["destination_arn"] == f"${{aws_cloudwatch_log_group.{address}_access.arn}}"
    fields = json.loads(settings["format"])
    assert {"requestId", "requestTime", "routeKey", "status", "integrationLatency"} <= fields.keys()
    assert fields == {field: f"$context.{field}" for field in fields}
