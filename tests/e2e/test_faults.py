"""The deployed functions while the backend, AWS's services or they themselves fail: what a client and a publisher see,
what is tried again, and that nothing promised is lost. On `test_deployment.py`'s deployment."""

from __future__ import annotations

import asyncio
import http
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websockets

from local_aws.apis import ApiFault
from local_aws.wire import ApiRequest
from slip_sockets import Close, ControlApiUnavailable, Open, Report, SlipSocketsPublisher, Text
from slip_sockets.events import SocketEvent

from .backend import NO_FAULT, LobbyBackend
from .deployment import PRODUCTION, Deployment
from .test_deployment import publisher
from .test_fan_out import SOCKETS, TIMEOUT_S, listening, publish, queue_url, run, until, waiting

pytestmark = pytest.mark.e2e

THROTTLED_FOR_S = 5.0
RECEIVES = 2

OPEN_STATUSES = {"500": 500, "429": 500, "reset": 502, "endless": 400, "hanging": 504, "dripping": 504}
"""Ways in which the backend fails, and the status with which a client is refused."""
TOLD_AGAIN = ("500", "429", "reset")
"""Those over a CLOSE that are tried again here; `tests/contract/test_close_delivery.py` has the ones that take long."""


@pytest.fixture
def production(deployment: Deployment, backend: LobbyBackend) -> Iterator[Deployment]:
    yield deployment
    backend.fault = NO_FAULT
    deployment.aws.set_api_fault(lambda request: None)
    deployment.aws.set_management_fault(lambda method, connection_id: None)


class Ear:
    """An open socket, and all that it has heard but greetings."""

    def __init__(self, client: websockets.ClientConnection) -> None:
        self.client = client
        self.heard: list[str] = []

    async def hear(self, *texts: str) -> None:
        """Wait until it has heard each of `texts`."""
        while not set(texts) <= set(self.heard):
            self.heard.append(str(await self.client.recv()))


async def join(deployment: Deployment, user: str) -> Ear:
    url = f"{deployment.outputs[PRODUCTION]['websocketUrl']}?user={user}"
    client = await websockets.connect(url, open_timeout=60, proxy=None)
    assert await client.recv() == "welcome"
    return Ear(client)


async def refusal(deployment: Deployment, user: str) -> int:
    """Return the status with which a client is refused."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        await join(deployment, user)
    return refused.value.response.status_code


async def leave(deployment: Deployment, *ears: Ear) -> None:
    await asyncio.gather(*(ear.client.close() for ear in ears))
    await until(lambda: deployment.rows(PRODUCTION) == [] and waiting(deployment) == 0)


def of_service(service: str, *failures: tuple[int, str], operation: str = "") -> ApiFault:
    """Fail a service's calls with each of `failures` in turn."""
    turn = 0

    def fault(request: ApiRequest) -> tuple[int, str] | None:
        nonlocal turn
        if request.service != service or operation not in ("", request.operation):
            return None
        turn += 1
        return failures[turn % len(failures)]

    return fault


def for_a_while(fault: ApiFault, *, but: str = "") -> ApiFault:
    """Stop failing five seconds from now; calls of the operation `but` never fail."""
    end = time.monotonic() + THROTTLED_FOR_S
    return lambda request: fault(request) if time.monotonic() < end and request.operation != but else None


def throttled() -> ApiFault:
    return of_service("dynamodb", (400, "ProvisionedThroughputExceededException"), (500, "InternalServerError"))


async def publish_until_done(sockets: SlipSocketsPublisher, text: str, message_id: str) -> Report:
    """Publish again and again with the same id, as an application may."""
    while True:
        try:
            return await publish(sockets, text, message_id)
        except ControlApiUnavailable:
            pass


