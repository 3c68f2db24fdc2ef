"""The servers, each a process that is started for one run and stopped after it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import SplitResult, urlsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from slip_sockets.protocol.tokens import mint

from .errors import BenchError
from .processes import Usage, usage
from .publishing import PublishRequest
from .stubs.backend import Opens
from .stubs.programs import Stub

CHANNEL = "bench"
START_TIMEOUT_S = 30.0
PUSHPIN_KEY = "the-key-of-a-pushpin-for-benchmarks"
"""Of its Grip-Sig."""
_SECRET = "a-secret-for-benchmarks-of-32-bytes-or-more"
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens for WebSockets at `port` and publishes by `publish_request`."""

    pid: int
    port: int
    publish_request: PublishRequest

    def usage(self) -> Usage:
        """Return what its process and its descendants use."""
        return usage(self.pid)


StartServer = Callable[[int], AbstractContextManager[Running]]
"""Starts a server in front of the backend at a port."""


@contextlib.contextmanager
def backend(channel: str = "", opens: Opens = Opens.RAW) -> Iterator[int]:
    """Run the backend and yield its port. It subscribes every connection to `channel`, if that is given."""
    with Stub("backend", "--channel", channel, "--opens", opens) as stub:
        yield stub.port


@contextlib.contextmanager
def slip_sockets(backend_port: int, *options: str) -> Iterator[Running]:
    """Run `slip-sockets dev`."""
    with _slip_sockets(backend_port, *options) as (program, port, control):
        publish_request = PublishRequest(
            control.port or 0,
            control.path,
            f"Authorization: Bearer {mint('ControlEvent', _SECRET, lifetime_s=3600)}\r\n"
            "Content-Type: application/websocket-events\r\n",
            f'{{"events":[{{"type":"PUBLISH_TEXT","channelId":"{CHANNEL}","data":"'.encode(),
            b'"}]}',
        )
        yield Running(program.pid, port, publish_request)


@contextlib.contextmanager
def slip_sockets_in_grip(backend_port: int) -> Iterator[Running]:
    """Run `slip-sockets dev` with GRIP: the same requests to the backend and of publishers as with Pushpin."""
    with _slip_sockets(backend_port, "--backend-protocol", "grip") as (program, port, control):
        headers = f"Authorization: Bearer {_SECRET}\r\n"
        yield Running(program.pid, port, _grip_publish(control.port or 0, f"{control.path}/publish/", headers))


@contextlib.contextmanager
def _slip_sockets(backend_port: int, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int, SplitResult]]:
    """Run `slip-sockets dev`; yield its process, its port, and the URL of its control API."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+b") as log:
        outputs = Path(folder) / "outputs.json"
        command = [sys.executable, "-m", "slip_sockets", "dev", "--port", "0", "--outputs", str(outputs)]
        command += ["--target-url", f"http://127.0.0.1:{backend_port}/", *options]
        with _program(command, log, {"JWT_SECRET": _SECRET}) as program:
            _wait_until(outputs.exists, program, log)
            urls = json.loads(outputs.read_text())["slip-sockets"]
            port = urlsplit(urls["websocketUrl"]).port
            if port is None:
                raise BenchError(f"no port in {urls}")
            yield program, port, urlsplit(urls["controlApi"])


def _grip_publish(port: int, path: str, headers: str) -> PublishRequest:
    return PublishRequest(
        port,
        path,
        f"{headers}Content-Type: application/json\r\n",
        f'{{"items":[{{"channel":"{CHANNEL}","formats":{{"ws-message":{{"content":"'.encode(),
        b'"}}}]}',
    )


@contextlib.contextmanager
def pushpin(backend_port: int, *, client_buffer_bytes: int = 8192) -> Iterator[Running]:
    """Run Pushpin with all its files in a folder of its own, apart from a service that may be installed.

    The buffer is as small as Debian's, unless it is set. The backend must let a socket in at /ws: this shows that
    Pushpin is ready.
    """
    program_path = shutil.which("pushpin")
    if program_path is None:
        raise BenchError("pushpin is not on PATH")
    with tempfile.TemporaryDirectory(prefix="pp") as folder, (Path(folder) / "log").open("w+b") as log:
        port, publish_port = _free_ports(2)
        config = Path(folder) / "pushpin.conf"
        settings = {"port": port, "publish_port": publish_port, "client_buffer_bytes": client_buffer_bytes}
        config.write_text(_PUSHPIN_CONF.format(folder=folder, key=PUSHPIN_KEY, **settings))
        (Path(folder) / "routes").write_text(f"* 127.0.0.1:{backend_port},over_http\n")
        with _program([program_path, f"--config={config}", "--merge-output"], log) as program:
            # Its processes connect to each other only after they listen.
            _wait_until(lambda: _listens(publish_port) and _opens(port), program, log)
            yield Running(program.pid, port, _grip_publish(publish_port, "/publish/", ""))


_PUSHPIN_CONF = """\
[global]
include={{libdir}}/internal.conf
rundir={folder}
ipc_prefix=bench-
port_offset=0

[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={folder}
log_level=1
client_buffer_size={client_buffer_bytes}
client_maxconn=50000

[proxy]
routesfile=routes
sig_key={key}
zurl_out_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in
zurl_out_stream_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in-stream
zurl_in_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-out

[handler]
push_in_http_addr=127.0.0.1
push_in_http_port={publish_port}
push_in_spec=ipc://{{rundir}}/{{ipc_prefix}}push-in
push_in_sub_specs=ipc://{{rundir}}/{{ipc_prefix}}push-in-sub
command_spec=ipc://{{rundir}}/{{ipc_prefix}}command
stats_spec=ipc://{{rundir}}/{{ipc_prefix}}stats
message_rate=1000000
message_hwm=1000000
"""
"""Debian's configuration, with these changes: no rate limit, addresses and a zurl of its own, and no log of requests
(ours logs none either)."""


@contextlib.contextmanager
def _program(
    command: list[str], log: IO[bytes], environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    program = subprocess.Popen(
        command,
        cwd=_ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        yield program
    finally:
        program.terminate()
        try:
            program.wait(20)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def _wait_until(is_ready: Callable[[], bool], program: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_ready():
        if program.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise BenchError(f"{program.args!r} did not start:\n{log.read().decode(errors='replace')}")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _opens(port: int) -> bool:
    """Whether a socket comes through to the backend."""
    try:
        with connect(f"ws://127.0.0.1:{port}/ws", open_timeout=5, proxy=None):
            return True
    except (OSError, WebSocketException):
        return False


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
