"""API Gateway's integrations of type AWS: an event becomes a message of an SQS queue, sent with the integration's role.

https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-data-transformations.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-data-mapping.html
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from slip_sockets.apigateway.requests import ProxyEvent

from .api_request import ApiRequest
from .apis import AwsApis
from .deployed import Deployed, ServiceIntegration, Stage, Statement, Templates
from .integrations import IntegrationFailed
from .mapping_templates import TemplateFailed, render
from .permissions import API_GATEWAY_SESSION, AccessControl, AccessKey, matches

DEFAULT_TEMPLATE = r"\$default"
FORM = "application/x-www-form-urlencoded"

_QUEUE_URI = re.compile(r"arn:aws[a-z-]*:apigateway:(?P<region>[^:]+):sqs:path/(?P<account>\d+)/(?P<name>[\w.-]+)")
_CONTENT_TYPE = "integration.request.header.content-type"
_FIELDS = {"MessageBody", "MessageGroupId", "MessageDeduplicationId", "DelaySeconds"}


class ServiceIntegrations:
    """Sends events into queues. `url` is this server's; `disconnect_codes` is that of `Strictness`."""

    def __init__(
        self,
        apis: AwsApis,
        deployed: Deployed,
        access: AccessControl,
        *,
        account_id: str,
        url: str,
        disconnect_codes: bool,
    ) -> None:
        self._apis = apis
        self._deployed = deployed
        self._access = access
        self._account_id = account_id
        self._url = url
        self._disconnect_codes = disconnect_codes
        self._keys: dict[str, AccessKey] = {}

    async def call(self, stage: Stage, integration: ServiceIntegration, event: ProxyEvent) -> None:
        """Send an event as the integration of its route has it. Raises TimeoutError and IntegrationFailed."""
        async with asyncio.timeout(integration.timeout_s):
            await self._send(stage, integration, event)

    async def _send(self, stage: Stage, integration: ServiceIntegration, event: ProxyEvent) -> None:
        queue = _QUEUE_URI.fullmatch(integration.uri)
        if queue is None:
            raise IntegrationFailed(f"the URI {integration.uri} is not that of an SQS queue, the only one known here")
        if queue["account"] != self._account_id:
            raise IntegrationFailed(f"the queue of {integration.uri} belongs to another account")
        message = message_of(integration, stage, event, disconnect_codes=self._disconnect_codes)
        key = await self._assume(integration.credentials_arn)
        scope = f"20000101/{queue['region']}/sqs/aws4_request"
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": "AmazonSQS.SendMessage",
            "authorization": f"AWS4-HMAC-SHA256 Credential={key.key_id}/{scope}",
        }
        body = {"QueueUrl": f"{self._url}/{self._account_id}/{queue['name']}"} | message
        response = await self._apis.call(ApiRequest("POST", "/", headers, json.dumps(body).encode()))
        if not response.ok:
            why_not = json.loads(response.body).get("message")
            raise IntegrationFailed(f"SQS did not take a message for the queue {queue['name']}: {why_not}")

    async def _assume(self, role_arn: str | None) -> AccessKey:
        if role_arn is None:
            raise IntegrationFailed("it has no credentials_arn, the role that may send to the queue")
        trust = await self._apis.run(self._deployed.trust, role_arn)
        if trust is None:
            raise IntegrationFailed(f"the role {role_arn} does not exist")
        if not _lets_api_gateway_assume(trust):
            raise IntegrationFailed(f"the trust policy of {role_arn} does not let apigateway.amazonaws.com assume it")
        if role_arn not in self._keys:
            self._keys[role_arn] = self._access.issue(role_arn, API_GATEWAY_SESSION)
        return self._keys[role_arn]


