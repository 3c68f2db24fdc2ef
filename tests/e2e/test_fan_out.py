"""A large channel of the deployed stage: what its publishes promise while things break. On `test_deployment.py`'s
deployment, before `test_redeployment.py` takes it away."""

from __future__ import annotations

import asyncio
import http
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets

from slip_sockets import Report, SlipSocketsPublisher
from slip_sockets.gateway.ports import ROW_TTL_S

from .deployment import INLINE_LIMIT, PRODUCTION, Deployment
from .test_deployment import publisher

pytestmark = pytest.mark.e2e

SOCKETS = INLINE_LIMIT + 10
TIMEOUT_S = 120
VISIBILITY_TIMEOUT_S = 5


@pytest.fixture
def production(deployment: Deployment) -> Iterator[Deployment]:
    yield deployment
    deployment.aws.set_management_fault(lambda method, connection_id: None)


@pytest.fixture
def impatient(production: Deployment) -> Iterator[Deployment]:
    """What a crashed worker had comes again soon."""
    sqs = production.client("sqs")
    url = queue_url(sqs)
    deployed = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(VISIBILITY_TIMEOUT_S)})
    yield production
    sqs.set_queue_attributes(QueueUrl=url, Attributes=deployed)


def queue_url(sqs: Any) -> str:
    return str(sqs.get_queue_url(QueueName=f"{PRODUCTION}-deferred.fifo")["QueueUrl"])


def waiting(deployment: Deployment) -> int:
    """Return how many messages are in the queue, those in hand included."""
    sqs = deployment.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    numbers = sqs.get_queue_attributes(QueueUrl=queue_url(sqs), AttributeNames=names)["Attributes"]
    return sum(int(numbers[name]) for name in names)


class Management:
    """Sees each call of the management API; `fault` says which fail."""

    def __init__(self, deployment: Deployment) -> None:
        self.calls: Counter[str] = Counter()
        self.fault: Callable[[str], http.HTTPStatus | None] = lambda connection_id: None
        deployment.aws.set_management_fault(self._on_call)

    def _on_call(self, method: str, connection_id: str) -> http.HTTPStatus | None:
        self.calls[connection_id] += 1
        return self.fault(connection_id)


class Listeners:
    """Open sockets that subscribe to the lobby. `received` grows as they hear; that somebody left they pass over."""

    def __init__(self, clients: list[websockets.ClientConnection]) -> None:
        self.clients = clients
        self.received: list[list[str]] = [[] for _ in clients]

    async def hear(self, last: str) -> None:
        """Wait until each has received a text that is `last`."""

        async def listen(client: websockets.ClientConnection, received: list[str]) -> None:
            while not received or received[-1] != last:
                text = str(await client.recv())
                if not text.endswith(" left"):
                    received.append(text)

        await asyncio.gather(*map(listen, self.clients, self.received))


@asynccontextmanager
async def listening(deployment: Deployment, count: int = SOCKETS) -> AsyncIterator[Listeners]:
    url = deployment.outputs[PRODUCTION]["websocketUrl"]

    async def join() -> websockets.ClientConnection:
        client = await websockets.connect(url, open_timeout=60, proxy=None)
        assert await client.recv() == "welcome"
        return client

    async with asyncio.timeout(TIMEOUT_S):
        clients = await asyncio.gather(*(join() for _ in range(count)))
        yield Listeners(clients)
        await asyncio.gather(*(client.close() for client in clients))
        await until(lambda: deployment.rows(PRODUCTION) == [] and waiting(deployment) == 0)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


async def publish(sockets: SlipSocketsPublisher, text: str, message_id: str | None = None) -> Report:
    report = await asyncio.to_thread(sockets.publish_text, "lobby", text, message_id=message_id)
    assert report is not None
    return report


