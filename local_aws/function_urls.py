"""Lambda's function URLs: `http://host/lambda-url/<id>/<path>` leads to a function, in payload format 2.0.

In AWS the id is in the host name; here all hosts are one.
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
"""

from __future__ import annotations

import http
import json
import logging
import re
from urllib.parse import urlsplit

from aiohttp import web

from slip_sockets.apigateway.http_events import http_event
from slip_sockets.apigateway.requests import ApiIdentity

from .apis import AwsApis
from .deployed import Deployed, Function
from .functions import Functions
from .http_apis import response_of
from .invocation import FunctionFailed, TooManyRequests

log = logging.getLogger("local_aws.edge")

_PATH = re.compile(r"/lambda-url/(?P<id>[0-9a-f]+)(?P<path>/.*)?")
FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, "
    "see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)
NEEDED_ACTIONS = {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
"""A function URL made since October 2025 needs both in the function's policy, also with AuthType NONE.
https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"""


class FunctionUrls:
    """All function URLs. `host` is this server's address with its port."""

    def __init__(self, apis: AwsApis, deployed: Deployed, functions: Functions, *, host: str) -> None:
        self._apis = apis
        self._deployed = deployed
        self._functions = functions
        self._host = host

    async def respond(self, request: web.Request, body: bytes) -> web.Response | None:
        """Return None where the path is not one of a function URL."""
        match = _PATH.fullmatch(request.path)
        if match is None:
            return None
        function = await self._apis.run(self._deployed.function_of_url, match["id"])
        if function is None or not is_public(function):
            return web.json_response({"Message": FORBIDDEN}, status=http.HTTPStatus.FORBIDDEN)
        event = http_event(
            ApiIdentity(match["id"], "$default", self._host),
            method=request.method,
            path=match["path"] or "/",
            query=urlsplit(request.raw_path).query,
            headers=request.headers.items(),
            source_ip=request.remote or "",
            body=body,
        )
        event["requestContext"] |= {"accountId": "anonymous"}
        try:
            outcome = await self._functions.invoke(function, json.dumps(event).encode())
            outcome.raise_for_error()
        except TooManyRequests as error:
            return web.json_response({"Message": str(error)}, status=http.HTTPStatus.TOO_MANY_REQUESTS)
        except FunctionFailed as error:
            log.warning("function URL of %s: %s", function.name, error)
            return web.Response(status=http.HTTPStatus.BAD_GATEWAY, text="Internal Server Error")
        return response_of(json.loads(outcome.payload))


def is_public(function: Function) -> bool:
    """Tell whether the resource policy lets everybody call the function's URL."""
    allowed = {
        statement["Action"]
        for statement in function.policy
        if statement["Effect"] == "Allow" and statement.get("Principal") in ("*", {"AWS": "*"})
    }
    return allowed >= NEEDED_ACTIONS
