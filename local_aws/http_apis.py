"""API Gateway's HTTP APIs: `http://host/<api>/<path>`, and `http://host/<api>/<stage>/<path>` of a named stage.

Each request finds its route, integration and function as they are deployed at that time.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html
"""

from __future__ import annotations

import base64
import http
import logging
import re
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from slip_sockets.apigateway.http_events import http_event
from slip_sockets.apigateway.requests import ApiIdentity
from slip_sockets.dev.edge import IntegrationError

from .apis import AwsApis
from .deployed import Deployed, Stage
from .edge_quotas import EdgeQuotas
from .integrations import Integrations
from .invocation import FunctionFailed

log = logging.getLogger("local_aws.edge")

DEFAULT_STAGE = "$default"
DEFAULT_ROUTE = "$default"


class HttpApis:
    """All HTTP APIs. `host` is this server's address with its port."""

    def __init__(
        self,
        apis: AwsApis,
        deployed: Deployed,
        integrations: Integrations,
        quotas: EdgeQuotas,
        *,
        account_id: str,
        host: str,
    ) -> None:
        self._apis = apis
        self._deployed = deployed
        self._integrations = integrations
        self._quotas = quotas
        self._account_id = account_id
        self._host = host

    async def respond(self, request: web.Request, body: bytes) -> web.Response:
        api_id, _, rest = request.path[1:].partition("/")
        named = rest.partition("/")[0]
        stage = await self._apis.run(self._deployed.stage, api_id, named)
        path = f"/{rest}"
        if stage is None:
            stage = await self._apis.run(self._deployed.stage, api_id, DEFAULT_STAGE)
            route_path = path
        else:
            route_path = path.removeprefix(f"/{named}") or "/"
        if stage is None or stage.protocol != "HTTP":
            return _message(http.HTTPStatus.NOT_FOUND, "Not Found")
        if stage.is_throttled or not self._quotas.take_request(stage):
            return _message(http.HTTPStatus.TOO_MANY_REQUESTS, "Too Many Requests")
        found = _route(stage, request.method, route_path)
        if found is None:
            return _message(http.HTTPStatus.NOT_FOUND, "Not Found")
        route_key, parameters = found
        event = http_event(
            ApiIdentity(api_id, stage.name, self._host),
            method=request.method,
            path=path,
            query=urlsplit(request.raw_path).query,
            headers=request.headers.items(),
            source_ip=request.remote or "",
            body=body,
        )
        event["routeKey"] = event["requestContext"]["routeKey"] = route_key
        event["requestContext"] |= {"stage": stage.name, "accountId": self._account_id}
        if parameters:
            event["pathParameters"] = parameters
        method, _, template = route_key.partition(" ")
        source = f"{request.method if method == 'ANY' else method}{template}" if template else DEFAULT_ROUTE
        try:
            function, integration = await self._integrations.find(stage, route_key, source)
            return response_of(await self._integrations.invoke(function, integration, event))
        except TimeoutError:
            return _message(http.HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable")
        except (IntegrationError, FunctionFailed) as error:
            log.warning("HTTP API %s, %s: %s", api_id, route_key, error)
            return _message(http.HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")


def _route(stage: Stage, method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Return the most specific route's key and its path's parameters: whole paths, then `{name+}`, then $default."""
    found: list[tuple[bool, int, bool, str, dict[str, str]]] = []
    for key in stage.routes:
        wanted, _, template = key.partition(" ")
        if not template or wanted not in (method, "ANY"):
            continue
        pattern = re.sub(r"\\\{(\w+)\\\+\\\}", r"(?P<\1>.+)", re.escape(template))
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern)
        match = re.fullmatch(pattern, path)
        if match is not None:
            found.append(("+}" in template, -len(template), wanted == "ANY", key, match.groupdict()))
    if found:
        return min(found)[3:]
    return (DEFAULT_ROUTE, {}) if DEFAULT_ROUTE in stage.routes else None


def response_of(returned: Any) -> web.Response:
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html"""
    if not isinstance(returned, dict) or "statusCode" not in returned:
        return web.json_response(returned)
    body = returned.get("body") or ""
    raw = base64.b64decode(body) if returned.get("isBase64Encoded") else body.encode()
    headers = {"Content-Type": "text/plain;charset=UTF-8"} | {
        name.title(): str(value) for name, value in (returned.get("headers") or {}).items()
    }
    response = web.Response(status=int(returned["statusCode"]), body=raw, headers=headers)
    for cookie in returned.get("cookies") or ():
        response.headers.add("Set-Cookie", cookie)
    return response


def _message(status: http.HTTPStatus, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
