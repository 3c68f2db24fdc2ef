"""One port with AWS's APIs, and with the edges of the APIs that were deployed through them."""

from __future__ import annotations

import asyncio
import re
import time
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from slip_sockets.dev.front_door import FrontDoor

from .api_request import ApiRequest, ApiResponse, error_response, invoked_function
from .apis import AwsApis
from .delays import DelayedDeployed
from .edge_quotas import EdgeQuotas
from .function_urls import FunctionUrls
from .functions import Functions
from .host import Host
from .http_apis import HttpApis
from .integrations import Integrations
from .invocation import TooManyRequests
from .kept_connections import KeptConnections
from .logs import FunctionLogs
from .management import ManagementApi
from .moto_patches import MotoPatches
from .permissions import AccessControl
from .poller import Poller
from .provisioned_concurrency import ProvisionedConcurrency
from .quotas import Quotas
from .runtime_python import RuntimePython
from .service_integrations import ServiceIntegrations
from .settings import LocalAwsSettings
from .signatures import FIXED_KEY, FIXED_KEY_ID, KnownKey, SignatureCheck
from .websocket_apis import WebSocketApis

MAX_BODY_BYTES = 100 * 1024 * 1024
"""The largest body is a function's zip in base64."""
BACKLOG = 1024

MOTO_PATHS = "/moto-api/"
"""Not of AWS: moto's page of what it holds."""

_API_ID = re.compile(r"/(?P<id>[a-z0-9]{8,10})(?=/|\?|$)")
_OWN_HEADERS = {"content-length", "transfer-encoding", "connection", "date", "server"}
"""Headers that this server sets itself."""


async def start_server(settings: LocalAwsSettings) -> Server:
    """Raises OSError where the port is not available, ValueError where `runtime_python` cannot run functions."""
    python = await asyncio.to_thread(RuntimePython, settings.runtime_python)
    server: Server  # made below: it needs the port, which the listener takes
    listener = await asyncio.get_running_loop().create_server(
        lambda: server.door.new_connection(),  # noqa: PLW0108 - the server does not exist yet
        "127.0.0.1",
        settings.port,
        backlog=BACKLOG,
        start_serving=False,
    )
    server = Server(python, listener, settings)
    try:
        await server.start()
    except OSError:
        await server.aclose()
        raise
    return server


