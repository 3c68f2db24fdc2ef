"""What a test has of the shared deployment for itself: a channel, the sockets in it, and the backend's view of them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode

import pytest
import websockets

from slip_sockets import Close, Keep, Open, Report, SlipSocketsPublisher, Text
from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.aws.connections import own_channel
from slip_sockets.aws.presence import MEMBER

from .backend import Chat, ChatBackend, open_chat
from .deployment import PRODUCTION, Deployment
from .patience import PATIENCE_S, until
from .queues import deferred, inbound

LONG_AGO_S = 600.0

E = TypeVar("E", Open, Text, Close)


class Client:
    """An open socket. `received` are the texts that came, as far as they were waited for, without the greeting."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.received: list[str] = []

    async def send(self, text: str) -> None:
        await self.socket.send(text)

    async def hear(self, *texts: str) -> None:
        """Wait until it has received each of `texts`."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not set(texts) <= set(self.received):
                    self.received.append(str(await self.socket.recv()))
        except (TimeoutError, websockets.ConnectionClosed) as error:
            raise AssertionError(f"of {texts} only {self.received} came") from error

    async def closed(self) -> int:
        """Receive until the server closes the socket, and return the code."""
        async with asyncio.timeout(PATIENCE_S):
            async for text in self.socket:
                self.received.append(str(text))
        assert self.socket.close_code is not None
        return self.socket.close_code


async def all_hear(clients: Iterable[Client], *texts: str) -> None:
    """Wait until each client has received each of `texts`."""
    await asyncio.gather(*(client.hear(*texts) for client in clients))


class Room:
    """`name` is the channel to which the backend subscribes the clients, `chat` what the backend knows of them.

    `aclose` closes the sockets, and waits until nothing is left over: no row, and no message in the queue.
    """

    def __init__(self, deployment: Deployment, chat: Chat) -> None:
        self.name = chat.room
        self.chat = chat
        self._deployment = deployment
        self._stacks: set[str] = set()
        self._clients: list[Client] = []
        self._publishers: dict[str, SlipSocketsPublisher] = {}

    async def aclose(self) -> None:
        self.chat.is_silent = True
        self.chat.over.set()
        await self.leave(*self._clients)
        for publisher in self._publishers.values():
            publisher.close_session()
        try:
            await self.settle()
        except TimeoutError:
            self._sweep()
            raise

    # Clients

    async def join(
        self,
        user: str = "somebody",
        *,
        stack: str = PRODUCTION,
        query: str = "",
        greeting: str = "welcome",
        **options: Any,
    ) -> Client:
        """Connect, and wait for the greeting: texts for all in the room may come before it.

        Raises websockets.InvalidStatus where the client is refused.
        """
        self._stacks.add(stack)
        url = f"{self._deployment.outputs[stack]['websocketUrl']}?{urlencode({'room': self.name, 'user': user})}{query}"
        # Without pings of its own: a busy machine's responses to them may come too late.
        socket = await websockets.connect(url, open_timeout=PATIENCE_S, ping_interval=None, proxy=None, **options)
        client = Client(socket)
        self._clients.append(client)
        await client.hear(greeting)
        client.received.remove(greeting)
        return client

    async def join_many(self, count: int, *, stack: str = PRODUCTION) -> list[Client]:
        async with asyncio.TaskGroup() as tasks:
            joining = [tasks.create_task(self.join(stack=stack)) for _ in range(count)]
        return [task.result() for task in joining]

    async def refusal(self, user: str) -> int:
        """Return the status with which a client is refused."""
        with pytest.raises(websockets.InvalidStatus) as refused:
            await self.join(user)
        return refused.value.response.status_code

    async def leave(self, *clients: Client) -> None:
        await asyncio.gather(*(client.socket.close() for client in clients))

    # Publishers

    def publisher(self, stack: str = PRODUCTION) -> SlipSocketsPublisher:
        """Blocking: call it with `asyncio.to_thread`, and one at a time."""
        self._stacks.add(stack)
        if stack not in self._publishers:
            self._publishers[stack] = self._deployment.publisher(stack)
        return self._publishers[stack]

    async def publish(
        self, text: str, message_id: str | None = None, *, stack: str = PRODUCTION, keep: Keep | None = None
    ) -> Report:
        """Each call has a publisher of its own, so that several may run at once."""
        self._stacks.add(stack)

        def publish() -> Report | None:
            with self._deployment.publisher(stack) as publisher:
                return publisher.publish_text(self.name, text, message_id=message_id, keep=keep)

        report = await asyncio.to_thread(publish)
        assert report is not None
        return report

    # The backend

    async def received(self, kind: type[E], connection_id: str) -> tuple[E, Any]:
        """Wait until the backend has received an event of a connection; return the first of that kind, and its
        metadata."""

        def found() -> list[tuple[E, Any]]:
            return [
                (event, metadata)
                for event, metadata in self.chat.received
                if isinstance(event, kind) and event.connection_id == connection_id
            ]

        await until(lambda: found() != [])
        return found()[0]

    def connection_id(self, user: str) -> str:
        """The connection of a client that has joined."""
        (connection_id,) = (
            event.connection_id
            for event, metadata in self.chat.received
            if isinstance(event, Open) and metadata["query"]["user"] == [user]
        )
        return connection_id

    # The table

    def rows(self, stack: str = PRODUCTION) -> list[dict[str, Any]]:
        """Return the rows of this room's connections, and those of its channels."""
        return [
            row
            for row in self._deployment.connections(stack)
            if row["connectionId"]["S"] in self.chat.connection_ids or row["channel"]["S"].startswith(self.name)
        ]

    def members(self, stack: str = PRODUCTION) -> list[dict[str, Any]]:
        """Return the rows of the members of the room, and of those who have left it."""
        key = {":channel": {"S": self.name}, ":member": {"S": MEMBER}}
        found: list[dict[str, Any]] = self._deployment.client("dynamodb").query(
            TableName=f"{stack}-Channels",
            KeyConditionExpression="channel = :channel AND begins_with(#key, :member)",
            ExpressionAttributeNames={"#key": "key"},
            ExpressionAttributeValues=key,
        )["Items"]
        return found

    def subscribers(self, channel: str | None = None) -> list[str]:
        return [row["connectionId"]["S"] for row in self.rows() if row["channel"]["S"] == (channel or self.name)]

    @contextmanager
    def ghosts(self, channel: str, *, count: int = 1, stack: str = PRODUCTION) -> Iterator[list[str]]:
        """Have connections in the table that left long ago, unnoticed: each subscribes to `channel`.

        In the end their own rows are deleted: a publish that finds them gone deletes only their subscriptions.
        """
        ids = [f"{uuid.uuid4().hex[:15]}=" for _ in range(count)]
        self.chat.connection_ids.update(ids)
        try:
            for connection_id in ids:
                self.put_connection(connection_id, accepted_at=time.time() - LONG_AGO_S, stack=stack)
                self._put(stack, connection_id, channel)
            yield ids
        finally:
            for connection_id in ids:
                self.delete_connection(connection_id, stack=stack)

    def put_connection(self, connection_id: str, *, accepted_at: float, stack: str = PRODUCTION) -> None:
        """Write a connection's own row."""
        own = {"metadata": {"S": "null"}, "connectedAt": {"N": str(int(accepted_at * 1000))}}
        self._put(stack, connection_id, own_channel(connection_id), **own)

    def delete_connection(self, connection_id: str, *, stack: str = PRODUCTION) -> None:
        self._delete(stack, {"connectionId": {"S": connection_id}, "channel": {"S": own_channel(connection_id)}})

    def _put(self, stack: str, connection_id: str, channel: str, **attributes: Any) -> None:
        expiry = {"ttl": {"N": str(int(time.time() - LONG_AGO_S + ROW_LIFETIME_S))}}
        row = {"connectionId": {"S": connection_id}, "channel": {"S": channel}, **expiry, **attributes}
        self._deployment.client("dynamodb").put_item(TableName=f"{stack}-Connections", Item=row)

    def _delete(self, stack: str, row: dict[str, Any]) -> None:
        key = {name: row[name] for name in ("connectionId", "channel")}
        self._deployment.client("dynamodb").delete_item(TableName=f"{stack}-Connections", Key=key)

    # The end

    async def settle(self) -> None:
        """Wait until no row of this room is left, and no message in the queues that it used."""
        stacks = self._stacks
        await until(lambda: not any(self.rows(stack) or self._waiting(stack) for stack in stacks))

    def _waiting(self, stack: str) -> int:
        return sum(queue(self._deployment, stack).waiting for queue in (inbound, deferred))

    def _sweep(self) -> None:
        """After a failure: remove what would disturb the next test."""
        for stack in self._stacks:
            inbound(self._deployment, stack).clear()
            deferred(self._deployment, stack).clear()
            for row in self.rows(stack):
                self._delete(stack, row)


@asynccontextmanager
async def open_room(deployment: Deployment, backend: ChatBackend) -> AsyncIterator[Room]:
    with open_chat(backend) as chat:
        room = Room(deployment, chat)
        try:
            yield room
        finally:
            await room.aclose()
