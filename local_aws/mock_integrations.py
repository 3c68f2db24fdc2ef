"""API Gateway's integrations of type MOCK: it answers a text by itself, from templates.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integration-responses.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-selection-expressions.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from slip_sockets.apigateway.requests import ProxyEvent, ProxyResponse

from .deployed import IntegrationResponse, MockIntegration, Stage
from .integrations import IntegrationFailed
from .service_integrations import rendered, request_of, template_key


def mock_response(integration: MockIntegration, stage: Stage, event: ProxyEvent, *, is_two_way: bool) -> ProxyResponse:
    """Return what an integration responds to an event, as a function would; its body is empty if not `is_two_way`.

    Raises IntegrationFailed.
    """
    behavior = integration.passthrough_behavior
    request = request_of(integration.request_templates, behavior, stage, event, disconnect_codes=False)
    status = _status_of(request)
    if not is_two_way:
        return {"statusCode": status, "body": ""}
    response = _selected(integration.responses, status)
    key = template_key(response.templates)
    if key not in response.templates.by_key:
        raise IntegrationFailed(f"its integration response {response.key} has no response template {key}")
    return {
        "statusCode": status,
        "body": rendered(response.templates.by_key[key], request, stage, event, disconnect_codes=False),
    }


def _status_of(request: str) -> int:
    """The message is API Gateway's own."""
    try:
        status = json.loads(request)["statusCode"]
    except (ValueError, TypeError, LookupError, RecursionError):
        status = None
    if type(status) is not int:
        raise IntegrationFailed("statusCode should be an integer which defined in request template")
    return status


def _selected(responses: Sequence[IntegrationResponse], status: int) -> IntegrationResponse:
    """Return the response whose key `/expression/` matches the status, otherwise that with the key $default."""
    for response in responses:
        if response.key.startswith("/") and re.fullmatch(response.key.strip("/"), str(status)):
            return response
    for response in responses:
        if response.key == "$default":
            return response
    raise IntegrationFailed(f"it has no integration response for the status {status}, and none for $default")