async def until(holds: Callable[[], bool]) -> None:
    """Wait, with the patience of the scenario, for what other processes do and do not tell."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def test_a_large_channel_gets_all_in_order_by_the_queue(production: Deployment) -> None:
    async def scenario() -> None:
        async with listening(production) as lobby:
            sockets = publisher(production, PRODUCTION)
            texts = [f"message {number}" for number in range(5)]
            for text in texts:
                assert await publish(sockets, text) == Report(SOCKETS, 0, 0, SOCKETS)
            await lobby.hear(texts[-1])
            assert lobby.received == [texts] * SOCKETS

    run(scenario())


def test_a_worker_killed_in_mid_chunk_loses_nothing_and_repeats_a_chunk_at_most(impatient: Deployment) -> None:
    arn = impatient.client("lambda").get_function(FunctionName=f"{PRODUCTION}-deliver")["Configuration"]["FunctionArn"]
    killed = threading.Event()

    async def scenario() -> None:
        async with listening(impatient) as lobby:
            management = Management(impatient)

            def kill_once(connection_id: str) -> http.HTTPStatus | None:
                if sum(management.calls.values()) > SOCKETS / 2 and not killed.is_set():
                    killed.set()
                    impatient.aws.kill(arn)
                return None

            management.fault = kill_once
            sockets = publisher(impatient, PRODUCTION)
            await publish(sockets, "first")
            await publish(sockets, "last")
            await lobby.hear("last")
            assert killed.is_set()
            for received in lobby.received:
                assert list(dict.fromkeys(received)) == ["first", "last"]

    run(scenario())


def test_calls_that_are_throttled_are_made_again_and_one_slow_client_holds_up_nobody(production: Deployment) -> None:
    async def scenario() -> None:
        async with listening(production) as lobby:
            management = Management(production)
            slow: list[str] = []
            is_slow = True

            def throttle(connection_id: str) -> http.HTTPStatus | None:
                if not slow:
                    slow.append(connection_id)
                throttled = management.calls[connection_id] <= 2
                return http.HTTPStatus.TOO_MANY_REQUESTS if throttled or (is_slow and connection_id in slow) else None

            management.fault = throttle
            sockets = publisher(production, PRODUCTION)
            await publish(sockets, "first")
            await publish(sockets, "last")
            heard = asyncio.create_task(lobby.hear("last"))
            await until(lambda: sum("last" in received for received in lobby.received) == SOCKETS - 1)
            assert [received for received in lobby.received if "last" not in received] == [[]], "he waits alone"
            is_slow = False
            await heard
            assert lobby.received == [["first", "last"]] * SOCKETS

    run(scenario())


def test_who_has_left_unnoticed_costs_one_call(production: Deployment) -> None:
    table = f"{PRODUCTION}-Connections"
    dynamodb = production.client("dynamodb")
    gone = [f"gone{number:011d}=" for number in range(INLINE_LIMIT)]
    long_ago = time.time() - 600
    ttl = {"ttl": {"N": str(int(long_ago + ROW_TTL_S))}}
    own = {"metadata": {"S": "null"}, "connectedAt": {"N": str(int(long_ago * 1000))}}
    for whose in gone:
        for channel, more in ((f"$connection:{whose}", own), ("lobby", {})):
            dynamodb.put_item(
                TableName=table, Item={"connectionId": {"S": whose}, "channel": {"S": channel}} | ttl | more
            )

    def subscribers() -> list[str]:
        return [row["connectionId"]["S"] for row in production.rows(PRODUCTION) if row["channel"]["S"] == "lobby"]

    async def scenario() -> None:
        async with listening(production, count=3) as lobby:
            management = Management(production)
            sockets = publisher(production, PRODUCTION)
            assert await publish(sockets, "first") == Report(len(gone) + 3, 0, 0, len(gone) + 3)
            await lobby.hear("first")
            await until(lambda: len(subscribers()) == 3)
            await publish(sockets, "last")
            await lobby.hear("last")
            assert [management.calls[whose] for whose in gone] == [1] * len(gone)
            for whose in gone:  # their disconnect events are still to come
                key = {"connectionId": {"S": whose}, "channel": {"S": f"$connection:{whose}"}}
                assert "Item" in dynamodb.get_item(TableName=table, Key=key)
                dynamodb.delete_item(TableName=table, Key=key)

    run(scenario())


def test_two_who_publish_the_same_at_once_are_heard_once(production: Deployment) -> None:
    async def scenario() -> None:
        async with listening(production) as lobby:
            one, other = publisher(production, PRODUCTION), publisher(production, PRODUCTION)
            reports = await asyncio.gather(
                publish(one, "same", message_id="one-message"), publish(other, "same", message_id="one-message")
            )
            assert sorted(report.matched for report in reports) == [0, SOCKETS]
            await publish(one, "last")
            await lobby.hear("last")
            assert lobby.received == [["same", "last"]] * SOCKETS

    run(scenario())
