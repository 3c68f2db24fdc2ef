"""API Gateway's management API: `http://host/<api>/<stage>/@connections/<connection>`."""

from __future__ import annotations

import http
import re
from collections.abc import Callable
from typing import Literal

from aiohttp import web

from slip_sockets.dev.management_api import answer_management_call

from .api_request import ApiRequest, Refusal
from .apis import AwsApis
from .deployed import Deployed
from .edge_quotas import EdgeQuotas
from .kept_connections import reset
from .permissions import AccessControl, Denial
from .signatures import SignatureCheck
from .websocket_apis import WebSocketApis

ManagementFault = Callable[[str, str], http.HTTPStatus | Literal["reset"] | None]
"""Returns for the method and connection id of a call the status with which it fails, `reset` to reset its TCP
connection without a response, None to let it succeed."""

_PATH = re.compile(r"/(?P<api>[a-z0-9]+)/(?P<stage>[^/]+)/@connections/(?P<connection>[^/]+)")


class ManagementApi:
    """The management APIs of all WebSocket APIs. A test may set `fault`."""

    def __init__(
        self,
        apis: AwsApis,
        deployed: Deployed,
        access: AccessControl,
        signatures: SignatureCheck,
        websocket_apis: WebSocketApis,
        quotas: EdgeQuotas,
    ) -> None:
        self.fault: ManagementFault = lambda method, connection_id: None
        self._apis = apis
        self._deployed = deployed
        self._access = access
        self._signatures = signatures
        self._websocket_apis = websocket_apis
        self._quotas = quotas

    async def respond(self, request: web.Request, signed: ApiRequest) -> web.Response | None:
        """Return None where the path is not one of the management API."""
        match = _PATH.fullmatch(request.path)
        if match is None:
            return None
        stage = await self._apis.run(self._deployed.stage, match["api"], match["stage"])
        edge = await self._websocket_apis.edge(match["api"], match["stage"])
        if stage is None or edge is None:
            return web.json_response({"message": "Forbidden"}, status=http.HTTPStatus.FORBIDDEN)
        refusal = await self._signatures.refusal(signed, stage.region)
        denial: Refusal | Denial | None = refusal or await self._apis.run(
            self._access.check_connections_call, signed, stage.region, stage.api_id, stage.name
        )
        if denial is not None:
            error = denial.response(signed)
            return web.Response(status=error.status, body=error.body, headers=error.headers)
        if not self._quotas.take_call(stage):
            return web.json_response(
                {"message": "Too Many Requests"},
                status=http.HTTPStatus.TOO_MANY_REQUESTS,
                headers={"x-amzn-ErrorType": "LimitExceededException"},
            )
        fault = self.fault(request.method, match["connection"])
        if fault == "reset":
            if request.transport is not None:
                reset(request.transport)
            return web.Response()  # never sent
        if fault is not None:
            return web.json_response({"message": "a fault of the local AWS"}, status=fault)
        return await answer_management_call(edge, match["connection"], request)