def message_of(
    integration: ServiceIntegration, stage: Stage, event: ProxyEvent, *, disconnect_codes: bool
) -> dict[str, Any]:
    """Return the parameters of SQS's SendMessage that an integration makes of an event.

    Raises IntegrationFailed.
    """
    content_type = _content_type(integration.request_parameters)
    text = request_of(
        integration.request_templates,
        integration.passthrough_behavior,
        stage,
        event,
        disconnect_codes=disconnect_codes,
    )
    if content_type.partition(";")[0] != FORM:
        raise IntegrationFailed(f"its Content-Type is {content_type}, and SQS takes {FORM}")
    return _parameters(text)


def request_of(
    templates: Templates, passthrough_behavior: str, stage: Stage, event: ProxyEvent, *, disconnect_codes: bool
) -> str:
    """Return what the selected template makes of an event: its text where none is, and it may pass through.

    Raises IntegrationFailed.
    """
    text = str(event.get("body") or "")
    key = template_key(templates)
    if key in templates.by_key:
        return rendered(templates.by_key[key], text, stage, event, disconnect_codes=disconnect_codes)
    if passthrough_behavior == "NEVER" or (passthrough_behavior == "WHEN_NO_TEMPLATES" and templates.by_key):
        raise IntegrationFailed(
            f"it has no request template {key}, and its passthrough_behavior is {passthrough_behavior}"
        )
    return text


def template_key(templates: Templates) -> str:
    """Return the key that the selection expression has. Raises IntegrationFailed."""
    expression = templates.selection_expression or DEFAULT_TEMPLATE
    key = expression.removeprefix("\\")
    if key.startswith("$") and key == expression:
        raise IntegrationFailed(
            rf"the local AWS knows static template selection expressions, such as {DEFAULT_TEMPLATE}"
        )
    return key


def rendered(template: str, text: str, stage: Stage, event: ProxyEvent, *, disconnect_codes: bool) -> str:
    """Raises IntegrationFailed."""
    try:
        return render(
            template,
            body=text,
            context=event["requestContext"],
            stage_variables=stage.variables,
            disconnect_codes=disconnect_codes,
        )
    except TemplateFailed as failed:
        raise IntegrationFailed(f"its template: {failed}") from failed


def _content_type(request_parameters: Mapping[str, str]) -> str:
    """Return the Content-Type of the request: API Gateway's own is JSON."""
    found = "application/json"
    for name, value in request_parameters.items():
        if name.lower() != _CONTENT_TYPE or not (value.startswith("'") and value.endswith("'")):
            raise IntegrationFailed(f"the local AWS cannot set the request parameter {name} to {value}")
        found = value[1:-1]
    return found


def _parameters(form: str) -> dict[str, Any]:
    try:
        fields = parse_qsl(form, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError as error:
        raise IntegrationFailed(f"what its template renders is not a form: {error}") from None
    parameters: dict[str, Any] = dict(fields)
    if len(parameters) < len(fields):
        raise IntegrationFailed("what its template renders has a field twice")
    parameters.pop("Version", None)
    if (action := parameters.pop("Action", None)) != "SendMessage":
        raise IntegrationFailed(f"the Action that its template renders is {action}; the local AWS knows SendMessage")
    if unknown := sorted(parameters.keys() - _FIELDS):
        raise IntegrationFailed(f"the local AWS does not know what its template renders: {', '.join(unknown)}")
    if "DelaySeconds" in parameters:
        if not parameters["DelaySeconds"].isdecimal():
            raise IntegrationFailed("the DelaySeconds that its template renders are not a number")
        parameters["DelaySeconds"] = int(parameters["DelaySeconds"])
    return parameters


def _lets_api_gateway_assume(trust: Sequence[Statement]) -> bool:
    """Tell whether a trust policy lets API Gateway assume its role; a condition is none that API Gateway meets."""
    found = False
    for statement in trust:
        actions, services = (
            [value] if isinstance(value, str) else value
            for value in (statement.get("Action", []), statement.get("Principal", {}).get("Service", []))
        )
        is_for_it = "apigateway.amazonaws.com" in services and any(
            matches(action.lower(), "sts:assumerole") for action in actions
        )
        if is_for_it and statement["Effect"] == "Deny":
            return False
        found |= is_for_it and "Condition" not in statement
    return found
