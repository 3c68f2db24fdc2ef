"""The development server: one port with the WebSocket API, the control API and the management API."""

from __future__ import annotations

import asyncio
import errno
import http
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from aiohttp import web

from ..errors import InvalidSettings
from ..gateway.backend import TIMEOUT_S, Backend
from ..gateway.gateway import Gateway
from ..gateway.ports import ConnectionStore, HttpClient, Management, Queue, SystemClock
from ..gateway.proxy import ProxyEvent, ProxyResponse, response
from ..tokens import mint
from .edge import Edge, Function, Limits, ManagementError
from .front_door import FrontDoor
from .http_client import AiohttpClient
from .http_server import http_log, read_body
from .inspector.inspector import Inspector
from .inspector.routes import PREFIX, Serving
from .management import EdgeManagement, management_routes
from .memory import MemoryConnectionStore
from .proxy_events import ApiIdentity, http_event
from .queue import MemoryQueue

log = logging.getLogger("slip_sockets.dev")

MAX_CONTROL_BYTES = 10 * 1024 * 1024
"""An HTTP API's largest payload. https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""
MAX_CONTROL_EVENT_BYTES = 6 * 1024 * 1024
"""The largest event, body and all, with which Lambda invokes a function.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
CONTROL_TIMEOUT_S = 30.0
IDLE_CONNECTION_S = 75.0
"""How long a kept connection may be without a whole request: a head that comes slowly counts as none."""
BACKLOG = 1024
STOP_PATIENCE_S = 5.0
"""How long stopping waits for the backend to be told who has left."""


@dataclass(frozen=True, slots=True)
class DevSettings:
    """What a development server needs to know. `port` 0 takes a free one. `outputs_path` is written at start.

    With `inspector` there is a page at `/_inspector` that shows what happens and can act, for whoever reaches it.
    """

    target_url: str
    jwt_secret: str
    previous_secrets: Sequence[str] = ()
    stack_name: str = "slip-sockets"
    host: str = "127.0.0.1"
    port: int = 8787
    limits: Limits = field(default_factory=Limits)
    backend_timeout_s: float = TIMEOUT_S
    outputs_path: Path | None = None
    inspector: bool = False


