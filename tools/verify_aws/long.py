"""Measurements of minutes. Those of one list come one after the other; the lists run side by side."""

from __future__ import annotations

import asyncio
import time

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from . import judgements
from .cloudwatch import alarms, metric_points
from .findings import Finding
from .measurement import Context, Measurement, Skipped
from .sockets import PATIENCE_S, closed, echo_s, opened, opened_within, welcomed

SILENCE_MINUTES = 9.0
"""API Gateway closes a silent socket after 10 minutes."""
IDLE_PATIENCE_S = 11 * 60.0
GROUPS = 100
WARM_UP = 20
METRIC_DELAY_S = 120.0
"""CloudWatch has a minute's points about two minutes later."""


async def failing_message_age(context: Context) -> Finding:
    """A CLOSE that the backend cannot receive for some minutes. It receives it in the end."""
    until = time.time() + 60 * context.minutes
    client = await opened(context.url, {"fail_until": str(until)})
    await welcomed(client)
    await client.close()
    await asyncio.sleep(max(0.0, until - time.time()))
    names = [alarm["AlarmName"] for alarm in await alarms(context) if alarm["StateValue"] == "ALARM"]
    if not context.stage.is_local:
        await asyncio.sleep(METRIC_DELAY_S)
    minutes = context.minutes + 5
    queue = {"QueueName": await queue_name(context)}
    sqs = await metric_points(context, "AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", minutes=minutes, **queue)
    ours = await metric_points(
        context, "SlipSockets", "DeferredAge", "Maximum", minutes=minutes, stack=context.stage.name
    )
    return judgements.failing_message_age(context.minutes, max(sqs, default=None), max(ours, default=None), names)


async def queue_name(context: Context) -> str:
    """Return the name of the stage's queue, as its functions know it."""
    function = f"{context.stage.name}-deliver"
    found = await context.call("lambda", "get_function_configuration", FunctionName=function)
    return str(found["Environment"]["Variables"]["QUEUE_URL"].rpartition("/")[2])


async def first_call_after_silence(context: Context) -> Finding:
    minutes = min(SILENCE_MINUTES, context.minutes)
    client = await opened(context.url)
    await welcomed(client)
    latencies = [await echo_s(client, f"warm {index}") for index in range(WARM_UP)]
    await asyncio.sleep(60 * minutes)
    after = await echo_s(client, "after the silence")
    await client.close()
    return judgements.first_call(latencies, after, minutes)


async def idle_close(context: Context) -> Finding:
    if context.minutes < IDLE_PATIENCE_S / 60:
        raise Skipped(f"it takes 10 minutes: --minutes {IDLE_PATIENCE_S / 60:g} or more")
    client = await opened(context.url)
    await welcomed(client)
    began = time.monotonic()
    try:
        await asyncio.wait_for(client.recv(), IDLE_PATIENCE_S)
    except ConnectionClosed as error:
        return judgements.idle_close(time.monotonic() - began, error.rcvd.code if error.rcvd else None)
    return judgements.idle_close(time.monotonic() - began, None)


async def failures_slow_the_queue(context: Context) -> Finding:
    """Half of the groups of the queue fail, as CLOSEs do while a backend is down; the others carry deferred texts."""
    groups = min(GROUPS, context.clients)
    before = await deferred_s(context, groups)
    fail_s = min(60 * context.minutes, 180.0)
    until = str(time.time() + groups / 100 + fail_s)
    failing = [await opened(context.url, {"fail_until": until}) for _ in range(groups)]
    await asyncio.gather(*map(welcomed, failing))
    await closed(failing)
    during = await deferred_s(context, groups)
    if not context.stage.is_local:
        await asyncio.sleep(fail_s + METRIC_DELAY_S)
    concurrency = await metric_points(
        context,
        "AWS/Lambda",
        "ConcurrentExecutions",
        "Maximum",
        minutes=15,
        FunctionName=f"{context.stage.name}-deliver",
    )
    return judgements.slowed_by_failures(before, during, concurrency)


async def deferred_s(context: Context, count: int) -> list[float]:
    """Return the seconds from being let in to the first text, which goes through the queue."""

    async def one(client: ClientConnection) -> float:
        began = time.perf_counter()
        await asyncio.wait_for(client.recv(), PATIENCE_S)
        return time.perf_counter() - began

    clients, _ = await opened_within(context.url, count, count / 100)
    seconds = await asyncio.gather(*map(one, clients))
    await closed(clients)
    return list(seconds)


BEFORE = [
    Measurement(
        "R8-failures-slow-queue",
        "failures that are reported do not slow the queue's other groups",
        failures_slow_the_queue,
        "its poller never slows down",
    )
]
SIDE_BY_SIDE = [
    [
        Measurement(
            "R1-failing-message-age",
            "SQS's metric leaves a failing message out after three receives; DeferredAge sees it",
            failing_message_age,
            "it has no metrics of queues",
        )
    ],
    [
        Measurement(
            "R4-call-after-silence",
            "as fast as the median, within 0.3 s",
            first_call_after_silence,
            "its functions are not frozen between events",
        ),
        Measurement("idle-close", "closed after 10 minutes with 1001", idle_close),
    ],
]
