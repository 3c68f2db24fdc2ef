"""The local AWS: one port with AWS's APIs and the edges of what was deployed through them."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from slip_sockets.dev.edge import Limits
from slip_sockets.dev.front_door import FrontDoor

from .amendments import Amendments
from .apis import ApiFault, AwsApis
from .deployed import Deployed
from .edges import Edges, ManagementFault
from .logs import FunctionLogs
from .permissions import Judgement, Permissions
from .poller import Poller
from .runtime import Lambda, RuntimePython
from .wire import DEFAULT_REGION, ApiAnswer, ApiRequest, error_answer, invoked_function

log = logging.getLogger("local_aws")

MAX_BODY_BYTES = 100 * 1024 * 1024
"""A function's zip, in base64, is the largest thing that comes."""
BACKLOG = 1024

_API_ID = re.compile(r"/(?P<id>[a-z0-9]{8,10})(?=/|\?|$)")


@dataclass(frozen=True, slots=True)
class LocalAwsSettings:
    """`port` 0 takes a free one. `runtime_python` has awslambdaric and boto3, and nothing of the project.

    Local AWS of different accounts know nothing of each other; moto's state is the process's, so two of one account in
    one process would share theirs.
    """

    runtime_python: Path
    port: int = 4566
    account_id: str = "000000000000"
    region: str = DEFAULT_REGION
    limits: Limits = field(default_factory=Limits)
    max_environments: int = 8
    """Of each function."""


class LocalAws:
    """A local AWS in a thread of its own: `with LocalAws(settings) as aws: ...`."""

    def __init__(self, settings: LocalAwsSettings) -> None:
        self.settings = settings
        self.port = settings.port
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="local-aws", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._server: _Server

    def __enter__(self) -> LocalAws:
        self._thread.start()
        self._started.result()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead boto3 and Terraform here, and away from whoever's real account."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": self.settings.region,
            "AWS_DEFAULT_REGION": self.settings.region,
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def judgements(self) -> Counter[Judgement]:
        """What functions asked for since the start, and whether their roles allowed it."""
        return self._server.permissions.judgements.copy()

    def environments(self, function_arn: str) -> int:
        """How many processes a function has now."""
        return self._server.functions.environments(function_arn)

    # Faults

    def kill(self, function_arn: str) -> None:
        """End a function's processes where they stand."""
        self._loop.call_soon_threadsafe(self._server.functions.kill, function_arn)

    def set_management_fault(self, fault: ManagementFault) -> None:
        """Have calls of the management API fail from now on, as `fault` says; it runs in this AWS's thread."""
        self._server.edges.management_fault = fault

    def set_api_fault(self, fault: ApiFault) -> None:
        """Have functions' calls of AWS's other APIs fail from now on; it runs in moto's thread."""
        self._server.apis.fault = fault

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            self._server = server = await _start(self.settings)
        except BaseException as error:  # noqa: BLE001 - the thread that waits is told
            self._started.set_exception(error)
            return
        self.port = server.port
        self._started.set_result(None)
        try:
            await self._stop.wait()
        finally:
            await server.aclose()


async def _start(settings: LocalAwsSettings) -> _Server:
    """Raises OSError where the port cannot be had, ValueError where `runtime_python` will not do."""
    python = await asyncio.to_thread(RuntimePython, settings.runtime_python)
    server: _Server  # needs the port, which the listener takes
    listener = await asyncio.get_running_loop().create_server(
        lambda: server.new_connection(),  # noqa: PLW0108 - there is no server yet
        "127.0.0.1",
        settings.port,
        backlog=BACKLOG,
        start_serving=False,
    )
    server = _Server(settings, python, listener)
    try:
        await server.start()
    except OSError:
        await server.aclose()
        raise
    return server