class DevServer:
    """A whole deployment in this process: `async with DevServer(settings) as server`. Many may run at once."""

    def __init__(self, settings: DevSettings) -> None:
        self.settings = settings
        self._clock = SystemClock()
        self.store = MemoryConnectionStore(self._clock)
        self.queue = MemoryQueue(self._clock)
        self._client: AiohttpClient
        self._runner: web.AppRunner
        self._listener: asyncio.Server
        self.edge: Edge
        self.gateway: Gateway
        self._inspector = Inspector() if settings.inspector else None
        self._doors: dict[FrontDoor, None] = {}
        self.port = settings.port

    async def __aenter__(self) -> DevServer:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    @property
    def websocket_url(self) -> str:
        return f"ws://{self._host}:{self.port}/"

    @property
    def control_api(self) -> str:
        return f"http://{self._host}:{self.port}/control"

    @property
    def management_url(self) -> str:
        return f"http://{self._host}:{self.port}/@connections"

    @property
    def inspector_url(self) -> str | None:
        return f"http://{self._host}:{self.port}{PREFIX}" if self._inspector is not None else None

    @property
    def outputs(self) -> dict[str, dict[str, str]]:
        """What `cdk-outputs.json` holds for a deployment."""
        return {
            self.settings.stack_name: {
                "controlApi": self.control_api,
                "targetUrl": self.settings.target_url,
                "websocketUrl": self.websocket_url,
                "region": "local",
            }
        }

    async def start(self) -> None:
        """Listen. Raises InvalidSettings where the port cannot be had, or the outputs file not written."""
        settings = self.settings
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._front_door, settings.host, settings.port, backlog=BACKLOG, start_serving=False
            )
        except OSError as error:
            raise InvalidSettings([_why_not_listening(settings, error)]) from error
        self.port = self._listener.sockets[0].getsockname()[1]
        api = ApiIdentity("local", "live", f"{self._host}:{self.port}")
        self._client = AiohttpClient(settings.backend_timeout_s)
        self.edge = Edge(self._websocket_function, api, settings.limits)
        app = web.Application(client_max_size=MAX_CONTROL_BYTES)
        self._wire(self._inspector)
        if self._inspector is not None:
            self._inspector.attach()
            app.add_routes(self._inspector.routes(self._inspected()))
        app.add_routes(management_routes(self.edge))
        app.add_routes([web.post("/control", self._control), web.post("/control/{tail:.*}", self._control)])
        app.router.add_route("*", "/{tail:.*}", _not_found)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=http_log,
            keepalive_timeout=IDLE_CONNECTION_S,
            auto_decompress=False,  # nor does API Gateway
        )
        await self._runner.setup()
        try:
            await self._listener.start_serving()
        except OSError as error:
            await self.aclose()
            raise InvalidSettings([_why_not_listening(settings, error)]) from error
        if settings.outputs_path is None:
            return
        try:
            _write_whole(settings.outputs_path, json.dumps(self.outputs, indent=2) + "\n")
        except OSError as error:
            await self.aclose()
            problem = f"cannot write {settings.outputs_path}: {error.strerror}. Choose another file with --outputs."
            raise InvalidSettings([problem]) from error

    def _wire(self, inspector: Inspector | None) -> None:
        """Put the gateway between its ports and the functions that lead into it, and the inspector in between."""
        client: HttpClient = self._client
        store: ConnectionStore = self.store
        management: Management = EdgeManagement(self.edge, self._clock)
        queue: Queue = self.queue
        if inspector is not None:
            client, store = inspector.client(client), inspector.store(store)
            management, queue = inspector.management(management), inspector.queue(queue)
        settings = self.settings
        secrets = (settings.jwt_secret, *settings.previous_secrets)
        self.gateway = gateway = Gateway(
            backend=Backend(settings.target_url, lambda: secrets, client, self._clock),
            store=store,
            management=management,
            queue=queue,
            clock=self._clock,
            secrets=lambda: secrets,
        )
        self._on_websocket_event: Function = gateway.on_websocket_event
        self._on_control_event: Function = gateway.on_control_event
        self.queue.handle = gateway.on_deferred
        if inspector is not None:
            self._on_websocket_event = inspector.websocket_function(gateway.on_websocket_event)
            self._on_control_event = inspector.control_function(gateway.on_control_event)
            self.queue.handle = inspector.deferred(gateway.on_deferred)

    async def aclose(self) -> None:
        """Close all sockets (1001), tell the backend of each, and stop."""
        if self._inspector is not None:
            self._inspector.end_streams()
        self._listener.close()
        await self.edge.aclose(STOP_PATIENCE_S)
        await self.queue.aclose()
        await self._runner.cleanup()
        for door in self._doors:
            door.abort()
        await self._listener.wait_closed()
        await self._client.aclose()
        if self._inspector is not None:
            self._inspector.detach()

    @property
    def _host(self) -> str:
        host = self.settings.host
        return f"[{host}]" if ":" in host else host

    def _front_door(self) -> FrontDoor:
        http_server = self._runner.server
        if http_server is None:
            raise AssertionError("a runner has its server once it is set up")
        return FrontDoor(self.edge.new_socket, http_server, self._doors)

    async def _websocket_function(self, event: ProxyEvent) -> ProxyResponse:
        return await self._on_websocket_event(event)

    async def _control(self, request: web.Request) -> web.Response:
        event = http_event(
            ApiIdentity("local", "$default", request.host),
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers=request.headers.items(),
            source_ip=request.remote or "",
            body=await read_body(request),
        )
        answer = await self._control_function(event)
        return web.Response(status=answer["statusCode"], headers=answer["headers"], body=answer["body"].encode())

    async def _control_function(self, event: ProxyEvent) -> ProxyResponse:
        """Do as the HTTP API does where its function cannot be called, takes too long, or fails."""
        json_type = {"Content-Type": "application/json; charset=utf-8"}
        if len(msgspec.json.encode(event)) > MAX_CONTROL_EVENT_BYTES:
            too_large = http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            return response(too_large, json_type, '{"message": "Request Entity Too Large"}')
        try:
            async with asyncio.timeout(CONTROL_TIMEOUT_S):
                return await self._on_control_event(event)
        except TimeoutError:
            log.warning("the control function took over %g s", CONTROL_TIMEOUT_S)
            return response(http.HTTPStatus.SERVICE_UNAVAILABLE, json_type, '{"message": "Service Unavailable"}')
        except Exception:
            log.exception("the control function failed")
            return response(http.HTTPStatus.INTERNAL_SERVER_ERROR, json_type, '{"message": "Internal Server Error"}')

    # For the inspector

    def _inspected(self) -> Serving:
        return Serving(
            urls=lambda: {
                "webSocket": self.websocket_url,
                "controlApi": self.control_api,
                "backend": self.settings.target_url,
                "stack": self.settings.stack_name,
            },
            connection_ids=lambda: self.edge.connection_ids,
            connection=self._look_at,
            control=self._control_by_hand,
        )

    def _look_at(self, connection_id: str) -> dict[str, object] | None:
        """Return what there is to know of a connection, None where it is not open."""
        try:
            state = self.edge.get(connection_id)
        except ManagementError:
            return None
        metadata, channels = self.store.look(connection_id)
        return {
            "id": connection_id,
            "connectedAt": state.connected_at,
            "ip": state.source_ip,
            "userAgent": state.user_agent,
            "metadata": None if metadata is None else metadata.decode(),
            "channels": channels,
        }

    async def _control_by_hand(self, body: bytes) -> tuple[int, str]:
        """Perform a batch as if somebody who has the secret had posted it."""
        token = mint("ControlEvent", self.settings.jwt_secret)
        event = http_event(
            ApiIdentity("local", "$default", f"{self._host}:{self.port}"),
            method="POST",
            path="/control",
            query="",
            headers=[("Content-Type", "application/json"), ("Authorization", f"Bearer {token}")],
            source_ip=self.settings.host,
            body=body,
        )
        answer = await self._control_function(event)
        return answer["statusCode"], answer["body"]


async def _not_found(request: web.Request) -> web.Response:
    return web.json_response({"message": "Not Found"}, status=http.HTTPStatus.NOT_FOUND)


def _why_not_listening(settings: DevSettings, error: OSError) -> str:
    place = f"{settings.host} port {settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{place} is in use by another program. Stop it, or choose another port with --port."
    return f"cannot listen at {place}: {error.strerror or error}. Choose others with --host and --port."


def _write_whole(path: Path, text: str) -> None:
    """Write a file that a reader sees whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(path)
