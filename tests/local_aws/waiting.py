"""Functions that send their event to the test and wait for its reply: the test decides what happens when."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Self

from .cloud import TIMEOUT_S

ASK = """
import json, os, socket

def ask(event):
    host, port = os.environ["TEST"].split(":")
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rw") as file:
        print(json.dumps(event), file=file, flush=True)
        return json.loads(file.readline())
"""
"""The beginning of such a function's source. It needs the environment variable `TEST`, the address of a WaitingRoom."""


class WaitingFunction:
    """A function that has `event`, and waits until the test replies."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT_S)
        self._connection = connection
        self._file = connection.makefile("rw")
        self.event: Any = json.loads(self._file.readline())

    def reply(self, value: object) -> None:
        print(json.dumps(value), file=self._file, flush=True)
        self.close()

    def wait_until_killed(self) -> None:
        """Its end of the connection closes with the last process that holds it."""
        assert self._file.readline() == ""

    def close(self) -> None:
        self._file.close()
        self._connection.close()


class WaitingRoom:
    """Accepts the connections of waiting functions."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT_S)
        self._waiting: list[WaitingFunction] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for function in self._waiting:
            function.close()
        self._listener.close()

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def next(self) -> WaitingFunction:
        """Wait for the next function."""
        connection, _ = self._listener.accept()
        self._waiting.append(WaitingFunction(connection))
        return self._waiting[-1]
