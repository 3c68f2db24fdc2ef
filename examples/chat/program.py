"""Runs the chat on this machine: the backend as a program of its own, and the development server in front of it.

From the environment: PORT of the server (default 8787), BACKEND_PORT (8000), 0 for a free one; JWT_SECRET (default: a
random one); OUTPUTS, the file to which the server writes its URLs (`cdk-outputs.dev.json`).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import aiohttp

from slip_sockets.dev.server import DevServer, DevSettings
from slip_sockets.protocol.errors import InvalidSettings

HOST = "127.0.0.1"


class CannotStart(Exception):
    """Its text is one line for the user."""


async def run() -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())

    secret = os.environ.get("JWT_SECRET") or secrets.token_urlsafe(32)
    outputs = Path(os.environ.get("OUTPUTS") or "cdk-outputs.dev.json")
    with listen("BACKEND_PORT", 8000) as listener:
        page = f"http://{HOST}:{listener.getsockname()[1]}/"
        server = await start_server(
            DevSettings(f"{page}slip", secret, port=port_from("PORT", 8787), outputs_path=outputs, inspector=True)
        )
        backend = await start_backend(listener, {"JWT_SECRET": secret, "OUTPUTS": str(outputs)})
    ended = asyncio.create_task(backend.wait())
    try:
        ready = asyncio.create_task(responds(page))
        await asyncio.wait({ready, ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and ready.result():
            print(f"WebSockets  {server.websocket_url}\nBackend     {page}\nInspector   {server.inspector_url}")
            print("Ctrl-C stops both.\n")
            print(f"Open {page} in two tabs", flush=True)
        else:
            ready.cancel()
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return 0
        print(f"chat: the backend has ended with status {ended.result()}; the server stops too", file=sys.stderr)
        return 1
    finally:
        # The server first, so that the backend still receives each CLOSE.
        await server.aclose()
        if not ended.done():
            backend.terminate()
        await ended


def port_from(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise CannotStart(f"{variable} is {text!r}. Set it to a port, 0 to 65535; 0 takes a free one.")
    return int(text)


def listen(variable: str, default: int) -> socket.socket:
    """Take the backend's port before anything is started."""
    port = port_from(variable, default)
    try:
        return socket.create_server((HOST, port), backlog=1024)
    except OSError as error:
        raise CannotStart(port_problem(variable, port, error)) from error


async def start_server(settings: DevSettings) -> DevServer:
    server = DevServer(settings)
    try:
        await server.start()
    except InvalidSettings as error:
        cause = error.__cause__
        raise CannotStart(
            port_problem("PORT", settings.port, cause) if isinstance(cause, OSError) else str(error)
        ) from error
    return server


async def start_backend(listener: socket.socket, environment: dict[str, str]) -> Process:
    """Start it in a process group of its own, because a Ctrl-C in the terminal is for this program only.

    It ends when this program ends, by its `stdin`.
    """
    fd = listener.fileno()
    program = (sys.executable, "-m", "examples.chat.serve", str(fd))
    return await asyncio.create_subprocess_exec(
        *program, env=os.environ | environment, stdin=PIPE, pass_fds=[fd], process_group=0
    )


async def responds(url: str) -> bool:
    """Wait for a response of `url`; return False if the connection breaks instead."""
    try:
        async with aiohttp.ClientSession() as client, client.get(url) as response:
            await response.read()
            return True
    except aiohttp.ClientError:
        return False


def port_problem(variable: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is in use by another program. Stop it, or set {variable} to another port; 0 takes a free one."
        )
    return f"cannot listen at {HOST} port {port}: {error.strerror or error}. Set {variable} to another port."


def main() -> int:
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    try:
        return asyncio.run(run())
    except CannotStart as error:
        print(f"chat: {error}", file=sys.stderr)
        return 2
