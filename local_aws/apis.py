"""AWS's APIs: moto, in this process and in one thread.

moto's models have no locks. Since calls run one after another, a conditional write is as atomic as DynamoDB's.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import unquote_to_bytes, urlsplit

from moto.core.base_backend import BackendDict, backend_lock
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import run_wsgi_app

from .api_request import ApiRequest, ApiResponse, error_response, json_response
from .delays import DelayedDeployed
from .modelled import read_request
from .moto_patches import MotoPatches
from .permissions import AccessControl
from .quotas import Quotas
from .refusals import refusal_of
from .refusals.sqs import with_failures, without_refused_entries
from .service_models import ModelChecks

LONG_POLL_INTERVAL_S = 0.05

P = ParamSpec("P")
T = TypeVar("T")

Observer = Callable[[ApiRequest], None]
"""Called in the event loop after a call that succeeded."""

ApiFault = Callable[[ApiRequest], tuple[int, str] | None]
"""Returns the status and the error code with which a function's call of an API fails, None where it does not fail. It
runs in moto's thread."""


class AwsApis:
    """`call` responds to a request as AWS would; `run` reads moto's models, in the same thread."""

    def __init__(
        self,
        account_id: str,
        host: str,
        access: AccessControl,
        deployed: DelayedDeployed,
        patches: MotoPatches,
        quotas: Quotas,
    ) -> None:
        self.observers: list[Observer] = []
        self.fault: ApiFault = lambda request: None
        self._account_id = account_id
        self._host = host
        self._access = access
        self._deployed = deployed
        self._patches = patches
        self._quotas = quotas
        self.models = ModelChecks()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._thread = ThreadPoolExecutor(1, "moto")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    async def call(self, request: ApiRequest) -> ApiResponse:
        if request.service == "sqs" and request.operation == "ReceiveMessage" and request.is_json_rpc:
            response = await self._receive(request)
        else:
            response = await self.run(self._respond, request)
        if response.ok:
            for observer in self.observers:
                observer(request)
        return response

    async def _receive(self, request: ApiRequest) -> ApiResponse:
        """Wait for messages here: moto would wait in its thread, and hold up all other calls."""
        deadline = time.monotonic() + float(request.parameters.get("WaitTimeSeconds") or 0)
        at_once = replace(request, body=json.dumps(request.parameters | {"WaitTimeSeconds": 0}).encode())
        while True:
            response = await self.run(self._respond, at_once)
            if not response.ok or b'"Messages"' in response.body or time.monotonic() >= deadline:
                return response
            await asyncio.sleep(LONG_POLL_INTERVAL_S)

    async def aclose(self) -> None:
        """Delete everything that was deployed."""
        await self.run(self._forget_account)
        self._thread.shutdown()

    def _forget_account(self) -> None:
        every_service: list[Any] = cast(Any, BackendDict)._instances
        with backend_lock:
            for backends in every_service:
                backends.pop(self._account_id, None)

    def _respond(self, request: ApiRequest) -> ApiResponse:
        refusal = self._quotas.check(request)
        if refusal is not None:
            return refusal
        denial = self._access.check_request(request)
        if denial is not None:
            return denial.response(request)
        fault = self.fault(request) if self._access.is_of_a_function(request) else None
        if fault is not None:
            return error_response(request, *fault, "a fault of the local AWS")
        modelled = read_request(request)
        refused = (
            refusal_of(request, self._account_id)
            or self.models.check(request, modelled)
            or self._deployed.before(request)
        )
        if refused is not None:
            return refused
        is_batch = request.service == "sqs" and request.operation == "SendMessageBatch" and request.is_json_rpc
        response = self._send_batch(request) if is_batch else self._handle(request)
        self.models.check_response(modelled, response)
        return response

    def _send_batch(self, request: ApiRequest) -> ApiResponse:
        taken, failed = without_refused_entries(request)
        if not failed:
            return self._handle(request)
        response = self._handle(taken) if taken.parameters["Entries"] else json_response(200, {})
        return with_failures(response, failed) if response.ok else response

    def _handle(self, request: ApiRequest) -> ApiResponse:
        return self._patches.before(request) or self._patches.after(request, self._call_moto(request))

    def _call_moto(self, request: ApiRequest) -> ApiResponse:
        url = urlsplit(request.target)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(url.path).decode("latin-1"),
            "QUERY_STRING": url.query,
            "RAW_URI": request.target,
            "REQUEST_URI": request.target,
            "CONTENT_LENGTH": str(len(request.body)),
            "SERVER_NAME": self._host.rpartition(":")[0],
            "SERVER_PORT": self._host.rpartition(":")[2],
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in request.headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        # An account of its own for each local AWS: all in a process share moto's state, which only accounts divide.
        environ |= {"HTTP_HOST": self._host, "HTTP_X_MOTO_ACCOUNT_ID": self._account_id}
        body, status, headers = run_wsgi_app(self._moto, environ, buffered=True)
        return ApiResponse(int(status.split()[0]), b"".join(body), dict(headers))
