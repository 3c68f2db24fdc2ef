"""Two functions of the control API publish a message with the same id at the same time, without the queue.

By the queue: `tests/e2e/test_fan_out.py`.
"""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.parse
from collections import Counter

from bench.fan_out.programs import PublisherProgram
from bench.fan_out.reports import Publish, Published
from bench.stubs.cloud import Cloud
from bench.stubs.connection_ids import connection_id

from ..aws.http_stub import Answer, HttpStub, Request, forward_to

SUBSCRIBERS = 5
TIMEOUT_S = 30


def report(published: Published) -> dict[str, int]:
    """Return the report of a publish, which has no other event."""
    (event,) = json.loads(published.body)["events"]
    return {name: event[name] for name in ("matched", "sent", "gone", "queued")}


def test_one_sends_and_the_other_waits_and_sends_nothing() -> None:
    posted: list[str] = []
    claims = 0
    both_have_claimed = threading.Event()
    lock = threading.Lock()

    def on_dynamodb(request: Request) -> Answer | None:
        nonlocal claims
        response = to_dynamodb(request)
        if request.operation == "PutItem":
            with lock:
                claims += 1
                if claims == 2:
                    both_have_claimed.set()
        return response

    def on_post(request: Request) -> Answer:
        """Hold the first publisher's calls until the second one has claimed the id too."""
        posted.append(urllib.parse.unquote(request.path.rpartition("/")[2]))
        return Answer() if both_have_claimed.wait(TIMEOUT_S) else Answer(500)

    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(Cloud())
        cloud.fill("lobby", SUBSCRIBERS)
        to_dynamodb = forward_to(cloud.dynamodb.url)
        dynamodb, management = (stack.enter_context(contextlib.closing(HttpStub(on))) for on in (on_dynamodb, on_post))
        environment = {
            **cloud.environment,
            "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.url,
            "MANAGEMENT_URL": f"{management.url}/live",
        }
        publishers = [stack.enter_context(PublisherProgram(environment)) for _ in range(2)]
        for publisher in publishers:
            publisher.ready()
        for publisher in publishers:
            publisher.begin(Publish("lobby", message_id="the same"))
        reports = sorted((report(publisher.response()) for publisher in publishers), key=lambda each: each["matched"])

    assert both_have_claimed.is_set()
    assert Counter(posted) == {connection_id(0, index): 1 for index in range(SUBSCRIBERS)}
    assert reports == [
        {"matched": 0, "sent": 0, "gone": 0, "queued": 0},
        {"matched": SUBSCRIBERS, "sent": SUBSCRIBERS, "gone": 0, "queued": 0},
    ]
