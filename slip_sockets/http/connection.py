"""One TCP connection, with one request at a time, by callbacks: a fan-out's processor time goes into these."""

from __future__ import annotations

import asyncio
import os
import select
import ssl
from typing import Protocol

from ..gateway.errors import HttpError, HttpFailure
from .errors import BadResponse, CutOff, ResponseTooLarge
from .reader import Response, ResponseReader
from .tls import tls_error

BUFFER_BYTES = 64 * 1024


class Listener(Protocol):
    """The owner of a request. Exactly one of these is called, once, unless the connection is dropped before."""

    def on_response(self, connection: Connection, response: Response) -> None:
        """The connection takes another request if it is `is_usable`."""

    def on_failure(self, connection: Connection, error: HttpError) -> None:
        """There was no whole response. With `connection.is_stale` the request may not have been read at all."""


class Connection(asyncio.BufferedProtocol):
    """A connection to the host `name`. `buffer` may be shared by all: each reads it empty at once."""

    def __init__(self, name: str, buffer: memoryview) -> None:
        self._name = name
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._fileno = -1
        self._reader: ResponseReader | None = None
        self._listener: Listener | None = None
        self.is_reused = False
        self.is_stale = False
        """Whether the last request failed on a connection that was kept, before the first byte of a response: the peer
        may have closed it before the request came."""
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        return self._transport is not None and self._listener is None and not self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Tell whether an idle connection has nothing to read: the peer's end would show there, though the event loop
        has not come to it yet."""
        poll = select.poll()
        poll.register(self._fileno, select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)

    def send(self, data: bytes, reader: ResponseReader, listener: Listener) -> None:
        """Send a whole request. The connection must be usable."""
        assert self._transport is not None  # noqa: S101
        self._reader, self._listener = reader, listener
        self._transport.write(data)

    def cut(self) -> None:
        """End the response that is being read with the part of its body that has come. Its reader must allow it."""
        reader = self._reader
        assert reader is not None  # noqa: S101
        self._finish(reader.cut(), keeps_alive=False)

    def drop(self) -> None:
        """Close the connection, and call nothing."""
        self._reader = self._listener = None
        if self._transport is not None:
            self._transport.abort()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        self._fileno = transport.get_extra_info("socket").fileno()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        reader = self._reader
        if reader is None:  # nothing was asked for
            self.drop()
            return
        try:
            response = reader.feed(bytes(self._buffer[:nbytes]))
        except BadResponse as error:
            self._fail(_error_of(error))
            return
        if response is not None:
            self._finish(response, keeps_alive=reader.keeps_alive)

    def eof_received(self) -> None:
        if self._reader is not None:
            try:
                response = self._reader.end()
            except BadResponse as error:
                self._fail(_error_of(error))
            else:
                self._finish(response, keeps_alive=False)

    def connection_lost(self, exc: Exception | None) -> None:
        reader = self._reader
        if reader is not None:
            if reader.may_be_cut:
                self.cut()
            elif isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError):
                self._fail(tls_error(exc, self._name))
            else:
                began = "within" if reader.has_begun else "before"
                reason = f": {reason_of(exc)}" if isinstance(exc, OSError) else ""
                problem = f"the connection was closed {began} the response{reason}"
                self._fail(HttpError(problem, HttpFailure.BROKEN_OFF))
        self._transport = None

    def _finish(self, response: Response, *, keeps_alive: bool) -> None:
        listener, transport = self._listener, self._transport
        assert listener is not None  # noqa: S101
        assert transport is not None  # noqa: S101
        self._reader = self._listener = None
        if not keeps_alive or transport.get_write_buffer_size():  # the latter: the peer did not wait for the request
            self.drop()
        self.is_reused = True
        listener.on_response(self, response)

    def _fail(self, error: HttpError) -> None:
        reader, listener = self._reader, self._listener
        self.drop()
        if reader is not None and listener is not None:
            self.is_stale = self.is_reused and not reader.has_begun
            listener.on_failure(self, error)


def reason_of(error: OSError) -> str:
    """Return what the system calls an error, in one line."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return " ".join(str(error).split()) or type(error).__name__


def _error_of(error: BadResponse) -> HttpError:
    match error:
        case ResponseTooLarge():
            return HttpError(str(error), HttpFailure.TOO_LARGE)
        case CutOff():
            return HttpError(str(error), HttpFailure.BROKEN_OFF)
        case _:
            return HttpError(str(error), HttpFailure.NOT_HTTP)
