"""Lambda: functions run out of their deployed zips, in processes of their own under awslambdaric.

An environment is one process. It asks for one event after another, as Lambda's Runtime API lets it:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import platform
import secrets
import signal
import subprocess
import tempfile
import time
import uuid
import zipfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from .deployed import Function
from .permissions import AccessKey, Permissions

log = logging.getLogger("local_aws.lambda")

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
INIT_TIMEOUT_S = 30.0
"""Lambda gives 10 s; a laptop that starts several at once may need longer."""
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
"""Of an event, and of a response.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
MAX_LOG_LINE_BYTES = 4 * 1024 * 1024
LAST_WORDS_S = 1.0
"""How long the output of a process that has ended is read; what it started may hold it open."""
STOPPED = "the local AWS stopped"

WriteLogs = Callable[[Function, AccessKey, str, list[str]], None]
"""Takes lines for a log stream."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an event. `error` is Lambda's name for the kind of failure, None where the function answered."""

    payload: bytes
    error: str | None = None

    def raise_for_error(self) -> None:
        """Raises FunctionFailed."""
        if self.error is not None:
            raise FunctionFailed(self.payload.decode(errors="replace"))


class FunctionFailed(Exception):
    """A function raised, crashed, took too long or could not start; the message is Lambda's JSON about it."""


