"""Keeps connections, for each host."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import deque
from collections.abc import Sequence

from ..gateway.errors import HttpError, HttpFailure
from ..gateway.ports import Clock
from .connection import BUFFER_BYTES, Connection, reason_of
from .tls import tls_context, tls_error
from .url import Origin

RESOLVED_FOR_S = 60.0
FRESH_S = 0.1
"""A connection used so recently is not looked at before it is used again: the event loop has just read from it."""
LEAST_ADDRESS_S = 1.0
"""How long one of several addresses is waited for at least: TCP and TLS need three round trips, of up to 0.3 s each."""

_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)
"""What all IPv6 addresses give where there is IPv4 alone: an error of another address says more."""


class Host:
    """The connections to one origin. All calls belong on one event loop."""

    def __init__(
        self, origin: Origin, clock: Clock, buffer: memoryview, *, idle_s: float, tls: ssl.SSLContext | None
    ) -> None:
        self.origin = origin
        self.idle_s = idle_s
        self._clock = clock
        self._buffer = buffer
        self._tls = tls
        self._idle: list[Connection] = []  # the last is the one that was used last
        self._addresses: deque[tuple[str, int]] = deque()
        self._resolved_at = 0.0
        self._sweep: asyncio.TimerHandle | None = None

    def take_idle(self, *, looks_at_all: bool = False) -> Connection | None:
        """Return a kept connection that seems alive. The time is the wall clock's: a process may have been frozen."""
        now = self._clock.now()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                idle_s = now - connection.idle_since
                is_fresh = idle_s < FRESH_S and not looks_at_all
                if 0 <= idle_s <= self.idle_s and (is_fresh or connection.is_quiet()):
                    return connection
                connection.drop()
        return None

    def give_back(self, connection: Connection) -> None:
        if not connection.is_usable:
            return
        if self.idle_s > 0:
            connection.idle_since = self._clock.now()
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep = asyncio.get_running_loop().call_later(self.idle_s, self._drop_old)
        else:
            connection.drop()

    def close(self) -> None:
        """Close the kept connections."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in self._idle:
            connection.drop()
        self._idle.clear()

    def _drop_old(self) -> None:
        """Close what nothing has used for long: the oldest come first."""
        self._sweep = None
        since = self._clock.now() - self.idle_s
        while self._idle and self._idle[0].idle_since <= since:
            self._idle.pop(0).drop()
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(self.idle_s, self._drop_old)

    async def connect(self, timeout_s: float) -> Connection:
        """Open a connection to the first of the host's addresses that takes it. Raises HttpError."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._open_any(timeout_s)
        except TimeoutError as error:
            raise HttpError(f"no connection within {timeout_s:g} s", HttpFailure.TIMEOUT) from error
        except ssl.SSLError as error:
            raise tls_error(error, self.origin.name) from error
        except OSError as error:
            raise HttpError(self._reason(error), HttpFailure.UNREACHABLE) from error

    async def _open_any(self, timeout_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        addresses = await self._addresses_in_turn()
        problem: OSError | None = None
        for number, address in enumerate(addresses):
            share_s = (ends_at - loop.time()) / (len(addresses) - number)
            try:
                async with asyncio.timeout(max(share_s, LEAST_ADDRESS_S)):
                    return await self._open(address)
            except ssl.SSLError:  # another address has the same certificate
                raise
            except OSError as error:
                if address in self._addresses:
                    self._addresses.remove(address)
                if problem is None or error.errno not in _NO_ROUTE:
                    problem = error
        raise problem or OSError("its name has no address")

    async def _open(self, address: tuple[str, int]) -> Connection:
        name, is_tls = self.origin.name, self.origin.is_tls
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(name, self._buffer),
            *address,
            ssl=(self._tls or tls_context()) if is_tls else None,
            server_hostname=name if is_tls else None,
        )
        return connection

    async def _addresses_in_turn(self) -> Sequence[tuple[str, int]]:
        """Return the host's addresses, each time beginning with another. One that failed is left out until the name is
        resolved again."""
        now = self._clock.now()
        if not self._addresses or not 0 <= now - self._resolved_at < RESOLVED_FOR_S:
            name, port = self.origin.name, self.origin.port
            found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
            self._addresses = deque(dict.fromkeys((str(info[4][0]), port) for info in found))
            self._resolved_at = now
        addresses = tuple(self._addresses)
        self._addresses.rotate(-1)
        return addresses

    def _reason(self, error: OSError) -> str:
        if isinstance(error, socket.gaierror):
            return f"its name cannot be resolved: {error.strerror}"
        if self.origin.is_tls and isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            return "it breaks off the TLS handshake. Does it speak TLS at this port?"
        return reason_of(error)


class Pool:
    """Connections to any hosts, each kept for `idle_s` seconds. `tls` replaces the context of the process."""

    def __init__(self, clock: Clock, *, idle_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        self._idle_s = idle_s
        self._tls = tls
        self._hosts: dict[Origin, Host] = {}
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    def host(self, origin: Origin) -> Host:
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = Host(origin, self._clock, self._buffer, idle_s=self._idle_s, tls=self._tls)
        return host

    def close(self) -> None:
        for host in self._hosts.values():
            host.close()