class Server:
    """All parts together, around a listener that has its port and does not serve yet."""

    def __init__(self, python: RuntimePython, listener: asyncio.Server, settings: LocalAwsSettings) -> None:
        account_id, strictness, clock = settings.account_id, settings.strictness, settings.clock
        self.port = listener.sockets[0].getsockname()[1]
        host = f"127.0.0.1:{self.port}"
        url = f"http://{host}"
        self._listener = listener
        self._kept_connections = KeptConnections()
        self._account_id = account_id
        provisioned = ProvisionedConcurrency(account_id, alias_move_s=strictness.alias_move_s)
        patches = MotoPatches(
            account_id,
            lambda api_id, protocol: f"{'ws' if protocol == 'WEBSOCKET' else 'http'}://{host}/{api_id}",
            lambda url_id: f"{url}/lambda-url/{url_id}/",
            python.why_not_run,
            provisioned,
            strictness.concurrency,
        )
        self._deployed = deployed = DelayedDeployed(
            account_id,
            url,
            patches.logging,
            provisioned,
            iam_delay_s=strictness.iam_delay_s,
            deploy_delay_s=strictness.deploy_delay_s,
            clock=clock,
        )
        self.access = access = AccessControl(
            account_id, deployed.policies, deployed.user, key_lifetime_s=strictness.key_lifetime_s
        )
        self._signatures = SignatureCheck(self._find_key, lambda: time.time() + strictness.clock_shift_s)
        self.apis = apis = AwsApis(account_id, host, access, deployed, patches, Quotas(settings.quotas, clock))
        self._logs = FunctionLogs(apis, access, account_id)
        self.functions = functions = Functions(
            Host(
                python,
                access,
                self._logs.write,
                url,
                on_frozen=(lambda key: self._kept_connections.reset(key.key_id)) if strictness.freeze else None,
            ),
            max_environments=settings.max_environments,
            concurrency=strictness.concurrency,
        )
        edge_quotas = EdgeQuotas(strictness, clock)
        integrations = Integrations(apis, deployed, functions, account_id)
        service_integrations = ServiceIntegrations(
            apis, deployed, access, account_id=account_id, url=url, disconnect_codes=strictness.disconnect_codes
        )
        self._websocket_apis = WebSocketApis(
            apis, deployed, integrations, service_integrations, edge_quotas, host=host, limits=settings.limits
        )
        self._http_apis = HttpApis(apis, deployed, integrations, edge_quotas, account_id=account_id, host=host)
        self._function_urls = FunctionUrls(apis, deployed, functions, host=host)
        self.management = ManagementApi(apis, deployed, access, self._signatures, self._websocket_apis, edge_quotas)
        self._poller = Poller(apis, deployed, functions, access, host)
        self.door = FrontDoor(self._websocket_apis.new_socket, self._http_server)
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self.door.middleware])
        app.router.add_route("*", "/{tail:.*}", self._respond)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        await self._runner.setup()
        await self._listener.start_serving()

    async def aclose(self) -> None:
        """Close all sockets, let their functions handle the disconnects, and stop. Until then everything works."""
        await self._websocket_apis.aclose()
        await self._poller.aclose()
        await self.functions.aclose()
        await self._logs.aclose()
        self._listener.close()
        self.door.close()
        await self._runner.cleanup()
        await self._listener.wait_closed()
        await self.apis.aclose()

    def _http_server(self) -> asyncio.BaseProtocol:
        if self._runner.server is None:
            raise AssertionError("a runner has its server once it is set up")
        return self._runner.server()

    async def _respond(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        signed = ApiRequest(request.method, request.raw_path, headers, await request.read())
        with self._kept_connections.in_use(signed.access_key, request.transport):
            return await self._respond_to(request, signed)

    async def _respond_to(self, request: web.Request, signed: ApiRequest) -> web.Response:
        if signed.service in (None, "execute-api") and await self._is_for_an_api(signed):
            response = await self.management.respond(request, signed)
            return response or await self._http_apis.respond(request, signed.body)
        if signed.service is None and (response := await self._function_urls.respond(request, signed.body)) is not None:
            return response
        refusal = None if signed.path.startswith(MOTO_PATHS) else await self._signatures.refusal(signed)
        of_aws = await self._call_aws(signed) if refusal is None else refusal.response(signed)
        kept = {name: value for name, value in of_aws.headers.items() if name.lower() not in _OWN_HEADERS}
        return web.Response(status=of_aws.status, body=of_aws.body, headers=kept)

    async def _find_key(self, key_id: str) -> KnownKey | None:
        if key_id == FIXED_KEY_ID:
            return FIXED_KEY
        issued = self.access.issued(key_id)
        if issued is not None:
            return KnownKey(issued.secret, issued.session_token, issued.expires_at)
        of_iam = await self.apis.run(self._deployed.secret_key, key_id)
        return None if of_iam is None else KnownKey(*of_iam)

    async def _is_for_an_api(self, request: ApiRequest) -> bool:
        match = _API_ID.match(request.target)
        if match is None:
            return False
        is_signed = request.service is not None
        return is_signed or await self.apis.run(self._deployed.api_protocol, match["id"]) is not None

    async def _call_aws(self, request: ApiRequest) -> ApiResponse:
        if request.service == "lambda" and (function := invoked_function(request)) is not None:
            return await self._invoke(request, function)
        response = await self.apis.call(request)
        if request.service == "lambda" and request.method != "GET":
            await self._stop_unused_functions()
        return response

    async def _stop_unused_functions(self) -> None:
        for arn in self.functions.known:
            if await self.apis.run(self._deployed.function, arn) is None:
                await self.functions.forget(arn)
            elif not await self.apis.run(self._deployed.is_in_use, arn):
                self.functions.retire(arn)

    async def _invoke(self, request: ApiRequest, name: str) -> ApiResponse:
        """Lambda's Invoke, synchronous only. moto runs functions in Docker only."""
        if request.headers.get("x-amz-invocation-type", "RequestResponse") != "RequestResponse":
            return error_response(request, 400, "InvalidParameterValueException", "the local AWS invokes synchronously")
        denial = await self.apis.run(self.access.check_request, request)
        if denial is not None:
            return denial.response(request)
        prefix = f"arn:aws:lambda:{request.region}:{self._account_id}:function:"
        qualifiers = parse_qs(urlsplit(request.target).query).get("Qualifier", [])
        arn = ":".join([name if name.startswith("arn:") else prefix + name, *qualifiers])
        function = await self.apis.run(self._deployed.function, arn)
        if function is None:
            return error_response(request, 404, "ResourceNotFoundException", f"Function not found: {arn}")
        try:
            outcome = await self.functions.invoke(function, request.body or b"{}")
        except TooManyRequests as error:
            return error_response(request, 429, "TooManyRequestsException", str(error))
        headers = {"Content-Type": "application/json", "X-Amz-Executed-Version": function.version}
        if outcome.error is not None:
            headers["X-Amz-Function-Error"] = outcome.error
        return ApiResponse(200, outcome.payload, headers)
