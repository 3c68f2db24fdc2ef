"""The development server: one port with the WebSocket API, the control API and the management API."""

from __future__ import annotations

import asyncio
import contextlib
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

from ..apigateway.functions import control_function, websocket_function
from ..apigateway.http_events import http_event
from ..apigateway.limits import BACKEND_TIMEOUT_S
from ..apigateway.requests import ApiIdentity, ProxyEvent, ProxyResponse, proxy_response
from ..dialects import Dialect, protocols
from ..gateway.delivery_rate import UNLIMITED
from ..gateway.gateway import Gateway, Ports, build_gateway
from ..gateway.looks import Looks
from ..gateway.observer import Observers
from ..gateway.ports import SystemClock
from ..gateway.worker import DEFAULT_INBOUND_RETRY_S
from ..grip.tokens import grip_url
from ..http.backend_client import BackendClient
from ..protocol.errors import InvalidSettings
from .adviser import Adviser
from .channels import MemoryChannels
from .connections import MemoryConnections
from .delivery_rate import MemoryDeliveryRate
from .edge import Edge, Function, Limits
from .front_door import FrontDoor
from .history import MemoryHistory
from .http_server import http_log, read_body
from .inbound import with_inbound_queue
from .inspector.inspector import Inspector
from .inspector.routes import PREFIX, Serving
from .inspector.serving import serving_of
from .management_api import management_routes
from .metrics import Metrics
from .outlook import with_outlook
from .ping import with_pings
from .queue import MemoryQueue
from .sender import EdgeSender
from .websocket import WebSocket

log = logging.getLogger("slip_sockets.dev")

MAX_CONTROL_BYTES = 10 * 1024 * 1024
"""An HTTP API's largest payload. https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""
MAX_CONTROL_EVENT_BYTES = 6 * 1024 * 1024
"""The largest event, body and all, with which Lambda invokes a function.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
CONTROL_TIMEOUT_S = 30.0
IDLE_CONNECTION_S = 75.0
"""How long a kept connection may be without a whole request. A head that arrives slowly does not count as one."""
BACKLOG = 1024
MAX_BACKEND_CALLS = 100
"""Calls of the backend at once: a development backend takes few. On AWS there is no limit but that of functions."""
STOP_PATIENCE_S = 5.0
"""How long stopping waits for the backend to have each CLOSE."""


@dataclass(frozen=True, slots=True)
class DevSettings:
    """The settings of a development server. `port` 0 takes a free one. `outputs_path` is written at start.

    `fan_out_rate` is the number of calls a second of publishes to many, None for no limit. With `is_ordered` texts come
    to the backend in order; what it does not take of them is tried again for `inbound_retry_s` seconds. GRIP is always
    ordered. With `occupancy_events`, which GRIP has not, the backend receives OCCUPIED and VACATED.
    With `inspector` there is a page at `/_inspector` that shows what happens and can act, for anybody who reaches it.
    """

    target_url: str
    jwt_secret: str
    previous_secrets: Sequence[str] = ()
    stack_name: str = "slip-sockets"
    host: str = "127.0.0.1"
    port: int = 8787
    limits: Limits = field(default_factory=Limits)
    backend_timeout_s: float = BACKEND_TIMEOUT_S
    fan_out_rate: int | None = None
    is_ordered: bool = False
    inbound_retry_s: float = DEFAULT_INBOUND_RETRY_S
    outputs_path: Path | None = None
    inspector: bool = False
    backend_protocol: Dialect = Dialect.SLIP
    grip_path_from: str = ""
    grip_host: str = ""
    occupancy_events: bool = False


