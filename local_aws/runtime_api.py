"""Lambda's Runtime API: over HTTP, a function's process asks for its next event and responds to it.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Protocol

from aiohttp import web

from .deployed import Function
from .invocation import MAX_PAYLOAD_BYTES, Failure, Invocation, Outcome

_PREFIX = "/2018-06-01/runtime/"


class Runtime(Protocol):
    """What the process reports to."""

    async def next(self) -> Invocation:
        """Wait for the next event."""

    def finish(self, request_id: str, outcome: Outcome) -> None:
        """Take the outcome of an event."""

    def fail_to_start(self, failure: Failure) -> None:
        """Take the reason why the process cannot start."""


class RuntimeApi:
    """The API for one process of `function`. `address` is `host:port`."""

    def __init__(self, function: Function, runtime: Runtime, *, shutdown_timeout_s: float) -> None:
        self.address = ""
        self._function = function
        self._runtime = runtime
        self._runner = web.ServerRunner(web.Server(self._respond, access_log=None), shutdown_timeout=shutdown_timeout_s)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"

    async def aclose(self) -> None:
        await self._runner.cleanup()

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.path.removeprefix(_PREFIX).split("/"):
            case ["invocation", "next"]:
                return self._event(await self._runtime.next())
            case ["invocation", request_id, "response"]:
                body = await _body(request)
                if len(body) > MAX_PAYLOAD_BYTES:
                    outcome = Outcome.of(Failure("Function.ResponseSizeTooLarge", f"{len(body)} bytes"))
                else:
                    outcome = Outcome(body)
                self._runtime.finish(request_id, outcome)
            case ["invocation", request_id, "error"]:
                self._runtime.finish(request_id, Outcome(await _body(request), "Unhandled"))
            case ["init", "error"]:
                error = json.loads(await _body(request))
                self._runtime.fail_to_start(Failure(error["errorType"], error["errorMessage"]))
            case _:
                return web.Response(status=404)
        return web.json_response({"status": "OK"}, status=202)

    def _event(self, invocation: Invocation) -> web.Response:
        deadline_ms = (time.time() + self._function.timeout_s) * 1000
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(deadline_ms)),
            "Lambda-Runtime-Invoked-Function-Arn": self._function.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Sampled=0",
        }
        return web.Response(body=invocation.event, content_type="application/json", headers=headers)


async def _body(request: web.BaseRequest) -> bytes:
    """Read a body of any size; `request.read` stops at 1 MiB."""
    return await request.content.read()