def test_a_backend_that_fails_refuses_clients_loses_no_socket_and_is_told_a_close_again(
    production: Deployment, backend: LobbyBackend
) -> None:
    def fault(event: SocketEvent, metadata: Any) -> str | None:
        match event:
            case Open():
                return str(metadata["query"]["user"][0]).partition("stranger-")[2] or None
            case Text(data=data):
                return data.partition("fail: ")[2] or None
            case Close():
                is_first = event not in backend.failed
                return str(metadata["user"]) if metadata["user"] in (*TOLD_AGAIN, "endless") and is_first else None

    async def scenario() -> None:
        listener = await join(production, "listener")
        speakers = {way: await join(production, way) for way in OPEN_STATUSES}
        backend.fault = fault
        for way, speaker in speakers.items():
            await speaker.client.send(f"fail: {way}")
        users = [f"stranger-{way}" for way in OPEN_STATUSES]
        statuses = await asyncio.gather(*(refusal(production, user) for user in users))
        assert dict(zip(OPEN_STATUSES, statuses, strict=True)) == OPEN_STATUSES
        for way, speaker in speakers.items():
            await speaker.client.send("still here")
            await speaker.hear(f"{way}: still here")
        assert {text for ear in speakers.values() for text in ear.heard} <= {f"{way}: still here" for way in speakers}
        await asyncio.gather(*(speaker.client.close() for speaker in speakers.values()))
        await listener.hear(*(f"{way} left" for way in OPEN_STATUSES if way != "endless"))
        await until(lambda: len(production.rows(PRODUCTION)) == 2 and waiting(production) == 0)
        assert len(listener.heard) == len(set(listener.heard))
        assert "endless left" not in listener.heard
        failed = [type(event) for event in backend.failed]
        assert [failed.count(kind) for kind in (Open, Text, Close)] == [6, 6, 4], "nothing else was told again"
        await leave(production, listener)

    backend.failed.clear()
    run(timed(scenario))


def test_a_backend_that_is_away_hears_of_who_has_left_when_it_is_back(
    production: Deployment, backend: LobbyBackend
) -> None:
    async def scenario() -> None:
        listener, bob = await join(production, "listener"), await join(production, "bob")
        with backend.away():
            assert await refusal(production, "ada") == 502
            await listener.client.send("nobody is told this")
            await bob.client.close(4000, "done")
            await until(lambda: len(production.rows(PRODUCTION)) == 2 and waiting(production) == 1)
        await listener.hear("bob left")
        event, metadata = await asyncio.to_thread(backend.next_told, Close)
        while metadata != {"user": "bob"}:
            event, metadata = await asyncio.to_thread(backend.next_told, Close)
        assert isinstance(event, Close)
        assert (event.code, event.reason) == (4000, "done")
        assert listener.heard == ["bob left"]
        await leave(production, listener)

    run(timed(scenario))


def test_a_table_that_throttles_for_five_seconds_costs_time_and_no_message(
    production: Deployment, backend: LobbyBackend
) -> None:
    async def scenario() -> None:
        listener, bob, ada = [await join(production, user) for user in ("listener", "bob", "ada")]
        sockets = publisher(production, PRODUCTION)
        production.aws.set_api_fault(for_a_while(throttled()))
        await bob.client.close()
        status, _ = await asyncio.gather(
            refusal(production, "eve"), publish_until_done(sockets, "published", "while-throttled")
        )
        assert status == 500
        await listener.hear("bob left", "published")
        # The backend has been told, and says what it wants done, once.
        production.aws.set_api_fault(for_a_while(throttled(), but="GetItem"))
        await ada.client.send("said")
        await listener.hear("ada: said")
        await publish_until_done(sockets, "published", "while-throttled")
        await publish_until_done(sockets, "the end", "the-end")
        await listener.hear("the end")
        assert sorted(listener.heard) == ["ada: said", "bob left", "published", "the end"]
        await leave(production, listener, ada)

    run(timed(scenario))


def test_a_queue_that_refuses_refuses_who_needs_it_and_a_repetition_is_heard_once(production: Deployment) -> None:
    async def scenario() -> None:
        async with listening(production) as lobby:
            rows = len(production.rows(PRODUCTION))
            sockets = publisher(production, PRODUCTION)
            fault = of_service("sqs", (500, "InternalError"), operation="SendMessageBatch")
            production.aws.set_api_fault(fault)
            assert await refusal(production, "ada") == 500
            with pytest.raises(ControlApiUnavailable) as refused:
                await publish(sockets, "published", "while-refused")
            assert refused.value.status == http.HTTPStatus.SERVICE_UNAVAILABLE
            production.aws.set_api_fault(lambda request: None)
            assert len(production.rows(PRODUCTION)) == rows
            assert (await publish(sockets, "published", "while-refused")).queued == SOCKETS
            await publish(sockets, "last")
            await lobby.hear("last")
            assert lobby.received == [["published", "last"]] * SOCKETS

    run(scenario())


