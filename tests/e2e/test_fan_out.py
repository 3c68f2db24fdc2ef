"""A large channel of the deployed stage: what its publishes promise while things break. On `test_deployment.py`'s
deployment, before `test_redeployment.py` takes it away."""

from __future__ import annotations

import asyncio
import http
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import websockets

from slip_sockets import Report, SlipSocketsPublisher
from slip_sockets.gateway.ports import ROW_TTL_S, shard_of

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
    with changed_queue(production, "VisibilityTimeout", str(VISIBILITY_TIMEOUT_S)):
        yield production


def queue_url(sqs: Any, name: str = "deferred") -> str:
    return str(sqs.get_queue_url(QueueName=f"{PRODUCTION}-{name}.fifo")["QueueUrl"])


@contextmanager
def changed_queue(deployment: Deployment, attribute: str, value: str) -> Iterator[None]:
    sqs = deployment.client("sqs")
    url = queue_url(sqs)
    deployed = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={attribute: value})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=deployed)


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


class PausedWorkers:
    """Takes messages as Lambda's event source does, while that is switched off."""

    def __init__(self, deployment: Deployment) -> None:
        self._sqs = deployment.client("sqs")
        self._lambda = deployment.client("lambda")
        self._url = queue_url(self._sqs)
        (self._mapping,) = [
            mapping["UUID"]
            for mapping in self._lambda.list_event_source_mappings()["EventSourceMappings"]
            if mapping["FunctionArn"].endswith(f":{PRODUCTION}-deliver")
        ]

    def __enter__(self) -> PausedWorkers:
        self._lambda.update_event_source_mapping(UUID=self._mapping, Enabled=False)
        return self

    def __exit__(self, *error: object) -> None:
        self._lambda.update_event_source_mapping(UUID=self._mapping, Enabled=True)

    def take(self) -> dict[str, Any]:
        """Receive a message: nobody else sees it, nor what stands behind it in its group."""
        (message,) = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=1, MessageSystemAttributeNames=["All"], WaitTimeSeconds=20
        )["Messages"]
        return dict(message)

    def do(self, message: dict[str, Any]) -> None:
        """Have the deployed function do what a message says. It is not deleted."""
        record = {name[0].lower() + name[1:]: value for name, value in message.items()}
        answer = self._lambda.invoke(
            FunctionName=f"{PRODUCTION}-deliver", Payload=json.dumps({"Records": [record]}).encode()
        )
        assert json.load(answer["Payload"]) == {"batchItemFailures": []}

    def show_again(self, message: dict[str, Any]) -> None:
        self._sqs.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )


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


def subscribers(deployment: Deployment) -> list[str]:
    return [row["connectionId"]["S"] for row in deployment.rows(PRODUCTION) if row["channel"]["S"] == "lobby"]


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
            chunks = Counter(map(shard_of, subscribers(impatient)))
            sockets = publisher(impatient, PRODUCTION)
            await publish(sockets, "first")
            await publish(sockets, "last")
            await lobby.hear("last")
            assert killed.is_set()
            for received in lobby.received:
                assert received in (["first", "last"], ["first", "first", "last"])
            repeated = sum(received.count("first") - 1 for received in lobby.received)
            in_hand = chunks.most_common(impatient.aws.settings.max_environments)  # all workers were killed
            assert repeated <= sum(size for _, size in in_hand)

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


def test_a_management_api_that_takes_so_many_calls_a_second_gets_all_in_order(production: Deployment) -> None:
    cap_per_s = 40.0

    async def scenario() -> None:
        async with listening(production) as lobby:
            management = Management(production)
            refused = 0
            tokens, filled_at = 2.0, time.monotonic()

            def cap(connection_id: str) -> http.HTTPStatus | None:
                nonlocal refused, tokens, filled_at
                now = time.monotonic()
                tokens, filled_at = min(2.0, tokens + (now - filled_at) * cap_per_s), now
                if tokens < 1:
                    refused += 1
                    return http.HTTPStatus.TOO_MANY_REQUESTS
                tokens -= 1
                return None

            management.fault = cap
            sockets = publisher(production, PRODUCTION)
            texts = [f"message {number}" for number in range(3)]
            for text in texts:
                await publish(sockets, text)
            await lobby.hear(texts[-1])
            assert refused > 0
            assert lobby.received == [texts] * SOCKETS

    run(scenario())


def test_a_message_that_comes_again_when_it_was_done_repeats_one_chunk(production: Deployment) -> None:
    """Done and not deleted, as SQS may deliver anything twice: a publish's message, and one of its chunks."""

    async def scenario() -> None:
        async with listening(production) as lobby:
            await until(lambda: waiting(production) == 0)
            sockets = publisher(production, PRODUCTION)
            with PausedWorkers(production) as workers:
                await publish(sockets, "first")
                taken = []
                for kind in ("fan_out", "fan_out_chunk"):
                    taken.append(await asyncio.to_thread(workers.take))
                    assert json.loads(taken[-1]["Body"])["type"] == kind
                    await asyncio.to_thread(workers.do, taken[-1])
                for message in taken:
                    workers.show_again(message)
            await publish(sockets, "last")
            await lobby.hear("last")
            repeated = len(json.loads(taken[1]["Body"])["connection_ids"])
            assert Counter(map(tuple, lobby.received)) == {
                ("first", "last"): SOCKETS - repeated,
                ("first", "first", "last"): repeated,
            }

    run(scenario())


