"""An execution environment of a function: one process, with one event at a time."""

from __future__ import annotations

import asyncio
import enum
import json
import logging
import os
import secrets
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from .deployed import Function
from .environment_variables import environment_variables
from .host import Host
from .invocation import Failure, Invocation, Outcome
from .permissions import AccessKey
from .runtime_api import RuntimeApi

log = logging.getLogger("local_aws.lambda")

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
INIT_TIMEOUT_S = 30.0
"""Lambda gives 10 s; a laptop that starts several at once may need longer."""
MAX_LOG_LINE_BYTES = 4 * 1024 * 1024
LAST_OUTPUT_S = 1.0
"""How long the output is read after the process has ended: a child of it may hold the pipe open."""


class State(enum.Enum):
    STARTING = enum.auto()
    """The process has not asked for an event yet."""
    IDLE = enum.auto()
    """It waits for an event."""
    BUSY = enum.auto()
    """It has an event, or has responded to it and not asked for the next one yet."""
    RETIRED = enum.auto()
    """It ends after the event that it has."""
    FAILED_TO_START = enum.auto()
    """It ends, or has ended, without ever asking for an event."""
    ENDING = enum.auto()
    """It ends, or has ended."""


class Owner(Protocol):
    """What an environment reports to."""

    def dispatch(self) -> None:
        """The environment is idle."""

    def ended(self, environment: Environment, start_failure: Failure | None) -> None:
        """The process has ended. `start_failure` is None where it had started, or was stopped before."""


