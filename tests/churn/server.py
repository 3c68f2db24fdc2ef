"""The development server in a process of its own, which reports what it holds: `python -m tests.churn.server`.

For each line that it reads it writes a line of JSON, a `Look`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from slip_sockets.dev.server import DevServer, DevSettings

from .files import allow_many_files

SECRET = "a-secret-of-more-than-thirty-two-bytes"


@dataclass(frozen=True)
class Look:
    """What the server holds: `rows` of the store, `sockets` at the edge, `groups` of the queue that have messages,
    asyncio `tasks`, open `files` (file descriptors), and its resident memory."""

    rows: int
    sockets: int
    groups: int
    dead_letters: int
    tasks: int
    files: int
    memory_mb: float


class ServerProcess:
    """The process, as its parent sees it."""

    def __init__(self, process: asyncio.subprocess.Process, websocket_url: str, control_api: str) -> None:
        self.websocket_url = websocket_url
        self.control_api = control_api
        self._process = process

    async def look(self) -> Look:
        return msgspec.json.decode(await self._ask(), type=Look)

    async def _ask(self) -> bytes:
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("both are pipes")
        self._process.stdin.write(b"\n")
        return await self._process.stdout.readline()


@asynccontextmanager
async def server_process(target_url: str) -> AsyncIterator[ServerProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.churn.server",
        target_url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both are pipes")
    try:
        urls = json.loads(await process.stdout.readline())
        yield ServerProcess(process, **urls)
    finally:
        process.stdin.close()
        await process.wait()


def _look(server: DevServer) -> Look:
    gc.collect()
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Look(
        rows=len(server.connections),
        sockets=len(server.edge.connection_ids),
        groups=len(server.queue),
        dead_letters=len(server.queue.dead_letters),
        tasks=len(asyncio.all_tasks()),
        files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - only the names are needed
        memory_mb=resident_pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
    )


async def _serve(target_url: str) -> None:
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with DevServer(DevSettings(target_url, SECRET, port=0)) as server:
        print(json.dumps({"websocket_url": server.websocket_url, "control_api": server.control_api}), flush=True)
        while await stdin.readline():
            print(msgspec.json.encode(_look(server)).decode(), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    allow_many_files()
    asyncio.run(_serve(sys.argv[1]))
