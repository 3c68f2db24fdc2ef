"""The programs of a case, each a process of its own: the stubs of AWS, and the functions."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import msgspec

from ..errors import BenchError
from .reports import Footprint, Publish, Published, Received, Sent

_ROOT = Path(__file__).parents[2]


class Program:
    """A module, of this package unless told. It prints a line when it is ready, more as it is asked, and complaints in
    `log`."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        environment: dict[str, str] | None = None,
        package: str = "bench.fan_out",
    ) -> None:
        self.name = module
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{package}.{module}", *arguments],
            cwd=_ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def read(self) -> bytes:
        """Return the next line that it prints. Raises BenchError where it has ended."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self.name} ended with {self._process.wait()}:\n{self.log()}")
        return line.strip()

    def tell(self, line: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def end_input(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def end(self) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Stub(Program):
    """A stub prints its port. `get` and `post` are what the benchmark asks of it."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        environment: dict[str, str] | None = None,
        package: str = "bench.fan_out",
    ) -> None:
        super().__init__(module, *arguments, environment=environment, package=package)
        self._port: int | None = None

    @property
    def port(self) -> int:
        if self._port is None:
            self._port = int(self.read())
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **query: object) -> Any:
        return self._ask("GET", path, query)

    def post(self, path: str, **query: object) -> Any:
        return self._ask("POST", path, query)

    def _ask(self, method: str, path: str, query: dict[str, object]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, f"{path}?{urlencode(query)}" if query else path)
            response = connection.getresponse()
            body = response.read()
        if response.status != 200:
            raise BenchError(f"{self.name} answered {response.status} to {method} {path}: {body[:300]!r}")
        return msgspec.json.decode(body)


class Management(Stub):
    """The stub of the management API. What it has seen is since it began, or since `reset`."""

    def __init__(self, *arguments: str) -> None:
        super().__init__("management_api", *arguments)

    def calls(self) -> int:
        return self.received().calls

    def received(self) -> Received:
        return msgspec.convert(self.get("/stats"), Received, strict=False)

    def reset(self, **options: object) -> None:
        self.post("/reset", **options)


class Function(Program):
    """A function, and what calls it. `ready` waits for the cold start."""

    def ready(self) -> None:
        if self.read() != b"ready":
            raise BenchError(f"{self.name} did not start:\n{self.log()}")

    def stop(self) -> None:
        raise NotImplementedError

    def finish(self) -> Footprint:
        """Let it finish what it is at."""
        self.stop()
        return msgspec.json.decode(self.read(), type=Footprint)


class Worker(Function):
    """A function of the queue."""

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__("worker", environment=environment)

    def stop(self) -> None:
        self.signal(signal.SIGTERM)


class Publisher(Function):
    """The control API's function."""

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__("publisher", environment=environment)

    def stop(self) -> None:
        self.end_input()

    def begin(self, publish: Publish) -> None:
        self.tell(msgspec.json.encode(publish))

    def answer(self) -> Published:
        """Wait for what was begun. Raises BenchError where it was refused."""
        published = msgspec.json.decode(self.read(), type=Published)
        if published.status != 200:
            raise BenchError(f"the control API answered {published.status}: {published.body}\n{self.log()}")
        return published

    def publish(self, publish: Publish) -> Published:
        self.begin(publish)
        return self.answer()


def send(environment: dict[str, str], count: int, text_bytes: int, threads: int | None) -> Sent:
    """Have one process send to so many connections, with our sender or with boto3 in threads."""
    arguments = [str(count), "--bytes", str(text_bytes), *(["--threads", str(threads)] if threads is not None else [])]
    with Program("sending", *arguments, environment=environment) as program:
        return msgspec.json.decode(program.read(), type=Sent)
