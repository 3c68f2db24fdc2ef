"""Routes of WebSocket APIs with integrations of type MOCK: the client is answered, and what is wrong is logged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from .cloud import TIMEOUT_S, Api, Cloud

PING = '{"slip":"ping","n":7}'
REQUEST = '{"statusCode":200}'
OWN_ROUTE = {"RouteResponseSelectionExpression": "$default"}


class MockApi:
    """A WebSocket API with one route, `ping`. `integrate` makes it, with changes of its parts; None leaves one out."""

    def __init__(self, cloud: Cloud) -> None:
        self.client = cloud.client("apigatewayv2")
        self.api = cloud.api("WEBSOCKET", RouteSelectionExpression="$request.body.slip")
        self.api.stage("live", StageVariables={"kind": "test"})

    def integrate(
        self,
        *,
        request: dict[str, Any] | None = None,
        responses: dict[str, dict[str, Any]] | None = None,
        route: dict[str, Any] | None = None,
        has_route_response: bool = True,
    ) -> None:
        api: dict[str, Any] = {"ApiId": self.api.api_id}
        integration = {"TemplateSelectionExpression": "200", "RequestTemplates": {"200": REQUEST}} | (request or {})
        made = self.client.create_integration(**api, IntegrationType="MOCK", **given(integration))
        id_ = made["IntegrationId"]
        for key, changes in ({"$default": {}} if responses is None else responses).items():
            response = {"TemplateSelectionExpression": "200", "ResponseTemplates": {"200": "pong"}} | changes
            self.client.create_integration_response(
                **api, IntegrationId=id_, IntegrationResponseKey=key, **given(response)
            )
        options = OWN_ROUTE if route is None else route
        made = self.client.create_route(**api, RouteKey="ping", Target=f"integrations/{id_}", **options)
        if has_route_response:
            self.client.create_route_response(**api, RouteId=made["RouteId"], RouteResponseKey="$default")

    def answer(self) -> str:
        with connected(self.api) as client:
            client.send(PING)
            return str(client.recv(TIMEOUT_S))


def given(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def connected(api: Api) -> ClientConnection:
    return connect(f"{api.endpoint}/live", open_timeout=TIMEOUT_S)


@pytest.fixture
def mock(cloud: Cloud) -> MockApi:
    return MockApi(cloud)


def test_client_is_answered_as_the_templates_have_it(mock: MockApi) -> None:
    mock.integrate(responses={"$default": {"ResponseTemplates": {"200": "pong of $stageVariables.kind"}}})
    assert mock.answer() == "pong of test"


def test_default_templates_are_selected_where_nothing_else_is(mock: MockApi) -> None:
    mock.integrate(
        request={"TemplateSelectionExpression": None, "RequestTemplates": {"$default": REQUEST}},
        responses={"$default": {"TemplateSelectionExpression": "\\$default", "ResponseTemplates": {"$default": "yes"}}},
    )
    assert mock.answer() == "yes"


@pytest.mark.parametrize(("status", "answer"), [(200, "good"), (204, "good"), (404, "bad"), (500, "other")])
def test_response_is_selected_by_the_status(mock: MockApi, status: int, answer: str) -> None:
    mock.integrate(
        request={"RequestTemplates": {"200": f'{{"statusCode": {status}}}'}},
        responses={
            "$default": {"ResponseTemplates": {"200": "other"}},
            r"/2\d\d/": {"ResponseTemplates": {"200": "good"}},
            "/404/": {"ResponseTemplates": {"200": "bad"}},
        },
    )
    assert mock.answer() == answer


def test_request_templates_text_is_the_body_of_the_responses(mock: MockApi) -> None:
    mock.integrate(
        request={"RequestTemplates": {"200": """{"statusCode": 200, "n": $input.path('$.n')}"""}},
        responses={"$default": {"ResponseTemplates": {"200": "$input.path('$.n')"}}},
    )
    assert mock.answer() == "7"


def test_one_way_route_answers_nothing(mock: MockApi) -> None:
    mock.integrate(responses={}, route={}, has_route_response=False)
    with connected(mock.api) as client:
        client.send(PING)
        client.send("x")
        assert json.loads(client.recv(TIMEOUT_S))["message"] == "Forbidden"  # of the second text, which has no route


NO_STATUS = "statusCode should be an integer which defined in request template"
NOT_BOTH = "it has one of a route response and a route_response_selection_expression, not both"
FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "status is a text": ({"request": {"RequestTemplates": {"200": '{"statusCode":"200"}'}}}, NO_STATUS),
    "request is not JSON": ({"request": {"RequestTemplates": {"200": "OK"}}}, NO_STATUS),
    "text passes through": ({"request": {"RequestTemplates": None}}, NO_STATUS),
    "no request template": (
        {"request": {"RequestTemplates": {"other": REQUEST}, "PassthroughBehavior": "NEVER"}},
        "it has no request template 200, and its passthrough_behavior is NEVER",
    ),
    "request template": (
        {"request": {"RequestTemplates": {"200": "$context.nothing"}}},
        "its template: $context.nothing: API Gateway has no $context.nothing",
    ),
    "selection": (
        {"request": {"TemplateSelectionExpression": "${request.body.x}"}},
        r"the local AWS knows static template selection expressions, such as \$default",
    ),
    "no response": ({"responses": {}}, "it has no integration response for the status 200, and none for $default"),
    "another response": (
        {"responses": {"/4../": {}}},
        "it has no integration response for the status 200, and none for $default",
    ),
    "no response template": (
        {"responses": {"/200/": {"ResponseTemplates": {"other": "pong"}}}},
        "its integration response /200/ has no response template 200",
    ),
    "response template": (
        {"responses": {"$default": {"ResponseTemplates": {"200": "$input.params('x')"}}}},
        "its template: $input.params('x'): API Gateway has no $input.params in a WebSocket API",
    ),
    "no route response": ({"has_route_response": False}, NOT_BOTH),
    "no route response selection": ({"route": {}}, NOT_BOTH),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_is_wrong_is_logged_and_the_client_hears_of_a_failure(
    mock: MockApi, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    changes, problem = FAILURES[failure]
    mock.integrate(**changes)
    assert json.loads(mock.answer())["message"] == "Internal server error"
    found = [record.getMessage() for record in caplog.records if record.name == "local_aws.edge"]
    assert found == [f"API {mock.api.api_id}, route ping: {problem}"]


def test_connect_can_be_mocked(mock: MockApi) -> None:
    mock.integrate()
    routes = mock.client.get_routes(ApiId=mock.api.api_id)["Items"]
    mock.client.create_route(ApiId=mock.api.api_id, RouteKey="$connect", Target=routes[0]["Target"])
    assert mock.answer() == "pong"
