"""What is measured: each case is a function that returns its figures. Sizes are subscribers, rates are a second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import msgspec

from slip_sockets.gateway.ports import PAGE_SIZE, SHARDS

from ..errors import BenchError
from ..processes import usage
from .cloud import Cloud
from .programs import send
from .reports import Publish, Received, Sent
from .results import Figure

CHANNEL = "news"
SMALL_CHANNEL = "lobby"
TEXT_BYTES = 200
BOTO3_THREADS = (16, 64)
API_CALLS_PER_S = 10_000
"""An account's quota for all its APIs together.
https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
BURST_S = 0.05
"""The stub of a capped API lets so much of a second's calls come at once: little, so that the cap is what is met."""
SMALL_PUBLISHES = 5


@dataclass(frozen=True, slots=True)
class Sizes:
    """`workers` are the functions of the queue. `visibility_s` is the queue's timeout where a worker is killed: short,
    since that is waited for."""

    workers: int = 8
    rounds: int = 3
    latency_s: float = 0.02
    inline_limit: int = 1_000
    sender: int = 20_000
    sender_boto3: int = 4_000
    inline: int = 1_000
    queued: int = 100_000
    million: int = 1_000_000
    capped: Sequence[tuple[int, int]] = ((2_000, 30_000), (200, 3_000))
    """Caps, and subscribers beneath each."""
    gone: int = 10_000
    young: int = 20
    ordered: int = 5_000
    ordered_publishes: int = 100
    faults: int = 20_000
    visibility_s: float = 5.0
    fair: int = 100_000
    fair_small: int = 10


QUICK = Sizes(
    workers=2,
    rounds=1,
    sender=4_000,
    sender_boto3=1_000,
    queued=10_000,
    million=100_000,
    capped=((2_000, 6_000), (200, 600)),
    gone=2_000,
    ordered=1_000,
    ordered_publishes=20,
    faults=6_000,
    fair=30_000,
)


def sender(sizes: Sizes) -> list[Figure]:
    """One process sends to all; boto3's client in threads does the same, in turns with it."""
    runs: dict[int | None, list[Sent]] = {None: [], **{threads: [] for threads in BOTO3_THREADS}}
    with Cloud(*_latency(sizes)) as cloud:
        for _ in range(sizes.rounds):
            for threads, sent in runs.items():
                count = sizes.sender if threads is None else sizes.sender_boto3
                sent.append(send(cloud.environment, count, TEXT_BYTES, threads))
                if sent[-1].done != count:
                    raise BenchError(f"{sent[-1].done} of {count} were sent")
    rate = {threads: median(each.per_s for each in sent) for threads, sent in runs.items()}
    cost = {threads: median(each.cpu_s_per_1000 for each in sent) for threads, sent in runs.items()}
    figures = [
        Figure("deliveries", rate[None], "/s", at_least=4_000),
        Figure("processor time of 1,000", cost[None], "s", at_most=0.10),
    ]
    for threads in BOTO3_THREADS:
        figures += [
            Figure(f"boto3, {threads} threads: deliveries", rate[threads], "/s"),
            Figure(f"boto3, {threads} threads: processor time of 1,000", cost[threads], "s"),
            Figure(f"ours to boto3, {threads} threads: deliveries", rate[None] / rate[threads]),
            Figure(f"ours to boto3, {threads} threads: by processor time", cost[threads] / cost[None], at_least=8),
        ]
    return figures


def inline(sizes: Sizes) -> list[Figure]:
    """From a publish to its last delivery, with few subscribers."""
    took: list[float] = []
    with Cloud(*_latency(sizes), publishers=1) as cloud:
        cloud.fill(CHANNEL, sizes.inline)
        for number in range(2 * sizes.rounds + 1):
            cloud.management.reset()
            published = cloud.publishers[0].publish(Publish(CHANNEL, number))
            received = cloud.management.received()
            if received.connections != sizes.inline:
                raise BenchError(f"{received.connections} of {sizes.inline} got the text")
            took.append(received.last - published.began_at)
    return [
        Figure("publish to last delivery", median(took[1:]), "s", at_most=0.5),
        Figure("the longest of the warm ones", max(took[1:]), "s"),
        Figure("the first, while connections are opened", took[0], "s", at_most=0.5),
    ]


