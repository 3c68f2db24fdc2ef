"""The HTTP API of the control API: publishers that hold the secret call it."""

from __future__ import annotations

from constructs import Construct

from .access_logs import access_logs
from .aws import Apigatewayv2Api, Apigatewayv2Integration, Apigatewayv2Route, Apigatewayv2Stage
from .naming import named
from .python_function import PythonFunction

INTEGRATION_TIMEOUT_MS = 30_000
ROUTES = {"control_root": "POST /", "control": "POST /{proxy+}"}
ACCESS_LOG_FIELDS = (
    "requestId",
    "requestTime",
    "routeKey",
    "path",
    "status",
    "integration.status",
    "integrationLatency",
    "integrationErrorMessage",
)


class ControlApi(Construct):
    """An HTTP API that sends POSTs at any path to `function`. `url` and `api_id` are Terraform references."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        stack_name: str,
        function: PythonFunction,
        throttling_rate_limit: float,
        throttling_burst_limit: int,
        access_log_retention_days: int | None,
    ) -> None:
        super().__init__(scope, id_)
        api = named(Apigatewayv2Api(self, "api", name=f"{stack_name}-control", protocol_type="HTTP"), "control")
        permission = function.allow_api(f"{api.execution_arn}/*/POST/*")
        integration = named(
            Apigatewayv2Integration(
                self,
                "integration",
                api_id=api.id,
                integration_type="AWS_PROXY",
                integration_method="POST",
                integration_uri=function.invoke_arn,
                payload_format_version="2.0",
                timeout_milliseconds=INTEGRATION_TIMEOUT_MS,
                depends_on=[permission],
            ),
            "control",
        )
        for name, route_key in ROUTES.items():
            route = Apigatewayv2Route(
                self, name, api_id=api.id, route_key=route_key, target=f"integrations/{integration.id}"
            )
            named(route, name)
        stage = Apigatewayv2Stage(
            self,
            "stage",
            api_id=api.id,
            name="$default",
            auto_deploy=True,
            default_route_settings={
                "throttling_rate_limit": throttling_rate_limit,
                "throttling_burst_limit": throttling_burst_limit,
            },
            access_log_settings=access_logs(
                self,
                "control",
                stack_name=stack_name,
                fields=ACCESS_LOG_FIELDS,
                retention_days=access_log_retention_days,
            ),
        )
        named(stage, "control")
        self.url: str = api.api_endpoint
        self.api_id: str = api.id
