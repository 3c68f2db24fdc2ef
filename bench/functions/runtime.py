"""An environment of Lambda: a process under awslambdaric, and the Runtime API from which it gets its events.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import queue
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from ..errors import BenchError
from ..processes import usage

BOOTSTRAP = Path(__file__).parents[2] / "local_aws" / "bootstrap.py"
PATIENCE_S = 60.0
TIMEOUT_S = 29.0


class Environment:
    """`task` is the folder of the code, `variables` are the function's own. Nothing is written into the folder, since
    that is not possible on Lambda."""

    def __init__(self, python: Path, task: Path, handler: str, variables: Mapping[str, str]) -> None:
        self._polls: queue.Queue[None] = queue.Queue()
        self._events: queue.Queue[bytes | None] = queue.Queue()
        self._responses: queue.Queue[bytes] = queue.Queue()
        self._server = _RuntimeApi(self._polls, self._events, self._responses)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `__exit__`
        self._process = subprocess.Popen(
            [python, "-I", "-B", BOOTSTRAP],
            cwd=task,
            env={
                **variables,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                "AWS_LAMBDA_FUNCTION_NAME": "bench",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_LOG_FORMAT": "JSON",
                "AWS_LAMBDA_LOG_GROUP_NAME": "bench",
                "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_address[1]}",
                "LAMBDA_TASK_ROOT": str(task),
                "LANG": "C.UTF-8",
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "TZ": ":UTC",
                "_HANDLER": handler,
            },
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._events.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._log.close()

    @property
    def cpu_s(self) -> float:
        """Processor time since the start, of all threads, to the nanosecond: see clock_getcpuclockid(3)."""
        return time.clock_gettime(~self._process.pid << 3 | 2)

    @property
    def resident_mb(self) -> float:
        return usage(self._process.pid).rss_bytes / 1e6

    def start(self) -> None:
        """Wait until it polls for its first event. Raises BenchError."""
        self._get(self._polls)

    def invoke(self, event: object) -> Any:
        """Return the response to an event, once the function polls for the next one. Raises BenchError."""
        self._events.put(msgspec.json.encode(event))
        response = msgspec.json.decode(self._get(self._responses))
        self._get(self._polls)
        return response

    def _get(self, source: queue.Queue[Any]) -> Any:
        ends_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                return source.get(timeout=0.2)
            except queue.Empty:
                ended = self._process.poll()
                if ended is not None or time.monotonic() > ends_at:
                    self._log.seek(0)
                    log = self._log.read().decode(errors="replace")[-3000:]
                    raise BenchError(f"the function {'ended' if ended is not None else 'hangs'}:\n{log}") from None


class _RuntimeApi(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, polls: queue.Queue[None], events: queue.Queue[bytes | None], responses: queue.Queue[bytes]
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                polls.put(None)
                event = events.get()
                if event is None:
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", str(uuid.uuid4()))
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + TIMEOUT_S) * 1000)))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:0:function:bench")
                self._send(event)

            def do_POST(self) -> None:
                responses.put(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(202)
                self._send(b'{"status": "OK"}')

            def _send(self, body: bytes) -> None:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