def queued(sizes: Sizes) -> list[Figure]:
    """A large channel, through the queue."""
    with _queue_cloud(sizes) as cloud:
        cloud.fill(CHANNEL, sizes.queued)
        pids = {
            "functions": [each.pid for each in (*cloud.publishers, *cloud.workers)],
            "stubs": [each.pid for each in (cloud.management, cloud.dynamodb, cloud.sqs)],
        }
        before = {who: _cpu_s(those) for who, those in pids.items()}
        published = cloud.publishers[0].publish(Publish(CHANNEL))
        cloud.settle()
        busy_s = {who: _cpu_s(those) - before[who] for who, those in pids.items()}
        received = cloud.management.received()
        used = cloud.finish()
    took_s = received.last - published.began_at
    return [
        *_whole(received, sizes.queued),
        Figure("the publisher's answer", published.answered_at - published.began_at, "s", at_most=3),
        Figure("peak memory of the largest function", max(each.peak_rss_mb for each in used), "MB", at_most=200),
        Figure("publish to last delivery", took_s, "s"),
        Figure("deliveries", received.delivered / took_s, "/s"),
        *(Figure(f"processor cores that {who} kept busy", busy_s[who] / took_s) for who in pids),
    ]


def million(sizes: Sizes) -> list[Figure]:
    """The real coordinator splits a huge channel; the queue counts the chunks and drops them."""
    count = sizes.million
    with _queue_cloud(sizes, workers=1) as cloud:
        cloud.fill(CHANNEL, count)
        cloud.sqs.post("/drop", type="fan_out_chunk")
        published = cloud.publishers[0].publish(Publish(CHANNEL))
        cloud.settle()
        split_s = time.time() - published.answered_at
        queue, table = cloud.sqs.get("/stats"), cloud.dynamodb.get("/stats")
        used = cloud.finish()
    rss_mb = used[1].page_rss_mb
    pages, counting = table["Query channel-index"], table.get("Query channel-index COUNT", {"read_units": 0})
    messages, message_bytes = sum(queue["messages"].values()), sum(queue["message_bytes"].values())
    first_quarter = rss_mb[: max(1, len(rss_mb) // 4)]
    return [
        Figure("the publisher's answer", published.answered_at - published.began_at, "s", at_most=3),
        Figure("the coordinator's time", split_s, "s"),
        Figure("its peak memory", used[1].peak_rss_mb, "MB", at_most=200),
        Figure(
            "its memory: growth from the first quarter of the pages", rss_mb[-1] - max(first_quarter), "MB", at_most=5
        ),
        Figure("pages of subscribers", len(rss_mb)),
        Figure("queue messages", messages),
        Figure("queue messages, mean size", message_bytes / messages, "B"),
        Figure("calls of SQS to send them", queue["calls"]["SendMessageBatch"]),
        Figure(
            "calls of SQS in all, with a receive and a delete of each",
            queue["calls"]["SendMessageBatch"] + 2 * messages,
        ),
        Figure("DynamoDB read units: the pages", pages["read_units"]),
        Figure("DynamoDB read units: the count for the publisher", counting["read_units"]),
        Figure(
            "DynamoDB write units, the index's among them",
            sum(each["write_units"] + each["index_write_units"] for each in table.values()),
        ),
        Figure(
            "to the last delivery, computed at 10,000 calls/s",
            split_s / max(1, count / PAGE_SIZE) + max(count / API_CALLS_PER_S, split_s),
            "s",
        ),
    ]


def capped(sizes: Sizes) -> list[Figure]:
    """The management API answers 429 beyond a cap."""
    figures = []
    for cap, count in sizes.capped:
        figures += _capped(sizes, cap, count, "")
    cap, count = sizes.capped[-1][0], min(sizes.capped[-1][1], sizes.inline_limit)
    return [*figures, *_capped(sizes, cap, count, ", begun inline")]


def _capped(sizes: Sizes, cap: int, count: int, how: str) -> list[Figure]:
    limit = sizes.inline_limit if how else 0
    options = ("--cap", str(cap), "--burst", str(max(1, cap * BURST_S)))
    with _queue_cloud(sizes, *options, inline_limit=limit) as cloud:
        cloud.fill(CHANNEL, count)
        cloud.publishers[0].publish(Publish(CHANNEL))
        cloud.settle()
        received = cloud.management.received()
    name = f"{cap:,}/s{how}"
    goodput = received.delivered / max(received.seconds, 1e-9)
    return [
        *_whole(received, count, f"{name}: "),
        Figure(f"{name}: deliveries", goodput, "/s"),
        Figure(f"{name}: share of the cap", min(goodput / cap, 1) * 100, "%", at_least=85),
        Figure(f"{name}: calls for each delivery", received.calls / max(1, received.delivered)),
    ]


def gone(sizes: Sizes) -> list[Figure]:
    """Of 30 % the connections are gone. Connections that are young are not pruned."""
    received: list[Received] = []
    with _queue_cloud(sizes, "--gone-fraction", "0.3") as cloud:
        cloud.fill(CHANNEL, sizes.gone)
        for number in range(2):
            cloud.management.reset()
            cloud.publishers[0].publish(Publish(CHANNEL, number))
            cloud.settle()
            received.append(cloud.management.received())
        left = cloud.subscribers(CHANNEL)
    found, wasted = (each.statuses.get(410, 0) for each in received)
    with Cloud("--gone-fraction", "1", publishers=1) as cloud:
        cloud.fill(CHANNEL, sizes.young, accepted_s_ago=-60)
        cloud.publishers[0].publish(Publish(CHANNEL))
        kept = cloud.subscribers(CHANNEL)
    return [
        Figure("gone", found),
        Figure("calls of the first publish, for each subscriber", received[0].calls / sizes.gone, at_most=1),
        Figure("calls of the second to gone connections", wasted, at_least=0, at_most=0),
        Figure("subscribers that remain, of those that are open", left / (sizes.gone - found) * 100, "%", 100, 100),
        Figure("young subscribers that remain", kept / sizes.young * 100, "%", at_least=100, at_most=100),
    ]


def ordered(sizes: Sizes) -> list[Figure]:
    """One publish after another to the same subscribers."""
    with _queue_cloud(sizes) as cloud:
        cloud.fill(CHANNEL, sizes.ordered)
        published = cloud.publishers[0].publish(Publish(CHANNEL, times=sizes.ordered_publishes))
        cloud.settle()
        received = cloud.management.received()
    expected = sizes.ordered * sizes.ordered_publishes
    return [
        Figure("texts that arrived", (received.delivered - received.duplicates) / expected * 100, "%", 100, 100),
        Figure("out of order", received.out_of_order, at_least=0, at_most=0),
        Figure("duplicates", received.duplicates, at_least=0, at_most=0),
        Figure("first publish to last delivery", received.last - published.began_at, "s"),
        Figure("deliveries", received.delivered / (received.last - published.began_at), "/s"),
    ]


def faults(sizes: Sizes) -> list[Figure]:
    """What crashes and what comes twice."""
    return [
        *_killed(sizes),
        *_twice(sizes, "fan_out"),
        *_twice(sizes, "fan_out_chunk"),
        *_same_id(sizes, sizes.faults, 0, "two publishers with one id"),
        *_same_id(sizes, sizes.inline, sizes.inline, "two publishers with one id, inline"),
    ]


def _killed(sizes: Sizes) -> list[Figure]:
    with _queue_cloud(sizes, workers=1, inline_limit=0, visibility_timeout_s=sizes.visibility_s) as cloud:
        cloud.fill(CHANNEL, sizes.faults)
        cloud.publishers[0].publish(Publish(CHANNEL))
        cloud.wait_until(lambda: cloud.management.calls() > 0.3 * sizes.faults)
        cloud.kill_worker(0)
        cloud.add_worker()
        cloud.settle()
        received, again = cloud.management.received(), cloud.sqs.get("/stats")["received_again"]
    return [
        Figure("a worker killed: lost", sizes.faults - received.connections, at_least=0, at_most=0),
        Figure("a worker killed: duplicates", received.duplicates, at_most=_largest_chunk(sizes.faults)),
        Figure("a worker killed: messages that came again", sum(again.values())),
    ]


def _twice(sizes: Sizes, kind: str) -> list[Figure]:
    name = {"fan_out": "the publish's message twice", "fan_out_chunk": "a chunk's message twice"}[kind]
    with _queue_cloud(sizes, inline_limit=0) as cloud:
        cloud.fill(CHANNEL, sizes.faults)
        cloud.sqs.post("/twice", type=kind)
        cloud.publishers[0].publish(Publish(CHANNEL))
        cloud.settle()
        received = cloud.management.received()
        if not cloud.sqs.get("/stats")["received_again"].get(kind):
            raise BenchError(f"no {kind} came twice")
    duplicates = Figure(f"{name}: duplicates", received.duplicates, at_most=_largest_chunk(sizes.faults))
    if kind == "fan_out":
        duplicates = replace(duplicates, at_least=0, at_most=0)
    return [Figure(f"{name}: lost", sizes.faults - received.connections, at_least=0, at_most=0), duplicates]


def _same_id(sizes: Sizes, count: int, inline_limit: int, name: str) -> list[Figure]:
    with _queue_cloud(sizes, publishers=2, inline_limit=inline_limit) as cloud:
        cloud.fill(CHANNEL, count)
        for publisher in cloud.publishers:
            publisher.begin(Publish(CHANNEL, message_id="the same"))
        for publisher in cloud.publishers:
            publisher.answer()
        cloud.settle()
        received = cloud.management.received()
    return [
        Figure(f"{name}: lost", count - received.connections, at_least=0, at_most=0),
        Figure(f"{name}: duplicates", received.duplicates, at_least=0, at_most=0),
    ]


def fair(sizes: Sizes) -> list[Figure]:
    """A publish to a small channel while a large one is under way."""
    took: list[float] = []
    with _queue_cloud(sizes, publishers=2) as cloud:
        cloud.fill(CHANNEL, sizes.fair)
        cloud.fill(SMALL_CHANNEL, sizes.fair_small)
        large, small = cloud.publishers
        large.publish(Publish(CHANNEL))
        cloud.wait_until(lambda: cloud.sqs.get("/stats")["received"].get("fan_out_chunk", 0) > 0)
        for number in range(SMALL_PUBLISHES):
            published = small.publish(Publish(SMALL_CHANNEL, number))
            (report,) = msgspec.json.decode(published.body)["events"]
            if report["sent"] != sizes.fair_small:
                raise BenchError(f"{report['sent']} of {sizes.fair_small} were sent to: {published.body}")
            took.append(published.answered_at - published.began_at)
        still = cloud.under_way()
        cloud.settle()
        received = cloud.management.received()
    return [
        Figure("the small publish, the longest of 5", max(took), "s", at_most=1),
        Figure("the small publish, the median", median(took), "s"),
        Figure("messages of the large one that were left then", still, at_least=1),
        Figure("lost", sizes.fair + sizes.fair_small - received.connections, at_least=0, at_most=0),
    ]


CASES: dict[str, Callable[[Sizes], list[Figure]]] = {
    case.__name__: case for case in (sender, inline, queued, million, capped, gone, ordered, faults, fair)
}


def _latency(sizes: Sizes) -> tuple[str, ...]:
    return ("--latency", str(sizes.latency_s))


def _queue_cloud(
    sizes: Sizes,
    *management: str,
    workers: int | None = None,
    publishers: int = 1,
    inline_limit: int | None = None,
    visibility_timeout_s: float = 120.0,
) -> Cloud:
    return Cloud(
        *_latency(sizes),
        *management,
        workers=sizes.workers if workers is None else workers,
        publishers=publishers,
        inline_limit=sizes.inline_limit if inline_limit is None else inline_limit,
        visibility_timeout_s=visibility_timeout_s,
    )


def _whole(received: Received, count: int, name: str = "") -> list[Figure]:
    return [
        Figure(f"{name}delivered", received.connections / count * 100, "%", at_least=100, at_most=100),
        Figure(f"{name}duplicates", received.duplicates, at_least=0, at_most=0),
    ]


def _largest_chunk(count: int) -> int:
    """A page has 8 chunks of about the same size."""
    return math.ceil(1.2 * min(count, PAGE_SIZE) / SHARDS) + 10


def _cpu_s(pids: Sequence[int]) -> float:
    return sum(usage(pid).cpu_s for pid in pids)
