"""The functions of a stage that speaks GRIP: real events in, real calls out."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from slip_sockets.aws.queue import encode
from slip_sockets.gateway.deferred import Timer
from slip_sockets.grip.framing import Event

from ..aws.http_stub import Answer
from ..grip.backend import GripScript, Post, reply, text
from .conftest import SECRET, Deployment, event

ME = "AAAA1234AAAA123="
POST_TO_ME = f"/live/@connections/{ME.replace('=', '%3D')}"
SUBSCRIBE = 'c:{"type":"subscribe","channel":"lobby","filters":["skip-self","var-subst"]}'
SET_META = 'c:{"type":"set-meta","name":"user","value":"ada"}'


async def echo(post: Post) -> web.Response:
    if post.events[0].type == "OPEN":
        events = (Event("OPEN"), text(SUBSCRIBE), text(SET_META))
        return reply(*events, Sec_WebSocket_Extensions="grip", Set_Meta_User="ada")
    return reply(*(text(f"m:{each}") for each in post.texts))


@pytest.fixture
def grip_backend(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[GripScript]:
    """The backend of `deployment`, which speaks GRIP, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    backend = GripScript(echo)
    asyncio.run_coroutine_threadsafe(backend.start(), loop).result()
    for name, value in {"TARGET_URL": backend.url, "BACKEND_PROTOCOL": "grip", "INBOUND": "ordered"}.items():
        monkeypatch.setenv(name, value)
    yield backend
    asyncio.run_coroutine_threadsafe(backend.aclose(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def inbound_event(deployment: Deployment, body: dict[str, Any]) -> Any:
    """Return the event of the inbound queue with what API Gateway has put into it."""
    payload = event("sqs")
    (record,) = payload["Records"]
    name = deployment.queue_url.rpartition("/")[2].replace("deferred-", "inbound-")
    record["body"] = json.dumps({"connection_id": ME, **body})
    record["eventSourceARN"] = f"arn:aws:sqs:eu-west-1:000000000000:{name}"
    return payload


def publish(deployment: Deployment, *items: dict[str, Any]) -> Any:
    payload = event("control")
    payload["rawPath"] = payload["requestContext"]["http"]["path"] = "/publish/"
    payload["headers"] |= {"authorization": f"Bearer {SECRET}", "accept": "*/*"}
    payload["body"], payload["isBase64Encoded"] = json.dumps({"items": items}), False
    return deployment.call("control", payload)


def test_connection_from_its_beginning_to_its_end(deployment: Deployment, grip_backend: GripScript) -> None:
    assert deployment.call("websocket", event("websocket_connect"))["statusCode"] == 200
    connection, one_filter, lobby = deployment.channels()
    assert (connection, one_filter[:8], lobby) == (f"$connection:{ME}", "$filter:", "lobby")

    texts = [{"id": str(number), "data": base64.b64encode(data).decode()} for number, data in enumerate([b"a", b""])]
    sent = inbound_event(deployment, {"type": "texts", "texts": texts})
    assert deployment.call("deliver", sent) == {"batchItemFailures": []}
    assert [request.body for request in deployment.management.requests] == [b"a", b""]

    item = {"channel": "lobby", "ws-message": {"content": "hi"}}
    response = publish(
        deployment, item | {"meta": {"sender": "ada"}}, item | {"ws-message": {"content": "for %(user)s"}}
    )
    assert (response["statusCode"], response["body"]) == (200, "Published\n")
    assert [request.body for request in deployment.management.requests] == [b"a", b"", b"for ada"]
    assert {request.path for request in deployment.management.requests} == {POST_TO_ME}

    left = inbound_event(deployment, {"type": "disconnected", "code": 1001, "reason": "R29pbmcgYXdheQ=="})
    assert deployment.call("deliver", left) == {"batchItemFailures": []}
    assert deployment.channels() == []

    assert [post.events for post in grip_backend.posts] == [
        [Event("OPEN")],
        [Event("TEXT", b"a"), Event("TEXT")],
        [Event("DISCONNECT")],
    ]
    assert {post.target for post in grip_backend.posts} == {"/ws?room=3&room=7&quiet="}
    assert {post.headers["Host"] for post in grip_backend.posts} == {"abcd1234.execute-api.eu-west-1.amazonaws.com"}
    assert [post.headers.get("Meta-User") for post in grip_backend.posts] == [None, "ada", "ada"]


def test_timer_waits_in_a_queue_of_its_own(
    deployment: Deployment, grip_backend: GripScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(post: Post) -> web.Response:
        asked = text('c:{"type":"keep-alive","content":"still there","timeout":1}')
        return reply(Event("OPEN"), asked, Sec_WebSocket_Extensions="grip")

    timers_url = deployment.sqs.create_queue(QueueName=f"timers-{uuid.uuid4().hex}")["QueueUrl"]
    monkeypatch.setenv("TIMERS_QUEUE_URL", timers_url)
    grip_backend.script = ask
    deployment.management.script = lambda _: Answer(200, b'{"lastActiveAt":"2026-01-01T00:00:00Z"}')
    assert deployment.call("websocket", event("websocket_connect"))["statusCode"] == 200
    for number in (1, 2):
        due = wait_for(lambda: deployment.sqs_event(timers_url))
        assert "MessageGroupId" not in due["Records"][0]["attributes"]
        assert deployment.call("deliver", due) == {"batchItemFailures": []}
        assert deployment.call("deliver", due) == {"batchItemFailures": []}, "it may come twice"
        tick = deployment.sqs_event(deployment.inbound_url)
        assert len(tick["Records"]) == 1
        assert deployment.call("deliver", tick) == {"batchItemFailures": []}
        deployment.sqs.delete_message(
            QueueUrl=deployment.inbound_url, ReceiptHandle=tick["Records"][0]["receiptHandle"]
        )
        deployment.sqs.delete_message(QueueUrl=timers_url, ReceiptHandle=due["Records"][0]["receiptHandle"])
        sent = [request.body for request in deployment.management.requests if request.method == "POST"]
        assert sent == [b"still there"] * number
    assert deployment.sqs_event()["Records"] == []


def test_timer_that_comes_too_early_is_put_off_in_its_queue(
    deployment: Deployment, grip_backend: GripScript, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    timers_url = deployment.sqs.create_queue(QueueName=f"timers-{uuid.uuid4().hex}")["QueueUrl"]
    monkeypatch.setenv("TIMERS_QUEUE_URL", timers_url)
    early = Timer(ME, "t", due_at=time.time() + 500)
    deployment.sqs.send_message(QueueUrl=timers_url, MessageBody=encode(early))
    due = deployment.sqs_event(timers_url)
    failures = deployment.call("deliver", due)["batchItemFailures"]
    assert failures == [{"itemIdentifier": due["Records"][0]["messageId"]}]
    assert "comes later than it could" not in caplog.text
    assert deployment.sqs_event(deployment.inbound_url)["Records"] == []


def wait_for(received: Callable[[], Any]) -> Any:
    """Receive until there is a record."""
    give_up_at = time.monotonic() + 20
    while not (found := received())["Records"]:
        assert time.monotonic() < give_up_at
    return found


def test_failing_backend_ends_the_connection(deployment: Deployment, grip_backend: GripScript) -> None:
    deployment.call("websocket", event("websocket_connect"))

    async def fail(post: Post) -> web.Response:
        return web.Response(status=500)

    grip_backend.script = fail
    sent = inbound_event(deployment, {"type": "texts", "texts": [{"id": "1", "data": "YQ=="}]})
    assert deployment.call("deliver", sent) == {"batchItemFailures": []}
    assert [(request.method, request.path) for request in deployment.management.requests] == [("DELETE", POST_TO_ME)]
    assert deployment.channels() == []
    assert deployment.call("deliver", inbound_event(deployment, {"type": "disconnected"})) == {"batchItemFailures": []}
    assert len(grip_backend.posts) == 2
