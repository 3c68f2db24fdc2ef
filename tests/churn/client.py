"""A client of the churn: a socket byte by byte, which reports to the model what it receives."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from contextlib import suppress
from urllib.parse import urlsplit

from ..contract.raw import CLOSE, HANDSHAKE, TEXT, frame
from .model import PATIENCE_S, Member, Model


class Refused(Exception):
    """The client was not let in."""


class Client:
    """Reads in one of `tasks`: an error there ends them all."""

    def __init__(self, member: Member, model: Model, tasks: asyncio.TaskGroup) -> None:
        self.member = member
        self._tasks = tasks
        self._model = model
        self._acks: dict[str, asyncio.Future[None]] = {}
        self._numbers = itertools.count()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._reading: asyncio.Task[None]

    async def connect(self, url: str, query: str, channels: list[str]) -> None:
        """`channels` are what the backend subscribes it to. Raises Refused."""
        target = urlsplit(url)
        for channel in channels:
            self._model.subscribing(self.member, channel)
        async with asyncio.timeout(PATIENCE_S):
            self._reader, self._writer = await asyncio.open_connection(target.hostname, target.port)
            lines = [f"GET /?{query} HTTP/1.1", *(f"{name}: {value}" for name, value in HANDSHAKE), "", ""]
            self._writer.write("\r\n".join(lines).encode())
            head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            self._writer.close()
            raise Refused(head.decode())
        for channel in channels:
            self._model.subscribed(self.member, channel)
        self._reading = self._tasks.create_task(self._read())

    async def ask(self, command: str, argument: str) -> None:
        """Have the backend do something, and wait until it is done."""
        ack = f"{self.member.name}-{next(self._numbers)}"
        self._acks[ack] = done = asyncio.get_running_loop().create_future()
        self._send(f"{command} {ack} {argument}")
        await asyncio.wait({done, self._reading}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        assert done.done(), f"{self.member.name} was {'closed' if self._reading.done() else 'not acknowledged'}"

    async def say(self, channel: str, padding: int) -> None:
        message, subscribed = self._model.publishing(channel, self.member.name)
        await self.ask("say", message.text(padding))
        self._model.accepted(message, subscribed)

    async def subscribe(self, channel: str) -> None:
        self._model.subscribing(self.member, channel)
        await self.ask("subscribe", channel)
        self._model.subscribed(self.member, channel)

    async def unsubscribe(self, channel: str) -> None:
        self._model.unsubscribing(self.member, channel)
        await self.ask("unsubscribe", channel)
        self._model.unsubscribed(self.member, channel)

    # Ways to leave

    async def close(self) -> None:
        self._model.leaving(self.member)
        await self._model.has_all(self.member)
        self._writer.write(frame(CLOSE, b"\x03\xe8"))
        await self._read_to_end()

    async def ask_to_be_closed(self) -> None:
        self._model.leaving(self.member)
        self._send("bye - -")
        await self._read_to_end()
        await self._model.has_all(self.member)

    async def vanish(self) -> None:
        """End with a FIN or an RST: the system chooses by the bytes that are not read yet."""
        self._model.leaving(self.member)
        self._writer.close()
        await self._stop_reading()

    async def reset(self) -> None:
        self._model.leaving(self.member)
        await self._model.has_all(self.member)
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        await self._stop_reading()

    async def _stop_reading(self) -> None:
        """Texts that arrived before count: the reader may have failed over one."""
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading

    async def _read_to_end(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self._reading
        self._writer.close()

    async def _read(self) -> None:
        while True:
            try:
                opcode, payload = await self._read_frame()
            except (asyncio.IncompleteReadError, OSError):
                return
            if opcode == CLOSE:
                return
            assert opcode == TEXT
            self._hear(payload.decode())

    def _hear(self, text: str) -> None:
        if text.startswith("message "):
            self._model.arrived(self.member, text)
        elif text.startswith("ack "):
            self._acks.pop(text.removeprefix("ack ")).set_result(None)
        else:
            assert text == "welcome", text

    async def _read_frame(self) -> tuple[int, bytes]:
        first, size = await self._reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        return first & 0x0F, await self._reader.readexactly(size)

    def _send(self, text: str) -> None:
        self._writer.write(frame(TEXT, text.encode()))