@dataclass(slots=True, eq=False)
class _Invocation:
    event: bytes
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    outcome: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error_type: str, message: str) -> None:
        self.finish(_failure(error_type, message))

    def finish(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class RuntimePython:
    """The interpreter that functions run under. `version` such as `3.13`; `architecture` in Lambda's words.

    Raises ValueError where it will not do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path = path.absolute()  # functions start in folders of their own
        try:
            told = subprocess.run(  # noqa: S603 - an interpreter of ours
                [path, "-I", "-c", "import sys, awslambdaric, boto3; print('%d.%d' % sys.version_info[:2])"],
                capture_output=True,
                text=True,
                check=True,
            )
        except OSError as error:
            raise ValueError(
                f"{path} cannot be started: {error.strerror}. Functions need a Python to run under"
            ) from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["it failed"])[-1]
            raise ValueError(f"{path} cannot run functions, it needs awslambdaric and boto3: {reason}") from error
        self.version = told.stdout.strip()
        machine = platform.machine()
        self.architecture = {"aarch64": "arm64", "AMD64": "x86_64"}.get(machine, machine)

    def why_not_run(self, architecture: str | None, runtime: str | None) -> str | None:
        """Return None where a function for that architecture and runtime (None: not told) runs here."""
        if architecture in (None, self.architecture) and runtime in (None, f"python{self.version}"):
            return None
        wanted = " and ".join(filter(None, (architecture, runtime)))
        return (
            f"the function is built for {wanted}, but here run {self.architecture} and python{self.version}. "
            f"Deploy with LAMBDA_ARCHITECTURE={self.architecture} LAMBDA_PYTHON={self.version}"
        )


class Lambda:
    """Runs functions. `url` is the local AWS that they talk to."""

    def __init__(
        self,
        python: RuntimePython,
        permissions: Permissions,
        write_logs: WriteLogs,
        *,
        url: str,
        max_environments: int,
    ) -> None:
        self.python = python
        self.permissions = permissions
        self.write_logs = write_logs
        self.url = url
        self.max_environments = max_environments
        self._folder = tempfile.TemporaryDirectory(prefix="local-aws-")
        self._code: dict[str, asyncio.Task[Path]] = {}
        self._pools: dict[str, _Pool] = {}

    async def invoke(self, function: Function, event: bytes) -> Outcome:
        """Run `function` as it is deployed now. Whoever gives up waiting does not stop it."""
        if len(event) > MAX_PAYLOAD_BYTES:
            return _failure("RequestTooLargeException", f"the event is larger than {MAX_PAYLOAD_BYTES} bytes")
        pool = self._pools.get(function.arn)
        if pool is None:
            pool = self._pools[function.arn] = _Pool(self, function)
        pool.update(function)
        return await asyncio.shield(pool.invoke(event))

    @property
    def known(self) -> list[str]:
        """The functions that were ever invoked."""
        return list(self._pools)

    def environments(self, arn: str) -> int:
        """How many processes a function has now."""
        pool = self._pools.get(arn)
        return 0 if pool is None else len(pool.environments)

    def kill(self, arn: str) -> None:
        """End a function's environments where they stand, as a crash of their machines would."""
        pool = self._pools.get(arn)
        for environment in list(pool.environments) if pool is not None else ():
            environment.kill()

    async def forget(self, arn: str) -> None:
        """Stop the environments of a function that was deleted."""
        pool = self._pools.pop(arn, None)
        if pool is not None:
            await pool.aclose()

    async def aclose(self) -> None:
        for arn in list(self._pools):
            await self.forget(arn)
        self._folder.cleanup()

    async def code_folder(self, function: Function) -> Path:
        """Return where the function's zip is unpacked; each zip is unpacked once."""
        digest = function.code_sha256
        if digest not in self._code:
            folder = Path(self._folder.name) / str(len(self._code))
            self._code[digest] = asyncio.create_task(asyncio.to_thread(_unpack, function.code, folder))
        return await asyncio.shield(self._code[digest])


class _Pool:
    """The environments of one function, and the events that wait for one.

    An event that waits goes to whichever environment is free first; one that is busy may be sooner than a new one.
    """

    def __init__(self, owner: Lambda, function: Function) -> None:
        self.environments: set[_Environment] = set()
        self._owner = owner
        self._function = function
        self._waiting: deque[_Invocation] = deque()

    def update(self, function: Function) -> None:
        """Go on with new code or a new configuration: environments of the old one end after the event they have."""
        if function == self._function:
            return
        self._function = function
        for environment in list(self.environments):
            environment.retire()

    def invoke(self, event: bytes) -> asyncio.Future[Outcome]:
        invocation = _Invocation(event)
        self._waiting.append(invocation)
        self.dispatch()
        return invocation.outcome

    def dispatch(self) -> None:
        """Hand out what waits, and start environments for the rest."""
        for environment in list(self.environments):
            if self._waiting and environment.is_idle:
                environment.take(self._waiting.popleft())
        starting = sum(environment.is_starting for environment in self.environments)
        while len(self._waiting) > starting and len(self.environments) < self._owner.max_environments:
            self.environments.add(_Environment(self._owner, self, self._function))
            starting += 1

    def ended(self, environment: _Environment, start_failure: tuple[str, str] | None) -> None:
        """An environment has ended; if it never started, an event fails with it, as in AWS."""
        self.environments.discard(environment)
        if start_failure is not None and self._waiting:
            self._waiting.popleft().fail(*start_failure)
        self.dispatch()

    async def aclose(self) -> None:
        while self._waiting:
            self._waiting.popleft().fail("Runtime.Stopped", STOPPED)
        environments = list(self.environments)
        for environment in environments:
            environment.is_starting = False
            environment.kill()
        await asyncio.gather(*(environment.task for environment in environments))


class _Environment:
    """One process with one event at a time, and the Runtime API that it asks."""

    def __init__(self, owner: Lambda, pool: _Pool, function: Function) -> None:
        self._owner = owner
        self._pool = pool
        self._function = function
        self._name = secrets.token_hex(16)
        self._next: asyncio.Future[_Invocation] | None = None
        self._invocation: _Invocation | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._failure: tuple[str, str] | None = None
        self._is_retired = False
        self._since = time.monotonic()
        self.is_starting = True
        self.task = asyncio.create_task(self._run())

    @property
    def is_idle(self) -> bool:
        return self._next is not None and not self._next.done() and not self._is_retired

    def take(self, invocation: _Invocation) -> None:
        if self._next is None:
            raise AssertionError("only an idle environment takes an event")
        self._invocation = invocation
        self._since = time.monotonic()
        self._next.set_result(invocation)
        self._timer = asyncio.get_running_loop().call_later(self._function.timeout_s, self._time_out)

    def retire(self) -> None:
        self._is_retired = True
        self.is_starting = False
        if self._invocation is None:
            self.kill()

    def kill(self) -> None:
        """End the process and what it started."""
        self._is_retired = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    # The process

    async def _run(self) -> None:
        key = self._owner.permissions.issue(self._function.role_arn, self._function.name)
        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=LAST_WORDS_S)
        try:
            folder = await self._owner.code_folder(self._function)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self._process = process = await asyncio.create_subprocess_exec(
                self._owner.python.path,
                "-I",
                BOOTSTRAP,
                cwd=folder,
                env=self._variables(key, folder, f"{host}:{port}"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=MAX_LOG_LINE_BYTES,
                start_new_session=True,
            )
            if self._is_retired:
                self.kill()
            if self.is_starting:
                self._timer = asyncio.get_running_loop().call_later(INIT_TIMEOUT_S, self._time_out)
            logs = asyncio.create_task(self._read_logs(process, key))
            await process.wait()
            await asyncio.wait({logs}, timeout=LAST_WORDS_S)
            logs.cancel()
            self._settle(process.returncode)
        except Exception as error:
            log.exception("%s: the environment failed", self._function.name)
            self._failure = ("Runtime.Unknown", str(error))
            self._settle(None)
        finally:
            self.kill()
            if self._timer is not None:
                self._timer.cancel()
            if self._next is not None:
                self._next.cancel()  # whoever asked for it has ended
            await runner.cleanup()
            self._owner.permissions.revoke(key)
            self._pool.ended(self, self._failure if self.is_starting else None)

    def _settle(self, returncode: int | None) -> None:
        """The process has ended: say why, and fail the event that it had."""
        if self._failure is None:
            told = (
                f"signal: {signal.Signals(-returncode).name}"
                if returncode and returncode < 0
                else f"status {returncode}"
            )
            self._failure = ("Runtime.ExitError", f"Runtime exited with error: exit {told}")
        if self._invocation is not None:
            kind, message = self._failure
            self._report(self._invocation, kind, message)
            self._invocation.fail(kind, f"RequestId: {self._invocation.request_id} Error: {message}")
            self._invocation = None
        elif self.is_starting:
            log.error("%s: does not start: %s: %s", self._function.name, *self._failure)

    @property
    def _elapsed_ms(self) -> float:
        """Since it began to start, or had its event."""
        return (time.monotonic() - self._since) * 1000

    def _report(self, invocation: _Invocation, kind: str, message: str) -> None:
        log.error("%s: event %s failed: %s: %s", self._function.name, invocation.request_id, kind, message)

    def _time_out(self) -> None:
        if self._invocation is not None:
            at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            message = f"{at} {self._invocation.request_id} Task timed out after {self._function.timeout_s:.2f} seconds"
            self._report(self._invocation, "Sandbox.Timedout", message)
            self._invocation.fail("Sandbox.Timedout", message)
            self._invocation = None
        else:
            self._failure = ("Sandbox.Timedout", f"INIT took over {INIT_TIMEOUT_S:g} s")
        self.kill()

    async def _read_logs(self, process: asyncio.subprocess.Process, key: AccessKey) -> None:
        if process.stdout is None:
            raise AssertionError("its output is a pipe")
        stream = f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{self._name}"
        console = logging.getLogger(f"local_aws.functions.{self._function.name}")
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            console.info("%s", text)
            self._owner.write_logs(self._function, key, stream, [text])

    def _variables(self, key: AccessKey, folder: Path, runtime_api: str) -> dict[str, str]:
        """https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""
        function = self._function
        return {
            **function.environment,
            "AWS_ACCESS_KEY_ID": key.key_id,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_SESSION_TOKEN": key.session_token,
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": function.log_format,
            "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{self._name}",
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": function.handler,
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TZ": ":UTC",
            # What AWS has no need of: the way to this AWS, and none to the files of whoever runs it.
            "AWS_ENDPOINT_URL": self._owner.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(folder),
        }

    # The Runtime API

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.path.removeprefix("/2018-06-01/runtime/").split("/"):
            case ["invocation", "next"]:
                return await self._answer_next()
            case ["invocation", request_id, "response"]:
                body = await _body(request)
                if len(body) > MAX_PAYLOAD_BYTES:
                    self._finish(request_id, _failure("Function.ResponseSizeTooLarge", f"{len(body)} bytes"))
                else:
                    self._finish(request_id, Outcome(body))
            case ["invocation", request_id, "error"]:
                self._finish(request_id, Outcome(await _body(request), "Unhandled"))
            case ["init", "error"]:
                told = json.loads(await _body(request))
                self._failure = (told["errorType"], told["errorMessage"])
            case _:
                return web.Response(status=404)
        return web.json_response({"status": "OK"}, status=202)

    async def _answer_next(self) -> web.StreamResponse:
        if self._timer is not None:
            self._timer.cancel()
        if self._is_retired:
            self.kill()
        if self.is_starting:
            log.info("%s: an environment started in %.0f ms", self._function.name, self._elapsed_ms)
        self.is_starting = False
        self._next = asyncio.get_running_loop().create_future()
        self._pool.dispatch()
        invocation = await self._next
        deadline_ms = (time.time() + self._function.timeout_s) * 1000
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(deadline_ms)),
            "Lambda-Runtime-Invoked-Function-Arn": self._function.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Sampled=0",
        }
        return web.Response(body=invocation.event, content_type="application/json", headers=headers)

    def _finish(self, request_id: str, outcome: Outcome) -> None:
        """A response that comes after its time is nobody's."""
        invocation = self._invocation
        if invocation is None or invocation.request_id != request_id:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._invocation = None
        log.info("%s: an event took %.0f ms", self._function.name, self._elapsed_ms)
        if outcome.error is not None:
            told: dict[str, Any] = json.loads(outcome.payload)
            self._report(invocation, str(told.get("errorType")), str(told.get("errorMessage")))
        invocation.finish(outcome)


def _failure(error_type: str, message: str) -> Outcome:
    return Outcome(json.dumps({"errorType": error_type, "errorMessage": message}).encode(), "Unhandled")


async def _body(request: web.BaseRequest) -> bytes:
    """`read` would stop at 1 MiB."""
    return await request.content.read()


def _unpack(code: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(folder)
    return folder
