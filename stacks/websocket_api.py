"""The WebSocket API, to which clients connect."""

from __future__ import annotations

from cdktf import Fn
from constructs import Construct

from .access_logs import access_logs
from .aws import Apigatewayv2Api, Apigatewayv2Integration, Apigatewayv2Route, Apigatewayv2Stage
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
    """The API with its stage `live`. `route_to` connects its three routes to a function, or two of them to a queue.

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
                # Required. No route has a key of its own, so that every text message goes to $default.
                route_selection_expression="$request.body.action",
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
