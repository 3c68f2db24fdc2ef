"""OCCUPIED, VACATED and sweeps, as the functions handle them."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from slip_sockets.aws.queue import decode, encode
from slip_sockets.gateway.deferred_base import RETRY_FOR_S
from slip_sockets.gateway.deferred_presence import Look, OccupancyNotice, Sweep
from slip_sockets.gateway.worker import attempts_within

from .conftest import Deployment

ME = "AAAA1234AAAA123="


@pytest.fixture
def timers_url(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> str:
    url = deployment.sqs.create_queue(QueueName=f"timers-{uuid.uuid4().hex}")["QueueUrl"]
    monkeypatch.setenv("TIMERS_QUEUE_URL", url)
    monkeypatch.setenv("OCCUPANCY_EVENTS", "true")
    return url


def received(deployment: Deployment, url: str, message: Any) -> Any:
    deployment.sqs.send_message(QueueUrl=url, MessageBody=encode(message))
    return deployment.sqs_event(url)


def test_a_sweep_that_is_due_becomes_a_look(deployment: Deployment, timers_url: str) -> None:
    due = received(deployment, timers_url, Sweep("room", 17.5))
    assert deployment.call("deliver", due) == {"batchItemFailures": []}
    assert deployment.call("deliver", due) == {"batchItemFailures": []}, "it may come twice"
    (record,) = deployment.sqs_event()["Records"]
    assert decode(record["body"]) == Look("room", 17.5)


def test_a_sweep_that_comes_before_its_time_is_put_again(deployment: Deployment, timers_url: str) -> None:
    """And is not received again, so that no more than 15 minutes of its time count for the queue's retention."""
    early = received(deployment, timers_url, Sweep("room", time.time() + 7_000))
    assert deployment.call("deliver", early) == {"batchItemFailures": []}
    attributes = deployment.sqs.get_queue_attributes(
        QueueUrl=timers_url, AttributeNames=["ApproximateNumberOfMessagesDelayed"]
    )["Attributes"]
    assert attributes == {"ApproximateNumberOfMessagesDelayed": "1"}
    assert deployment.sqs_event()["Records"] == []


def test_a_sweep_that_fails_for_six_hours_is_a_dead_letter(
    deployment: Deployment, timers_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE_URL", f"{deployment.queue_url}-that-is-not-there.fifo")
    sweep = Sweep("room", 17.5)
    due = received(deployment, timers_url, sweep)
    assert len(deployment.call("deliver", due)["batchItemFailures"]) == 1
    due["Records"][0]["attributes"]["ApproximateReceiveCount"] = str(attempts_within(RETRY_FOR_S))
    assert deployment.call("deliver", due) == {"batchItemFailures": []}
    (letter,) = deployment.sqs_event(deployment.dead_letters_url)["Records"]
    assert decode(letter["body"]) == sweep


def test_the_backend_hears_of_a_channel(deployment: Deployment) -> None:
    vacated = OccupancyNotice("room", False, ME, 2, b'{"a":1}', "ann")
    deployment.sqs.send_message(
        QueueUrl=deployment.queue_url,
        MessageBody=encode(vacated),
        MessageGroupId=vacated.group,
        MessageDeduplicationId=vacated.deduplication_id,
    )
    assert deployment.call("deliver", deployment.sqs_event()) == {"batchItemFailures": []}
    (post,) = deployment.backend.posts
    assert post.body == {
        "connectionId": ME,
        "metadata": {"a": 1},
        "user": "ann",
        "events": [{"type": "VACATED", "channelId": "room"}],
    }