class Environment:
    """Starts at once. `task` is done when the process has ended and its output is read."""

    def __init__(self, host: Host, owner: Owner, function: Function) -> None:
        self._host = host
        self._owner = owner
        self._function = function
        self._log_stream = f"{datetime.now(UTC):%Y/%m/%d}/[{function.version}]{secrets.token_hex(16)}"
        self._state = State.STARTING
        self._next: asyncio.Future[Invocation] | None = None  # the process's last request for an event
        self._invocation: Invocation | None = None  # the event that it has
        self._timer: asyncio.TimerHandle | None = None  # of the start, or of the event
        self._process: asyncio.subprocess.Process | None = None
        self._key: AccessKey | None = None  # of the process
        self._is_frozen = False
        self._failure: Failure | None = None  # why it ended
        self._since = time.monotonic()  # when it began to start, or got its event
        self.task = asyncio.create_task(self._run())

    @property
    def is_starting(self) -> bool:
        return self._state in (State.STARTING, State.FAILED_TO_START)

    @property
    def is_idle(self) -> bool:
        return self._state is State.IDLE

    def take(self, invocation: Invocation) -> None:
        if self._next is None or not self.is_idle:
            raise AssertionError("only an idle environment takes an event")
        self._state = State.BUSY
        self._invocation = invocation
        self._since = time.monotonic()
        self._thaw()
        self._next.set_result(invocation)
        self._start_timer(self._function.timeout_s)

    def retire(self) -> None:
        """End after the event that it has, or at once."""
        if self._invocation is None:
            self.stop()
        else:
            self._state = State.RETIRED

    def stop(self) -> None:
        """End at once. A start that is interrupted so is not a failure."""
        self._state = State.ENDING
        self._kill_process()

    def kill(self) -> None:
        """End at once, as in a crash."""
        if self._state is State.STARTING:
            self._state = State.FAILED_TO_START
        elif self._state is not State.FAILED_TO_START:
            self._state = State.ENDING
        self._kill_process()

    # The Runtime of the Runtime API

    async def next(self) -> Invocation:
        self._cancel_timer()
        if self._state is State.STARTING:
            log.info("%s: an environment started in %.0f ms", self._function.name, self._elapsed_ms)
        if self._state in (State.RETIRED, State.FAILED_TO_START, State.ENDING):
            self.stop()
        else:
            self._state = State.IDLE
        self._next = asyncio.get_running_loop().create_future()
        self._owner.dispatch()
        if self.is_idle:
            self._freeze()
        return await self._next

    def finish(self, request_id: str, outcome: Outcome) -> None:
        """A response that comes after its time is ignored."""
        invocation = self._invocation
        if invocation is None or invocation.request_id != request_id:
            return
        self._cancel_timer()
        self._invocation = None
        log.info("%s: an event took %.0f ms", self._function.name, self._elapsed_ms)
        if outcome.error is not None:
            body = json.loads(outcome.payload)
            self._log_failure(invocation, Failure(str(body.get("errorType")), str(body.get("errorMessage"))))
        invocation.finish(outcome)

    def fail_to_start(self, failure: Failure) -> None:
        self._failure = failure

    # The process

    async def _run(self) -> None:
        self._key = key = self._host.access.issue(self._function.role_arn, self._function.name)
        api = RuntimeApi(self._function, self, shutdown_timeout_s=LAST_OUTPUT_S)
        try:
            folder = await self._host.code.folder(self._function)
            await api.start()
            self._process = process = await self._start_process(key, folder, api.address)
            if self._state is State.STARTING:
                self._start_timer(INIT_TIMEOUT_S)
            elif self._state in (State.FAILED_TO_START, State.ENDING):
                self._kill_process()
            logs = asyncio.create_task(self._read_logs(process, key))
            await process.wait()
            await asyncio.wait({logs}, timeout=LAST_OUTPUT_S)
            logs.cancel()
            self._settle(process.returncode)
        except Exception as error:
            log.exception("%s: the environment failed", self._function.name)
            self._failure = Failure("Runtime.Unknown", str(error))
            self._settle(None)
        finally:
            self.kill()
            self._cancel_timer()
            if self._next is not None:
                self._next.cancel()  # the process that asked for it has ended
            await api.aclose()
            self._host.access.revoke(key)
            self._owner.ended(self, self._failure if self._state is State.FAILED_TO_START else None)

    async def _start_process(self, key: AccessKey, folder: Path, runtime_api: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            self._host.python.path,
            "-I",
            BOOTSTRAP,
            cwd=folder,
            env=environment_variables(
                self._function,
                key,
                folder=folder,
                log_stream=self._log_stream,
                runtime_api=runtime_api,
                endpoint_url=self._host.url,
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=MAX_LOG_LINE_BYTES,
            start_new_session=True,
        )

    def _kill_process(self) -> None:
        """End the process and its children."""
        self._signal(signal.SIGKILL)

    def _freeze(self) -> None:
        """Stop the process and its children until the next event, as Lambda does. SIGKILL ends them nevertheless."""
        if self._host.on_frozen is not None and self._key is not None:
            self._is_frozen = True
            self._signal(signal.SIGSTOP)
            self._host.on_frozen(self._key)

    def _thaw(self) -> None:
        if self._is_frozen:
            self._is_frozen = False
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _settle(self, returncode: int | None) -> None:
        """The process has ended: log why, and fail the event that it had."""
        if self._failure is None:
            status = f"status {returncode}"
            if returncode is not None and returncode < 0:
                status = f"signal: {signal.Signals(-returncode).name}"
            self._failure = Failure("Runtime.ExitError", f"Runtime exited with error: exit {status}")
        error_type, message = self._failure
        if self._invocation is not None:
            self._log_failure(self._invocation, self._failure)
            self._invocation.fail(Failure(error_type, f"RequestId: {self._invocation.request_id} Error: {message}"))
            self._invocation = None
        elif self.is_starting:
            log.error("%s: does not start: %s: %s", self._function.name, error_type, message)

    async def _read_logs(self, process: asyncio.subprocess.Process, key: AccessKey) -> None:
        if process.stdout is None:
            raise AssertionError("its output is a pipe")
        console = logging.getLogger(f"local_aws.functions.{self._function.name}")
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            console.info("%s", text)
            self._host.write_logs(self._function, key, self._log_stream, [text])

    # Time

    @property
    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._since) * 1000

    def _start_timer(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_out)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _time_out(self) -> None:
        if self._invocation is not None:
            at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            message = f"{at} {self._invocation.request_id} Task timed out after {self._function.timeout_s:.2f} seconds"
            failure = Failure("Sandbox.Timedout", message)
            self._log_failure(self._invocation, failure)
            self._invocation.fail(failure)
            self._invocation = None
        else:
            self._failure = Failure("Sandbox.Timedout", f"INIT took over {INIT_TIMEOUT_S:g} s")
        self.kill()

    def _log_failure(self, invocation: Invocation, failure: Failure) -> None:
        log.error("%s: event %s failed: %s: %s", self._function.name, invocation.request_id, *failure)
