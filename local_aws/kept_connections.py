"""The connections that functions keep to the local AWS. Networks forget them while a function is frozen."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet


def reset(transport: asyncio.BaseTransport) -> None:
    """Cut a connection with an RST."""
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, asyncio.Transport):
        transport.abort()


class KeptConnections:
    """Those that are idle, by the id of the key that signed the last request on each."""

    def __init__(self) -> None:
        self._idle: dict[str, WeakSet[asyncio.BaseTransport]] = {}

    @contextmanager
    def in_use(self, key_id: str | None, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """While a request on the connection is being responded to."""
        if key_id is None or transport is None:
            yield
            return
        idle = self._idle.setdefault(key_id, WeakSet())
        idle.discard(transport)
        try:
            yield
        finally:
            idle.add(transport)

    def reset(self, key_id: str) -> None:
        """Reset the idle connections of a key."""
        for transport in list(self._idle.pop(key_id, ())):
            if not transport.is_closing():
                reset(transport)
