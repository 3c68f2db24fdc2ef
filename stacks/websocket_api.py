"""The WebSocket API, to which clients connect."""

from __future__ import annotations

from cdktf import Fn
from constructs import Construct

from slip_sockets.apigateway.routes import PING, PONG, ROUTE_SELECTION

from .access_logs import access_logs
from .aws import (
    Apigatewayv2Api,
    Apigatewayv2Integration,
    Apigatewayv2IntegrationResponse,
    Apigatewayv2Route,
    Apigatewayv2RouteResponse,
    Apigatewayv2Stage,
)
from .inbound_queue import InboundQueue, disconnect_template, text_template
from .naming import named
from .permissions import Allow
from .python_function import PythonFunction

STAGE = "live"
"""Not `$default`: a WebSocket stage of that name refuses the first connection with 429."""
INTEGRATION_TIMEOUT_MS = 29_000
ROUTES = {"connect": "$connect", "disconnect": "$disconnect", "default": "$default"}
ACCESS_LOG_FIELDS = (
    "requestId",
    "requestTime",
    "eventType",
    "routeKey",
    "connectionId",
    "status",
    "integration.status",
    "integrationLatency",
    "error.message",
)


class WebSocketApi(Construct):
    """The API with its stage `live`. It answers pings by itself. `route_to` connects its other three routes to a
    function, or two of them to a queue.

    Clients connect to `url`; functions reach them through `management_url`. Both are Terraform references, as are
    `api_id` and `stage_name`.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        stack_name: str,
        throttling_rate_limit: float,
        throttling_burst_limit: int,
        access_log_retention_days: int | None,
    ) -> None:
        super().__init__(scope, id_)
        self._api = named(
            Apigatewayv2Api(
                self,
                "api",
                name=f"{stack_name}-websocket",
                protocol_type="WEBSOCKET",
                route_selection_expression=ROUTE_SELECTION,
            ),
            "websocket",
        )
        stage = named(
            Apigatewayv2Stage(
                self,
                "stage",
                api_id=self._api.id,
                name=STAGE,
                auto_deploy=True,
                # If omitted, they may be stored as 0, and every connection is refused with 429.
                default_route_settings={
                    "throttling_rate_limit": throttling_rate_limit,
                    "throttling_burst_limit": throttling_burst_limit,
                },
                access_log_settings=access_logs(
                    self,
                    "websocket",
                    stack_name=stack_name,
                    fields=ACCESS_LOG_FIELDS,
                    retention_days=access_log_retention_days,
                ),
            ),
            STAGE,
        )
        self.api_id: str = self._api.id
        self.stage_name: str = stage.name
        self.url = f"{self._api.api_endpoint}/{stage.name}"
        self.management_url = f"{Fn.replace(self._api.api_endpoint, '/^ws/', 'http')}/{STAGE}"
        self._answer_pings()

    def route_to(self, function: PythonFunction, queue: InboundQueue, *, ordered: bool) -> None:
        """Send connects to `function`, and text messages and disconnects too, or with `ordered` to `queue`.

        The integrations with both always exist, so that a change of `ordered` changes nothing but the routes.
        """
        to_function = self._function_integration(function)
        texts = self._queue_integration("inbound_text", queue, text_template())
        disconnects = self._queue_integration("inbound_disconnect", queue, disconnect_template())
        targets = {
            "connect": to_function,
            "disconnect": disconnects if ordered else to_function,
            "default": texts if ordered else to_function,
        }
        for name, route_key in ROUTES.items():
            route = Apigatewayv2Route(
                self, name, api_id=self._api.id, route_key=route_key, target=f"integrations/{targets[name].id}"
            )
            named(route, name)

    def _answer_pings(self) -> None:
        """Make the route `ping`, with a constant response: no function runs.

        Both template selection expressions are constants: the key of the template.
        https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integration-responses.html
        https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-response.html
        """
        api_id = self._api.id
        integration = Apigatewayv2Integration(
            self,
            "ping_integration",
            api_id=api_id,
            integration_type="MOCK",
            template_selection_expression="200",
            request_templates={"200": '{"statusCode":200}'},
        )
        response = Apigatewayv2IntegrationResponse(
            self,
            "ping_integration_response",
            api_id=api_id,
            integration_id=named(integration, PING).id,
            integration_response_key="$default",
            template_selection_expression="200",
            response_templates={"200": PONG},
        )
        route = Apigatewayv2Route(
            self,
            PING,
            api_id=api_id,
            route_key=PING,
            target=f"integrations/{integration.id}",
            route_response_selection_expression="$default",
            depends_on=[named(response, PING)],
        )
        route_response = Apigatewayv2RouteResponse(
            self, "ping_route_response", api_id=api_id, route_id=named(route, PING).id, route_response_key="$default"
        )
        named(route_response, PING)

    def _function_integration(self, function: PythonFunction) -> Apigatewayv2Integration:
        permission = function.allow_api(f"{self._api.execution_arn}/{STAGE}/*")
        integration = Apigatewayv2Integration(
            self,
            "integration",
            api_id=self._api.id,
            integration_type="AWS_PROXY",
            integration_method="POST",
            integration_uri=function.invoke_arn,
            timeout_milliseconds=INTEGRATION_TIMEOUT_MS,
            depends_on=[permission],
        )
        return named(integration, "websocket")

    def _queue_integration(self, name: str, queue: InboundQueue, template: str) -> Apigatewayv2Integration:
        integration = Apigatewayv2Integration(
            self,
            name,
            api_id=self._api.id,
            integration_type="AWS",
            integration_method="POST",
            integration_uri=queue.send_uri,
            credentials_arn=queue.role_arn,
            request_parameters={"integration.request.header.Content-Type": "'application/x-www-form-urlencoded'"},
            template_selection_expression="\\$default",
            request_templates={"$default": template},
            passthrough_behavior="NEVER",
            depends_on=[queue.policy],
        )
        return named(integration, name)

    def manages(self, *methods: str) -> Allow:
        """Return the permission to call the management API, for any connection: ids are not known beforehand."""
        arn = f"{self._api.execution_arn}/{STAGE}"
        return Allow(["execute-api:ManageConnections"], [f"{arn}/{method}/@connections/*" for method in methods])
