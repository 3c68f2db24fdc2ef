"""AWS's APIs: moto, in this process and in one thread.

moto's models know no locks. With one call after another a conditional write is as atomic as DynamoDB's.
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

from .amendments import Amendments
from .permissions import Permissions
from .wire import ApiAnswer, ApiRequest, error_answer

LONG_POLL_INTERVAL_S = 0.05

P = ParamSpec("P")
T = TypeVar("T")

Observer = Callable[[ApiRequest], None]
"""Is told, in the event loop, of a call that succeeded."""

ApiFault = Callable[[ApiRequest], tuple[int, str] | None]
"""Says for a function's call of an API with which status and error code it fails, None for not. It runs in moto's
thread."""


class AwsApis:
    """`call` answers a request as AWS would; `run` looks at moto's models, in the same thread."""

    def __init__(self, account_id: str, host: str, permissions: Permissions, amendments: Amendments) -> None:
        self.observers: list[Observer] = []
        self.fault: ApiFault = lambda request: None
        self._account_id = account_id
        self._host = host
        self._permissions = permissions
        self._amendments = amendments
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._thread = ThreadPoolExecutor(1, "moto")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    async def call(self, request: ApiRequest) -> ApiAnswer:
        if request.service == "sqs" and request.operation == "ReceiveMessage" and request.speaks_json_rpc:
            answer = await self._receive(request)
        else:
            answer = await self.run(self._answer, request)
        if answer.ok:
            for observer in self.observers:
                observer(request)
        return answer

    async def _receive(self, request: ApiRequest) -> ApiAnswer:
        """Wait for messages here: moto would wait in its thread, and no other call be answered."""
        deadline = time.monotonic() + float(request.parameters.get("WaitTimeSeconds") or 0)
        at_once = replace(request, body=json.dumps(request.parameters | {"WaitTimeSeconds": 0}).encode())
        while True:
            answer = await self.run(self._answer, at_once)
            if not answer.ok or b'"Messages"' in answer.body or time.monotonic() >= deadline:
                return answer
            await asyncio.sleep(LONG_POLL_INTERVAL_S)

    async def aclose(self) -> None:
        """Forget all that was deployed."""
        await self.run(self._forget_account)
        self._thread.shutdown()

    def _forget_account(self) -> None:
        every_service: list[Any] = cast(Any, BackendDict)._instances
        with backend_lock:
            for backends in every_service:
                backends.pop(self._account_id, None)

    def _answer(self, request: ApiRequest) -> ApiAnswer:
        denied = self._permissions.check_request(request)
        if denied is not None:
            return error_answer(request, denied.status, "AccessDeniedException", denied.message)
        fault = self.fault(request) if self._permissions.is_of_a_function(request) else None
        if fault is not None:
            return error_answer(request, *fault, "a fault of the local AWS")
        return self._amendments.before(request) or self._amendments.after(request, self._ask_moto(request))

    def _ask_moto(self, request: ApiRequest) -> ApiAnswer:
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
        # Its own account for each local AWS: moto's state is the process's, and knows no other border.
        environ |= {"HTTP_HOST": self._host, "HTTP_X_MOTO_ACCOUNT_ID": self._account_id}
        body, status, headers = run_wsgi_app(self._moto, environ, buffered=True)
        return ApiAnswer(int(status.split()[0]), b"".join(body), dict(headers))