class DevServer:
    """A whole deployment in this process: `async with DevServer(settings) as server`. Many may run at once."""

    def __init__(self, settings: DevSettings) -> None:
        self.settings = settings
        self._clock = SystemClock()
        self._channels = MemoryChannels(self._clock)
        self._history = MemoryHistory(self._clock)
        self.metrics = Metrics()
        self.queue = MemoryQueue(self._clock)
        changes = Looks(self.queue, self._clock)
        self.connections = MemoryConnections(self._clock, changes, keeps_metadata=settings.occupancy_events)
        self.inbound = MemoryQueue(self._clock)
        self._client: BackendClient
        self._runner: web.AppRunner
        self._listener: asyncio.Server
        self.edge: Edge
        self.gateway: Gateway
        self._inspector = Inspector() if settings.inspector else None
        self._door = FrontDoor(self._new_socket, self._new_http_handler)
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
    def grip_url(self) -> str | None:
        """The GRIP_URL of publishers' libraries, which has the secret. None in the dialect SLIP."""
        return grip_url(self.control_api, self.settings.jwt_secret) if self._is_grip else None

    @property
    def _is_ordered(self) -> bool:
        return self.settings.is_ordered or self._is_grip

    @property
    def _is_grip(self) -> bool:
        return self.settings.backend_protocol is Dialect.GRIP

    @property
    def outputs(self) -> dict[str, dict[str, str]]:
        """What `cdk-outputs.json` holds for a deployment."""
        return {
            self.settings.stack_name: {
                "controlApi": self.control_api,
                "targetUrl": self.settings.target_url,
                "websocketUrl": self.websocket_url,
                "region": "local",
                **({"gripUrl": grip_url(self.control_api)} if self._is_grip else {}),
            }
        }

    async def start(self) -> None:
        """Listen. Raises InvalidSettings where it cannot listen at the port, or not write the outputs file."""
        settings = self.settings
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._door.new_connection, settings.host, settings.port, backlog=BACKLOG, start_serving=False
            )
        except (OSError, UnicodeError) as error:  # names that DNS cannot hold are UnicodeErrors
            raise InvalidSettings([_listening_problem(settings, error)]) from error
        self.port = self._listener.sockets[0].getsockname()[1]
        api = ApiIdentity("local", "live", f"{self._host}:{self.port}")
        self._client = BackendClient(self._clock, settings.backend_timeout_s, max_at_once=MAX_BACKEND_CALLS)
        self.edge = Edge(self._websocket_function, api, settings.limits)
        if self._is_ordered:
            self.edge.max_concurrent_texts = 1
        app = web.Application(client_max_size=MAX_CONTROL_BYTES, middlewares=[self._door.middleware])
        self._wire(self._inspector)
        if self._inspector is not None:
            self._inspector.attach()
            app.add_routes(self._inspector.routes(self._serving()))
        app.add_routes(management_routes(self.edge))
        method = "*" if self._is_grip else "POST"
        app.add_routes([web.route(method, path, self._control) for path in ("/control", "/control/{tail:.*}")])
        app.router.add_route("*", "/{tail:.*}", _not_found)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=http_log,
            keepalive_timeout=IDLE_CONNECTION_S,
            auto_decompress=False,  # API Gateway does not either
        )
        await self._runner.setup()
        try:
            await self._listener.start_serving()
        except OSError as error:
            await self.aclose()
            raise InvalidSettings([_listening_problem(settings, error)]) from error
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
        settings = self.settings
        fan_out_rate = settings.fan_out_rate
        adviser = Adviser()
        ports = Ports(
            connections=self.connections,
            subscriptions=self.connections,
            claims=self._channels,
            marks=self._channels,
            history=self._history,
            presence=self.connections.presence,
            sender=EdgeSender(self.edge, self._clock),
            queue=self.queue,
            http=adviser.client(self._client),
            clock=self._clock,
            rate=UNLIMITED if fan_out_rate is None else MemoryDeliveryRate(fan_out_rate, self._clock),
            inbound=self.inbound if self._is_ordered else None,
        )
        all_secrets = (settings.jwt_secret, *settings.previous_secrets)

        async def secrets() -> Sequence[str]:
            return all_secrets

        backend_protocol, publish_protocol = protocols(
            settings.backend_protocol, grip_path_from=settings.grip_path_from, grip_host=settings.grip_host
        )
        self.gateway = gateway = build_gateway(
            ports if inspector is None else inspector.ports(ports),
            target_url=settings.target_url,
            secrets=secrets,
            inbound_retry_s=settings.inbound_retry_s,
            backend_protocol=backend_protocol,
            publish_protocol=publish_protocol,
            occupancy_events=settings.occupancy_events,
            observer=Observers(self.metrics, adviser, *([] if inspector is None else [inspector.recorder])),
        )

        async def on_websocket_event(event: ProxyEvent) -> ProxyResponse:
            return await websocket_function(gateway.sockets, event)

        async def on_control_event(event: ProxyEvent) -> ProxyResponse:
            return await control_function(gateway.control, event)

        self._on_websocket_event: Function = with_outlook(on_websocket_event)
        self._on_control_event: Function = on_control_event
        self.queue.worker, self.inbound.worker = gateway.worker, gateway.inbound
        if inspector is not None:
            self._on_websocket_event = inspector.websocket_function(self._on_websocket_event)
            self._on_control_event = inspector.control_function(on_control_event)
            self.queue.worker = inspector.worker(gateway.worker)
            self.inbound.worker = inspector.worker(gateway.inbound)
        # Outermost, so that a record of the inspector does not have its advice among its lines too.
        self._on_websocket_event = adviser.function(self._on_websocket_event)
        self.queue.worker = adviser.worker(self.queue.worker)
        self.inbound.worker = adviser.worker(self.inbound.worker)
        if self._is_ordered:
            self._on_websocket_event = with_inbound_queue(self._on_websocket_event, self.inbound)
        self._on_websocket_event = with_pings(self._on_websocket_event, self.edge)

    async def aclose(self) -> None:
        """Close all sockets (1001), send the backend a CLOSE for each, and stop."""
        if self._inspector is not None:
            self._inspector.end_streams()
        self._listener.close()
        self._door.close()
        await self.edge.aclose(STOP_PATIENCE_S)
        await self.inbound.settle(STOP_PATIENCE_S)
        await self.queue.aclose()  # first: its timers put into the other
        await self.inbound.aclose()
        await self._runner.cleanup()
        await self._listener.wait_closed()
        await self._client.aclose()
        if self._inspector is not None:
            self._inspector.detach()

    @property
    def _host(self) -> str:
        host = self.settings.host
        return f"[{host}]" if ":" in host else host

    def _new_socket(self) -> WebSocket:
        return self.edge.new_socket()

    def _new_http_handler(self) -> asyncio.BaseProtocol:
        http_server = self._runner.server
        if http_server is None:
            raise AssertionError("a runner has its server once it is set up")
        return http_server()

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
        response = await self._control_function(event)
        body = response["body"].encode()
        return web.Response(status=response["statusCode"], headers=response["headers"], body=body)

    async def _control_function(self, event: ProxyEvent) -> ProxyResponse:
        """Call the function, and respond as the HTTP API does where it cannot be called, takes too long, or fails."""
        json_type = {"Content-Type": "application/json; charset=utf-8"}
        if len(msgspec.json.encode(event)) > MAX_CONTROL_EVENT_BYTES:
            too_large = http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            return proxy_response(too_large, json_type, '{"message": "Request Entity Too Large"}')
        try:
            async with asyncio.timeout(CONTROL_TIMEOUT_S):
                return await self._on_control_event(event)
        except TimeoutError:
            log.warning("the control function took over %g s", CONTROL_TIMEOUT_S)
            return proxy_response(http.HTTPStatus.SERVICE_UNAVAILABLE, json_type, '{"message": "Service Unavailable"}')
        except Exception:
            log.exception("the control function failed")
            return proxy_response(
                http.HTTPStatus.INTERNAL_SERVER_ERROR, json_type, '{"message": "Internal Server Error"}'
            )

    def _serving(self) -> Serving:
        """Return what the inspector's page shows of this server."""
        return serving_of(
            urls=lambda: {
                "webSocket": self.websocket_url,
                "controlApi": self.control_api,
                "backend": self.settings.target_url,
                "stack": self.settings.stack_name,
            },
            edge=self.edge,
            connections=self.connections,
            metrics=self.metrics,
            control=self._control_function,
            domain_name=f"{self._host}:{self.port}",
            secret=self.settings.jwt_secret,
        )


async def _not_found(request: web.Request) -> web.Response:
    return web.json_response({"message": "Not Found"}, status=http.HTTPStatus.NOT_FOUND)


def _listening_problem(settings: DevSettings, error: OSError | UnicodeError) -> str:
    place = f"{settings.host} port {settings.port}"
    if isinstance(error, UnicodeError):
        return f"cannot listen at {place}: that is not a host. Choose others with --host and --port."
    if error.errno == errno.EADDRINUSE:
        return f"{place} is in use by another program. Stop it, or choose another port with --port."
    return f"cannot listen at {place}: {error.strerror or error}. Choose others with --host and --port."


def _write_whole(path: Path, text: str) -> None:
    """Write a file that a reader sees whole or not at all. A device or a pipe is written to, and stays what it is."""
    place = Path(os.path.realpath(path))
    if place.exists() and not place.is_file():
        # It fails for a folder, and for a pipe without a reader, where it would wait else.
        number = os.open(place, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(number, "w") as file:
            file.write(text)
        return
    beside = place.with_name(f".outputs.{os.getpid()}")
    try:
        beside.write_text(text)
        beside.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error counts
            beside.unlink(missing_ok=True)
        raise