class _Server:
    """The parts, put together around a listener that has its port and does not serve yet."""

    def __init__(self, settings: LocalAwsSettings, python: RuntimePython, listener: asyncio.Server) -> None:
        self.port = listener.sockets[0].getsockname()[1]
        host = f"127.0.0.1:{self.port}"
        url = f"http://{host}"
        self._listener = listener
        self._doors: dict[FrontDoor, None] = {}
        self._account_id = account_id = settings.account_id
        amendments = Amendments(
            account_id,
            lambda api_id, protocol: f"{'ws' if protocol == 'WEBSOCKET' else 'http'}://{host}/{api_id}",
            python.why_not_run,
        )
        self._deployed = deployed = Deployed(account_id, url, amendments.logging)
        self.permissions = permissions = Permissions(account_id, deployed.policies)
        self.apis = apis = AwsApis(account_id, host, permissions, amendments)
        self._logs = FunctionLogs(apis, permissions, account_id)
        self.functions = functions = Lambda(
            python, permissions, self._logs.write, url=url, max_environments=settings.max_environments
        )
        self.edges = Edges(
            apis, deployed, functions, permissions, account_id=account_id, host=host, limits=settings.limits
        )
        self._poller = Poller(apis, deployed, functions, permissions, host)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        await self._runner.setup()
        await self._listener.start_serving()

    async def aclose(self) -> None:
        """Close all sockets, tell their functions, and stop. Until they are told, functions find everything here."""
        await self.edges.aclose()
        await self._poller.aclose()
        await self.functions.aclose()
        await self._logs.aclose()
        self._listener.close()
        await self._runner.cleanup()
        for door in self._doors:
            door.abort()
        await self._listener.wait_closed()
        await self.apis.aclose()

    def new_connection(self) -> FrontDoor:
        return FrontDoor(self.edges.new_socket, self._http_server, self._doors)

    def _http_server(self) -> asyncio.BaseProtocol:
        if self._runner.server is None:
            raise AssertionError("a runner has its server once it is set up")
        return self._runner.server()

    async def _answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        signed = ApiRequest(request.method, request.raw_path, headers, await request.read())
        if signed.service in (None, "execute-api") and await self._is_for_an_api(signed):
            return await self.edges.answer_http(request, signed)
        if signed.service == "lambda" and (function := invoked_function(signed)) is not None:
            answer = await self._invoke(signed, function)
        else:
            answer = await self.apis.call(signed)
            if signed.service == "lambda" and signed.method == "DELETE":
                await self._stop_deleted_functions()
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server")
        }
        return web.Response(status=answer.status, body=answer.body, headers=kept)

    async def _is_for_an_api(self, request: ApiRequest) -> bool:
        match = _API_ID.match(request.target)
        if match is None:
            return False
        is_signed = request.service is not None
        return is_signed or await self.apis.run(self._deployed.api_protocol, match["id"]) is not None

    async def _stop_deleted_functions(self) -> None:
        for arn in self.functions.known:
            if await self.apis.run(self._deployed.function, arn) is None:
                await self.functions.forget(arn)

    async def _invoke(self, request: ApiRequest, name: str) -> ApiAnswer:
        """Lambda's own Invoke, of which moto knows only Docker. Asynchronous invocations are not there."""
        if request.headers.get("x-amz-invocation-type", "RequestResponse") != "RequestResponse":
            return error_answer(request, 400, "InvalidParameterValueException", "the local AWS invokes synchronously")
        denied = await self.apis.run(self.permissions.check_request, request)
        if denied is not None:
            return error_answer(request, denied.status, "AccessDeniedException", denied.message)
        prefix = f"arn:aws:lambda:{request.region}:{self._account_id}:function:"
        function = await self.apis.run(self._deployed.function, name if name.startswith("arn:") else prefix + name)
        if function is None:
            return error_answer(request, 404, "ResourceNotFoundException", f"Function not found: {prefix}{name}")
        outcome = await self.functions.invoke(function, request.body or b"{}")
        headers = {"Content-Type": "application/json", "X-Amz-Executed-Version": "$LATEST"}
        if outcome.error is not None:
            headers["X-Amz-Function-Error"] = outcome.error
        return ApiAnswer(200, outcome.payload, headers)