def test_who_has_left_unnoticed_costs_one_call_and_who_is_about_to_open_is_kept(production: Deployment) -> None:
    table = f"{PRODUCTION}-Connections"
    dynamodb = production.client("dynamodb")
    gone = [f"gone{number:011d}=" for number in range(INLINE_LIMIT)]
    young = "young0000000000="

    def own_key(whose: str) -> dict[str, Any]:
        return {"connectionId": {"S": whose}, "channel": {"S": f"$connection:{whose}"}}

    def put_own_row(whose: str, connected_at: float) -> None:
        own = {"metadata": {"S": "null"}, "connectedAt": {"N": str(int(connected_at * 1000))}}
        dynamodb.put_item(TableName=table, Item=own_key(whose) | {"ttl": ttl} | own)

    now = time.time()
    ttl = {"N": str(int(now - 600 + ROW_TTL_S))}
    for whose in (*gone, young):
        put_own_row(whose, now - 600 if whose in gone else now + 600)
        dynamodb.put_item(TableName=table, Item={"connectionId": {"S": whose}, "channel": {"S": "lobby"}, "ttl": ttl})

    async def scenario() -> None:
        async with listening(production, count=3) as lobby:
            management = Management(production)
            sockets = publisher(production, PRODUCTION)
            everybody = len(gone) + 1 + 3
            assert await publish(sockets, "first") == Report(everybody, 0, 0, everybody)
            await lobby.hear("first")
            await until(lambda: len(subscribers(production)) == 1 + 3 and management.calls[young] > 1)
            assert young in subscribers(production)
            put_own_row(young, now - 600)
            await until(lambda: young not in subscribers(production))
            await publish(sockets, "last")
            await lobby.hear("last")
            assert [management.calls[whose] for whose in gone] == [1] * len(gone)
            for whose in (*gone, young):  # their disconnect events are still to come
                assert "Item" in dynamodb.get_item(TableName=table, Key=own_key(whose))
                dynamodb.delete_item(TableName=table, Key=own_key(whose))

    run(scenario())


def test_a_small_channel_does_not_wait_for_a_large_one(production: Deployment) -> None:
    async def scenario() -> None:
        async with listening(production) as lobby:
            sockets = publisher(production, PRODUCTION)
            few = subscribers(production)[:3]
            for whose in few:
                await asyncio.to_thread(sockets.subscribe, whose, "small")
            management = Management(production)
            is_stuck = True

            def throttle(connection_id: str) -> http.HTTPStatus | None:
                return http.HTTPStatus.TOO_MANY_REQUESTS if is_stuck and connection_id not in few else None

            management.fault = throttle
            await publish(sockets, "to all")
            await until(lambda: len(management.calls) > 0)
            report = await asyncio.to_thread(sockets.publish_text, "small", "to few")
            assert report == Report(matched=3, sent=3, gone=0, queued=0)
            is_stuck = False
            await publish(sockets, "last")
            await lobby.hear("last")
            assert Counter(tuple(sorted(received)) for received in lobby.received) == {
                ("last", "to all"): SOCKETS - len(few),
                ("last", "to all", "to few"): len(few),
            }

    run(scenario())


def test_what_was_given_up_is_sent_again_by_a_command(production: Deployment) -> None:
    """Some connections take nothing, until SQS gives up, here after one attempt; then the operator has mended it."""
    sqs = production.client("sqs")
    dead = queue_url(sqs, "dead-letters")
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    once = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})

    def dead_letters() -> int:
        named = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["ApproximateNumberOfMessages"])
        return int(named["Attributes"]["ApproximateNumberOfMessages"])

    def redrive(*options: str) -> str:
        return production.run("slip-sockets", "redrive", "--stack", PRODUCTION, *options)

    async def scenario() -> None:
        async with listening(production) as lobby:
            sockets = publisher(production, PRODUCTION)
            few = subscribers(production)[:2]
            management = Management(production)
            management.fault = lambda connection_id: (
                http.HTTPStatus.INTERNAL_SERVER_ERROR if connection_id in few else None
            )
            with changed_queue(production, "RedrivePolicy", once):
                await publish(sockets, "first")
                await until(lambda: dead_letters() == len(few))
            management.fault = lambda connection_id: None
            listed = await asyncio.to_thread(redrive, "--dry-run")
            assert listed.count("chunk         channel 'lobby', 1 connections") == len(few)
            assert "first" not in listed
            assert f"{len(few)} sent again" in await asyncio.to_thread(redrive)
            await publish(sockets, "last")
            await lobby.hear("last")
            assert lobby.received == [["first", "last"]] * SOCKETS
            assert dead_letters() == 0

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


def test_two_who_publish_at_once_are_both_heard_each_in_order(production: Deployment) -> None:
    async def scenario() -> None:
        async with listening(production) as lobby:

            async def speak(name: str) -> list[str]:
                sockets = publisher(production, PRODUCTION)
                texts = [f"{name} {number}" for number in range(3)]
                for text in texts:
                    await publish(sockets, text)
                return texts

            ones, others = await asyncio.gather(speak("one"), speak("other"))
            await publish(publisher(production, PRODUCTION), "last")
            await lobby.hear("last")
            for received in lobby.received:
                assert [text for text in received if text in ones] == ones
                assert [text for text in received if text in others] == others
                assert len(received) == len(ones) + len(others) + 1

    run(scenario())
