"""One client's WebSocket on asyncio: bytes from and to the network. The protocol is the `websockets` library's.

Its own asyncio server does not fit: here a handshake gets its response only after $connect has returned, a text message
becomes bytes once for all its receivers, and a socket takes 12 KB of memory.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol as TypingProtocol
from typing import cast

from websockets.exceptions import InvalidHeaderValue, InvalidMessage, PayloadTooBig
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

WRITE_BUFFER_BYTES = 1024 * 1024
"""Unread bytes beyond which a client is not sent to."""
STALLED_AFTER_S = 10.0
"""Time after which a client is cut off that reads nothing, or does not respond to a close frame."""


class Listener(TypingProtocol):
    """Receives what a client does."""

    def on_handshake(self, socket: WebSocket, request: Request) -> None:
        """The client asks to connect, with a valid handshake. `socket` stops reading until `accept` or `reject`."""

    def on_text(self, socket: WebSocket, text: str) -> None: ...

    def on_closed(self, socket: WebSocket, code: int, reason: str) -> None:
        """Called once for each accepted socket when either side has closed it. It can no longer send."""

    def on_lost(self, socket: WebSocket) -> None:
        """Called once for each socket when its TCP connection has ended."""


def text_frame(data: str | bytes) -> bytes:
    """Return the bytes of a text message from server to client. They are the same for every client."""
    return Frame(Opcode.TEXT, data.encode() if isinstance(data, str) else data).serialize(mask=False)


class WebSocket(asyncio.Protocol):
    """A client's socket, from its handshake to its end."""

    def __init__(self, listener: Listener, *, max_message_bytes: int, max_frame_bytes: int) -> None:
        self.listener = listener
        """Its `on_handshake` may replace it."""
        self.on_refused: Callable[[asyncio.Transport], None] | None = None
        """Takes the connection after `reject`, for the client's next request. Without it, `reject` closes it."""
        self._protocol = ServerProtocol(max_size=(max_message_bytes, max_frame_bytes))
        self._transport: asyncio.Transport
        self._message: list[bytes] = []
        self._handshake: Response | None = None
        self._head = bytearray()
        self._early = b""
        self._timer: asyncio.TimerHandle | None = None
        self._may_read = True
        self._keeps_alive = True
        self.is_open = False
        self.is_writable = True
        """False while the client leaves more than WRITE_BUFFER_BYTES unread."""
        self.last_active_at = 0.0
        """Loop time of the last text in either direction; pings and pongs do not count."""

    def accept(self, subprotocol: str | None) -> None:
        """Respond to the handshake with 101."""
        if self._handshake is None:
            raise AssertionError("accept comes after on_handshake")
        self.is_open = True
        if subprotocol is not None:
            self._handshake.headers["Sec-WebSocket-Protocol"] = subprotocol
        self._protocol.send_response(self._handshake)
        self._touch()
        self._flush()
        asyncio.get_running_loop().call_soon(self._begin)

    def reject(self, status: int, headers: Mapping[str, str] | None = None, body: str = "") -> None:
        """Respond to the handshake with an error."""
        response = self._protocol.reject(http.HTTPStatus(status), body)
        for name, value in (headers or {}).items():
            del response.headers[name]
            response.headers[name] = value
        # What came before this response may not be meant as a request: the client or a proxy may think it is let in.
        if self.on_refused is not None and self._keeps_alive and not (self._early or self._transport.is_closing()):
            del response.headers["Connection"]
            self._transport.write(response.serialize())
            self._leave_to(self.on_refused)
            return
        self._protocol.send_response(response)
        self._flush()
        self._transport.close()

    def _leave_to(self, take: Callable[[asyncio.Transport], None]) -> None:
        """Give the connection away."""
        self._stop_timer()
        self.listener.on_lost(self)
        take(self._transport)
        self._transport.resume_reading()

    def send(self, frame: bytes) -> None:
        """Send a frame, such as `text_frame` returns."""
        self._touch()
        self._transport.write(frame)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame. The client has STALLED_AFTER_S to respond."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
            self._closed(code, reason)

    def pause_reading(self) -> None:
        self._may_read = False
        self._update_reading()

    def resume_reading(self) -> None:
        self._may_read = True
        self._update_reading()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    @property
    def is_over_limit(self) -> bool:
        """Whether it was closed because the client's frame or message was too large."""
        return isinstance(self._protocol.parser_exc, PayloadTooBig)

    @property
    def peer_ip(self) -> str:
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._cut_off_after(STALLED_AFTER_S)

    def data_received(self, data: bytes) -> None:
        if self._handshake is None:
            data = self._until_end_of_head(data)
        self._protocol.receive_data(data)
        self._handle_events()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._handle_events()
        # The transport closes now, and accepts no more data, even if the client has left much unread.
        self._closed(CloseCode.ABNORMAL_CLOSURE, "")
        self._cut_off_after(STALLED_AFTER_S)

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        self._closed(CloseCode.ABNORMAL_CLOSURE, "")
        self.listener.on_lost(self)

    def pause_writing(self) -> None:
        self.is_writable = False
        self._update_reading()  # pongs for its pings would pile up
        self._cut_off_after(STALLED_AFTER_S)

    def resume_writing(self) -> None:
        self.is_writable = True
        self._update_reading()
        if self.is_open:
            self._stop_timer()

    # Data from the client

    def _until_end_of_head(self, data: bytes) -> bytes:
        """Keep bytes after the head: the client should wait for the response, and the library expects that it does."""
        known = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n", max(known - 3, 0))
        if end >= 0:
            size = end + 4 - known
            data, self._early = data[:size], data[size:]
            self._head.clear()
        return data

    def _begin(self) -> None:
        self.resume_reading()
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    def _handle_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._stop_timer()
                self._handle_handshake(event)
            elif isinstance(event, Frame):
                self._handle_frame(event)
        is_refused = self._protocol.state is State.CONNECTING and self._protocol.close_expected()
        fault = self._protocol.handshake_exc
        if is_refused and isinstance(fault, InvalidMessage):  # the library has no response to bytes that are not HTTP
            self._transport.write(self._error_response(f"{fault}: {fault.__cause__}").serialize())
        self._flush()
        if is_refused:
            self._transport.close()
        if self._protocol.close_sent is not None:  # the library closed because of a fault of the client
            self._closed(self._protocol.close_sent.code, self._protocol.close_sent.reason)

    def _handle_handshake(self, request: Request) -> None:
        response = self._response_to(request)
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            self._handshake = response
            options = ",".join(request.headers.get_all("Connection")).lower().split(",")
            self._keeps_alive = "close" not in (option.strip() for option in options)
            self.pause_reading()
            self.listener.on_handshake(self, request)
        else:
            self._protocol.send_response(response)

    def _response_to(self, request: Request) -> Response:
        """Return the response to a handshake; its first fault decides. RFC 6455, section 4.2."""
        if len(request.headers.get_all("Host")) != 1:  # the library leaves that to the HTTP server
            return self._error_response("a request needs one Host header")
        response = self._protocol.accept(request)
        match self._protocol.handshake_exc:
            case InvalidHeaderValue(name="Sec-WebSocket-Version"):
                response = self._error_response("another version of WebSocket", http.HTTPStatus.UPGRADE_REQUIRED)
                response.headers["Upgrade"] = "websocket"
                response.headers["Sec-WebSocket-Version"] = "13"
        return response

    def _error_response(self, why: str, status: http.HTTPStatus = http.HTTPStatus.BAD_REQUEST) -> Response:
        return self._protocol.reject(status, f"Failed to open a WebSocket connection: {why}.\n")

    def _handle_frame(self, frame: Frame) -> None:
        if not self.is_open:
            return
        match frame.opcode:
            case Opcode.TEXT | Opcode.CONT:
                if frame.data:  # empty fragments do not count against the limit, and may come without end
                    self._message.append(bytes(frame.data))
                if frame.fin:
                    self._handle_text(b"".join(self._message))
                    self._message.clear()
            case Opcode.BINARY:
                self.close(CloseCode.UNSUPPORTED_DATA, "Binary frames are not supported")
            case Opcode.CLOSE:
                self._handle_close(Close.parse(frame.data))

    def _handle_text(self, data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.close(CloseCode.INVALID_DATA, "A text frame is not UTF-8")
            return
        self._touch()
        self.listener.on_text(self, text)

    def _handle_close(self, close: Close) -> None:
        unset = close.code == CloseCode.NO_STATUS_RCVD
        self._closed(close.code, "Client-side close frame status not set" if unset else close.reason)

    # Internals

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                with suppress(OSError):  # the client has just cut the connection: connection_lost will be called
                    self._transport.write_eof()
        if self._protocol.close_expected() and self._timer is None:  # data from the client does not prolong it
            self._cut_off_after(STALLED_AFTER_S)

    def _update_reading(self) -> None:
        if self._transport.is_closing():
            return
        if self._may_read and self.is_writable:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _touch(self) -> None:
        self.last_active_at = asyncio.get_running_loop().time()

    def _closed(self, code: int, reason: str) -> None:
        if self.is_open:
            self.is_open = False
            self.listener.on_closed(self, code, reason)

    def _cut_off_after(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