def test_secrets_that_cannot_be_read_at_a_cold_start_refuse_clients_and_lose_no_close(
    production: Deployment, backend: LobbyBackend
) -> None:
    arns = [
        production.client("lambda").get_function(FunctionName=f"{PRODUCTION}-{name}")["Configuration"]["FunctionArn"]
        for name in ("websocket", "control", "deliver")
    ]

    async def scenario() -> None:
        carol = await join(production, "carol")
        await until(lambda: waiting(production) == 0)  # deliver is to be killed between two events
        production.aws.set_api_fault(of_service("ssm", (500, "InternalServerError")))
        for arn in arns:
            production.aws.kill(arn)
        await until(lambda: not any(production.aws.environments(arn) for arn in arns))
        assert await refusal(production, "ada") == 500
        with pytest.raises(ControlApiUnavailable) as refused:
            await publish(publisher(production, PRODUCTION), "lobby")
        assert refused.value.status == 503
        await carol.client.close(4000, "done")
        await until(lambda: production.rows(PRODUCTION) == [] and waiting(production) == 1)

        production.aws.set_api_fault(lambda request: None)
        await until(lambda: waiting(production) == 0)
        event, metadata = await asyncio.to_thread(backend.next_told, Close)
        while metadata != {"user": "carol"}:
            event, metadata = await asyncio.to_thread(backend.next_told, Close)
        assert isinstance(event, Close)
        assert (event.code, event.reason) == (4000, "done")
        await leave(production, await join(production, "ada"))

    run(timed(scenario))


def test_a_management_api_that_resets_connections_is_called_again(production: Deployment) -> None:
    async def scenario() -> None:
        ears = await asyncio.gather(*(join(production, f"user{number}") for number in range(5)))
        called: set[str] = set()

        def reset_first(method: str, connection_id: str) -> Any:
            is_first = connection_id not in called
            called.add(connection_id)
            return "reset" if is_first else None

        production.aws.set_management_fault(reset_first)
        sockets = publisher(production, PRODUCTION)
        assert (await publish(sockets, "first")).matched == 5
        await publish(sockets, "last")
        await asyncio.gather(*(ear.hear("last") for ear in ears))
        assert len(called) == 5
        published = [[text for text in ear.heard if not text.endswith(" left")] for ear in ears]
        assert published == [["first", "last"]] * 5
        await leave(production, *ears)

    run(timed(scenario))


@pytest.fixture
def hasty(production: Deployment) -> Iterator[Deployment]:
    """What fails is a dead letter soon."""
    sqs = production.client("sqs")
    url = queue_url(sqs)
    deployed = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    arn = deployed.partition('"deadLetterTargetArn":"')[2].partition('"')[0]
    policy = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{RECEIVES}}}'
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})
    yield production
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": deployed})
    sqs.purge_queue(QueueUrl=dead_letters_url(sqs))


def dead_letters_url(sqs: Any) -> str:
    return str(sqs.get_queue_url(QueueName=f"{PRODUCTION}-dead-letters.fifo")["QueueUrl"])


def test_what_keeps_failing_is_a_dead_letter_that_can_be_understood_and_sent_again(
    hasty: Deployment, backend: LobbyBackend
) -> None:
    sqs = hasty.client("sqs")

    def dead() -> int:
        name = "ApproximateNumberOfMessages"
        told = sqs.get_queue_attributes(QueueUrl=dead_letters_url(sqs), AttributeNames=[name])
        return int(told["Attributes"][name])

    async def redrive(*options: str) -> str:
        return await asyncio.to_thread(hasty.run, "slip-sockets", "redrive", "--stack", PRODUCTION, *options)

    async def scenario() -> None:
        listener, bob = await join(hasty, "listener"), await join(hasty, "bob")
        ids = {row["connectionId"]["S"] for row in hasty.rows(PRODUCTION) if row["channel"]["S"] != "lobby"}
        backend.fault = lambda event, metadata: "500" if isinstance(event, Close) else None
        await bob.client.close(4000, "done")
        sqs.send_message(
            QueueUrl=queue_url(sqs), MessageBody="not ours", MessageGroupId="poison", MessageDeduplicationId="poison"
        )
        await until(lambda: dead() == 2)
        (gone,) = ids - {row["connectionId"]["S"] for row in hasty.rows(PRODUCTION)}
        listed = await redrive("--dry-run")
        assert f"connection {gone}" in listed
        assert "close notice" in listed
        assert "unreadable" in listed
        assert dead() == 2
        backend.fault = NO_FAULT
        assert "1 sent again" in await redrive()
        await listener.hear("bob left")
        event, metadata = await asyncio.to_thread(backend.next_told, Close)
        while event.connection_id != gone:
            event, metadata = await asyncio.to_thread(backend.next_told, Close)
        assert event == Close(gone, 4000, "done")
        assert metadata == {"user": "bob"}
        assert dead() == 1, "what nobody can read stays"
        await leave(hasty, listener)

    run(timed(scenario))


async def timed(scenario: Callable[[], Any]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        await scenario()
