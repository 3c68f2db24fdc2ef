"""Measurements of seconds: one after the other, since they count what the stage does."""

from __future__ import annotations

import asyncio
import json
import time

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from . import judgements
from .cloudwatch import alarms, points_of
from .findings import Finding
from .measurement import Context, Measurement
from .sockets import closed, echo_s, opened, opened_within, post_many, received, refusal, welcomed

BACKEND_STATUSES = ("400", "401", "403", "404", "500", "502", "504")
FRAME_BYTES, MESSAGE_BYTES = 32 * 1024, 128 * 1024
EXPECTED_TEXTS = {"32 KB in a frame": "comes back", "more in a frame": "1009", "128 KB": "comes back", "more": "1009"}
POSTS = 1_000
ORDERED_TEXTS = 200
CLOSED_WITH = (4321, "bye")
PINGS = {
    '{"slip":"ping"}': '{"slip":"pong"}',
    '{"slip":"$connect"}': '{"slip":"$connect"}',
    '{"slip":"$disconnect"}': '{"slip":"$disconnect"}',
}
"""What comes back for each text: API Gateway answers the first, the backend sends the others back."""
EMF_PATIENCE_S = 300.0
POLL_S = 10.0


async def cold_starts(context: Context) -> Finding:
    """The stage was deployed a moment ago: all its functions are cold."""
    clients, refused = await opened_within(context.url, context.clients, 1.0)
    context.ids += await asyncio.gather(*map(welcomed, clients))
    await closed(clients)
    return judgements.cold_starts(context.clients, refused)


async def plan_again(context: Context) -> Finding:
    return judgements.plan(await asyncio.to_thread(context.stage.changes))


async def connect_text_disconnect(context: Context) -> Finding:
    watcher = await opened(context.url)
    client = await opened(context.url, {"watcher": await welcomed(watcher)})
    connection_id = await welcomed(client)
    seconds = await echo_s(client, "a text")
    await client.close()
    news = await received(watcher)
    await watcher.close()
    seen = f"text back after {seconds * 1000:.0f} ms; the backend had CLOSE"
    return (
        Finding(seen)
        if news.startswith(f"closed {connection_id} ")
        else Finding(news, "the backend did not receive CLOSE")
    )


async def ping(context: Context) -> Finding:
    seen = {}
    for text in PINGS:
        client = await opened(context.url)
        await welcomed(client)
        await client.send(text)
        try:
            seen[text] = await received(client)
        except TimeoutError:
            seen[text] = "nothing"
        except ConnectionClosed as error:
            seen[text] = f"closed with {error.rcvd.code if error.rcvd else 1006}"
        await client.close()
    return judgements.pings(seen, PINGS)


async def ordered_ping(context: Context) -> Finding:
    await _change_to_ordered(context)
    return await ping(context)


async def _change_to_ordered(context: Context) -> None:
    if context.stage.settings.inbound != "ordered":
        context.stage.change(INBOUND="ordered")
        await asyncio.to_thread(context.stage.deploy)


async def inbound_order(context: Context) -> Finding:
    """The stage is changed in place. Texts come back in the order in which the backend has them."""
    await _change_to_ordered(context)
    watcher = await opened(context.url)
    client = await opened(context.url, {"watcher": await welcomed(watcher)})
    connection_id = await welcomed(client)
    for number in range(ORDERED_TEXTS):
        await client.send(str(number))
    back = [int(await received(client)) for _ in range(ORDERED_TEXTS)]
    await client.close(*CLOSED_WITH)
    news = await received(watcher)
    await watcher.close()
    return judgements.inbound_order(back, news.removeprefix(f"closed {connection_id} "), CLOSED_WITH)


async def connection_ids(context: Context) -> Finding:
    if not context.ids:  # --only
        clients, _ = await opened_within(context.url, context.clients, context.clients / 100)
        context.ids += await asyncio.gather(*map(welcomed, clients))
        await closed(clients)
    return judgements.connection_ids(context.ids)


async def refused_connects(context: Context) -> Finding:
    """The gateway refuses with 500 where the backend fails, with 400 where it does not accept, with 504 where it is
    slow: docs/protocol.md."""
    cases = {status: ({"status": status}, 500) for status in BACKEND_STATUSES}
    cases["no ACCEPT"] = ({"accept": "no"}, 400)
    if not context.stage.is_local:  # half a minute
        cases["27 s"] = ({"slow": "27"}, 504)
    seen = {case: await refusal(context.url, query) for case, (query, _) in cases.items()}
    return judgements.refusals(seen, {case: status for case, (_, status) in cases.items()})


async def stage_throttle(context: Context) -> Finding:
    client = await opened(context.url)
    connection_id = await welcomed(client)
    count = 100 if context.stage.is_local else POSTS
    arguments = (context.management_url, context.stage.region, context.stage.credentials, connection_id, count, b"x")
    reader = asyncio.create_task(_read_all(client))
    seconds, statuses = await asyncio.to_thread(post_many, *arguments)
    await client.close()
    await reader
    refused, good = statuses[429], statuses[200]
    return judgements.throttle(count, seconds, refused, count - refused - good)


