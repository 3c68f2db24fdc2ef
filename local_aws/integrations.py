"""Leads from a route of an API to its Lambda function, and invokes it."""

from __future__ import annotations

import asyncio
import http
import json
import logging
from typing import Any

from slip_sockets.apigateway.requests import ProxyEvent
from slip_sockets.dev.edge import IntegrationError

from .apis import AwsApis
from .deployed import Deployed, Function, Integration, Stage
from .functions import Functions
from .invocation import TooManyRequests
from .permissions import matches

log = logging.getLogger("local_aws.edge")


class IntegrationFailed(Exception):
    """The message says what is wrong with an integration. The client is told nothing of it."""


class Integrations:
    """Finds and invokes functions as they are deployed at the time of an event."""

    def __init__(self, apis: AwsApis, deployed: Deployed, functions: Functions, account_id: str) -> None:
        self._apis = apis
        self._deployed = deployed
        self._functions = functions
        self._account_id = account_id

    async def find(self, stage: Stage, route_key: str, source: str) -> tuple[Function, Integration]:
        """Return the function of a route. `source` is the route in the ARN that must be permitted to invoke it.

        Raises IntegrationError where the route has no function, or must not invoke it.
        """
        integration = stage.routes[route_key].integration
        why_not = "it has no integration"
        if integration is not None:
            why_not = "its integration is not an AWS_PROXY of a Lambda function"
            if isinstance(integration, Integration) and integration.function_arn is not None:
                function = await self._apis.run(self._deployed.function, integration.function_arn)
                source_arn = (
                    f"arn:aws:execute-api:{stage.region}:{self._account_id}:{stage.api_id}/{stage.name}/{source}"
                )
                why_not = f"the function {integration.function_arn} does not exist"
                if function is not None:
                    if _may_invoke(function, source_arn):
                        return function, integration
                    why_not = f"the policy of {function.name} does not let API Gateway invoke it from {source_arn}"
        log.error("API %s, route %s: %s", stage.api_id, route_key, why_not)
        raise IntegrationError(http.HTTPStatus.INTERNAL_SERVER_ERROR, "Internal server error")

    async def invoke(self, function: Function, integration: Integration, event: ProxyEvent) -> Any:
        """Return the function's response.

        Raises TimeoutError, FunctionFailed, or IntegrationError where Lambda refuses the event.
        """
        try:
            async with asyncio.timeout(integration.timeout_s):
                outcome = await self._functions.invoke(function, json.dumps(event).encode())
        except TooManyRequests:
            log.warning("%s: beyond the account's concurrency", function.name)
            raise IntegrationError(http.HTTPStatus.INTERNAL_SERVER_ERROR, "Internal server error") from None
        outcome.raise_for_error()
        return json.loads(outcome.payload)


def _may_invoke(function: Function, source_arn: str) -> bool:
    """Tell whether the resource policy lets API Gateway invoke a function from the route named by `source_arn`."""
    for statement in function.policy:
        service = statement.get("Principal", {}).get("Service")
        pattern = statement.get("Condition", {}).get("ArnLike", {}).get("AWS:SourceArn", "*")
        is_allowed = statement["Effect"] == "Allow" and statement["Action"] in ("lambda:InvokeFunction", "lambda:*")
        if is_allowed and service == "apigateway.amazonaws.com" and matches(pattern, source_arn):
            return True
    return False
