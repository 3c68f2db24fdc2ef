"""Programs that the benchmark starts, each a process of its own."""

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

_ROOT = Path(__file__).parents[2]


class Program:
    """A module that runs. It prints lines that `read` returns; `log` is its standard error."""

    def __init__(self, module: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.name = module.rpartition(".")[2]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
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

    def write(self, line: bytes) -> None:
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
    """A module of this package: it prints its port. `get` and `post` call its controls."""

    def __init__(self, module: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        super().__init__(f"{__package__}.{module}", *arguments, environment=environment)
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
        return self._call("GET", path, query)

    def post(self, path: str, **query: object) -> Any:
        return self._call("POST", path, query)

    def _call(self, method: str, path: str, query: dict[str, object]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, f"{path}?{urlencode(query)}" if query else path)
            response = connection.getresponse()
            body = response.read()
        if response.status != 200:
            raise BenchError(f"{self.name} responded with {response.status} to {method} {path}: {body[:300]!r}")
        return msgspec.json.decode(body)


class Received(msgspec.Struct):
    """What the stub of the management API has seen since its start or its last `reset`.

    `connections` received at least one text. Times are Unix seconds.
    """

    calls: int
    delivered: int
    connections: int
    duplicates: int
    first_at: float | None
    last_at: float | None

    @property
    def last(self) -> float:
        return self.last_at or 0.0

    @property
    def seconds(self) -> float:
        """From the first delivery to the last."""
        return self.last - (self.first_at or 0.0)


class ManagementStub(Stub):
    def __init__(self, *arguments: str) -> None:
        super().__init__("management_api", *arguments)

    def received(self) -> Received:
        return msgspec.convert(self.get("/stats"), Received, strict=False)

    def reset(self) -> None:
        self.post("/reset")