async def _read_all(client: ClientConnection) -> None:
    async for _ in client:
        pass


async def empty_post(context: Context) -> Finding:
    client = await opened(context.url)
    connection_id = await welcomed(client)
    arguments = (context.management_url, context.stage.region, context.stage.credentials, connection_id, 1, b"")
    _, statuses = await asyncio.to_thread(post_many, *arguments)
    await client.close()
    return judgements.empty_post(next(iter(statuses)))


async def largest_texts(context: Context) -> Finding:
    seen = {}
    quarter = "x" * FRAME_BYTES
    for case, frames in {
        "32 KB in a frame": [quarter],
        "more in a frame": [f"{quarter}x"],
        "128 KB": [quarter] * (MESSAGE_BYTES // FRAME_BYTES),
        "more": [*[quarter] * (MESSAGE_BYTES // FRAME_BYTES), "x"],
    }.items():
        client = await opened(context.url)
        await welcomed(client)
        try:
            await client.send(frames)
            back = await received(client)
            seen[case] = "comes back" if back == "".join(frames) else "something else comes back"
        except ConnectionClosed as error:
            seen[case] = str(error.rcvd.code if error.rcvd else 1006)
        await client.close()
    return judgements.largest_texts(seen, EXPECTED_TEXTS)


async def environment(context: Context) -> Finding:
    client = await opened(context.url)
    await welcomed(client)
    await client.send("environment")
    seen = json.loads(await received(client))
    await client.close()
    from stacks.slip_sockets_stack import MEMORY_MB  # slow to import; the deploy has done so

    settings = context.stage.settings
    architecture = {"arm64": "aarch64", "x86_64": "x86_64"}[settings.architecture]
    return judgements.environment(
        seen, {"architecture": architecture, "python": f"{settings.python}.", "memory_mb": MEMORY_MB, "bytecode": True}
    )


async def fill_without_points(context: Context) -> Finding:
    """table-throttles has no point of any series on a new stage, as no request was throttled."""
    found = [
        alarm for alarm in await alarms(context) if any("FILL" in q.get("Expression", "") for q in alarm["Metrics"])
    ]
    prefix = len(context.stage.name) + 1
    return judgements.fill(
        {alarm["AlarmName"][prefix:]: len(await points_of(context, alarm["Metrics"])) for alarm in found}
    )


async def emf_metrics(context: Context) -> Finding:
    metric = {
        "Namespace": "SlipSockets",
        "MetricName": "BackendLatency",
        "Dimensions": [{"Name": "stack", "Value": context.stage.name}, {"Name": "eventType", "Value": "OPEN"}],
    }
    query = {"Id": "opens", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "SampleCount"}}
    began = time.monotonic()
    while True:
        samples = sum(await points_of(context, [query]))
        waited = time.monotonic() - began
        if samples or waited > EMF_PATIENCE_S or context.stage.is_local:
            return judgements.emf(samples, waited)
        await asyncio.sleep(POLL_S)


NO_METRICS = "it has no metrics of our log lines, and no metric math"
SHORT = [
    Measurement(
        "cold-starts",
        "all clients that the stage's throttle lets through are let in",
        cold_starts,
        "it starts few functions at once",
    ),
    Measurement("plan-again", "no changes", plan_again),
    Measurement("connect-text-disconnect", "welcome, the text back, CLOSE at the backend", connect_text_disconnect),
    Measurement("ping", "pong by API Gateway; no text selects $connect or $disconnect", ping),
    Measurement("R5-connection-ids", "15 of [A-Za-z0-9_-] and =, none twice", connection_ids),
    Measurement("R12-refused-connects", "500, 400 and 504 as docs/protocol.md says", refused_connects),
    Measurement("R6-empty-post", "200", empty_post),
    Measurement("largest-texts", "32 KB in a frame, 128 KB in all; beyond, 1009", largest_texts),
    Measurement("environment", "architecture, Python, memory as deployed; bytecode is used", environment),
    Measurement(
        "R2-fill-without-points", "FILL brings points for a series without any", fill_without_points, NO_METRICS
    ),
    Measurement("R7-emf-metrics", "our log lines become metrics within minutes", emf_metrics, NO_METRICS),
    Measurement(
        "R3-stage-throttle",
        "no 429: a stage's throttle is for its routes",
        stage_throttle,
        "there a stage's throttle does not count them: by our reading, not by AWS",
    ),
    Measurement(
        "inbound-order",
        "with INBOUND=ordered texts come in order, and CLOSE with its code",
        inbound_order,
        "the order of the frames of a socket is AWS's own, and so is what its mapping templates know of a disconnect",
    ),
    Measurement("ordered-ping", "the same with INBOUND=ordered", ordered_ping),
]
