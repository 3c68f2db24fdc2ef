"""What is measured: each case is a function that returns its figures. Sizes are numbers of subscribers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from slip_sockets.aws.connections import PAGE_SIZE
from slip_sockets.gateway.delivery_rate import DEFAULT_FAN_OUT_RATE, MAX_FAN_OUT_RATE

from ..errors import BenchError
from ..figures import Figure
from ..processes import usage
from ..stubs.cloud import Cloud
from ..stubs.programs import Received
from .bystander import Bystander
from .deployment import Deployment
from .programs import send
from .reports import Publish, Sent

CHANNEL = "news"
TEXT_BYTES = 200
KEPT_BYTES = 1_024
KEEPERS = 8
"""Publishers side by side."""
BOTO3_THREADS = (16, 64)
API_CALLS_PER_S = 10_000
"""An account's quota for all its APIs together.
https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
API_BURST = 5_000
"""The same quota's."""
BURST_S = 0.05
"""The stub of a capped API lets the calls of this time come at once: few, so that the cap is what limits."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`workers` are functions of the queue, `latency_s` is the management API's."""

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
    """Caps in calls a second, and the subscribers under each."""
    shared: int = 100_000
    kept: int = 200
    """Messages of each of KEEPERS in a round."""
    database_latency_s: float = 0.005


QUICK = Sizes(
    workers=2,
    rounds=1,
    sender=4_000,
    sender_boto3=1_000,
    queued=10_000,
    million=100_000,
    capped=((2_000, 6_000), (200, 600)),
    shared=20_000,
    kept=25,
)


def sender(sizes: Sizes) -> list[Figure]:
    """One process sends to all connections; boto3's client in threads does the same, in alternating runs."""
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
        Figure("processor time of 1,000", cost[None], "s", at_most=0.035),
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
    with _deployment(sizes, workers=0) as deployed:
        deployed.fill(CHANNEL, sizes.inline)
        for number in range(2 * sizes.rounds + 1):
            deployed.management.reset()
            published = deployed.publishers[0].publish(Publish(CHANNEL, number))
            received = deployed.management.received()
            if received.connections != sizes.inline:
                raise BenchError(f"{received.connections} of {sizes.inline} received the text")
            took.append(received.last - published.began_at)
    return [
        Figure("publish to last delivery", median(took[1:]), "s", at_most=0.5),
        Figure("the longest of the warm ones", max(took[1:]), "s"),
        Figure("the first, while connections are opened", took[0], "s", at_most=0.5),
    ]


def queued(sizes: Sizes) -> list[Figure]:
    """A large channel, through the queue."""
    with _deployment(sizes) as deployed:
        deployed.fill(CHANNEL, sizes.queued)
        pids = {
            "functions": [each.pid for each in (*deployed.publishers, *deployed.workers)],
            "stubs": [each.pid for each in (deployed.management, deployed.dynamodb, deployed.sqs)],
        }
        before = {programs: _cpu_s(each) for programs, each in pids.items()}
        published = deployed.publishers[0].publish(Publish(CHANNEL))
        deployed.settle()
        busy_s = {programs: _cpu_s(each) - before[programs] for programs, each in pids.items()}
        received = deployed.management.received()
        used = deployed.finish()
    took_s = received.last - published.began_at
    return [
        *_whole(received, sizes.queued),
        Figure("the publisher's response", published.ended_at - published.began_at, "s", at_most=3),
        Figure("peak memory of the largest function", max(each.peak_rss_mb for each in used), "MB", at_most=200),
        Figure("publish to last delivery", took_s, "s"),
        Figure("deliveries", received.delivered / took_s, "/s"),
        *(Figure(f"processor cores that {programs} kept busy", busy_s[programs] / took_s) for programs in pids),
    ]


def million(sizes: Sizes) -> list[Figure]:
    """The real coordinator splits a huge channel; the queue counts the chunks and drops them."""
    count = sizes.million
    with _deployment(sizes, workers=1) as deployed:
        deployed.fill(CHANNEL, count)
        deployed.sqs.post("/drop", type="fan_out_chunk")
        published = deployed.publishers[0].publish(Publish(CHANNEL))
        deployed.settle()
        split_s = time.time() - published.ended_at
        queue, table = deployed.sqs.get("/stats"), deployed.dynamodb.get("/stats")
        used = deployed.finish()
    rss_mb = used[1].page_rss_mb
    pages, counting = table["Query channel-index"], table.get("Query channel-index COUNT", {"read_units": 0})
    messages, message_bytes = sum(queue["messages"].values()), sum(queue["message_bytes"].values())
    first_quarter = rss_mb[: max(1, len(rss_mb) // 4)]
    return [
        Figure("the publisher's response", published.ended_at - published.began_at, "s", at_most=3),
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
    """The management API responds with 429 beyond a cap."""
    figures = []
    for cap, count in sizes.capped:
        figures += _capped(sizes, cap, count, "")
    cap, count = sizes.capped[-1][0], min(sizes.capped[-1][1], sizes.inline_limit)
    return [*figures, *_capped(sizes, cap, count, ", begun inline")]


def _capped(sizes: Sizes, cap: int, count: int, how: str) -> list[Figure]:
    limit = sizes.inline_limit if how else 0
    options = ("--cap", str(cap), "--burst", str(max(1, cap * BURST_S)))
    with _deployment(sizes, *options, inline_limit=limit) as deployed:
        deployed.fill(CHANNEL, count)
        deployed.publishers[0].publish(Publish(CHANNEL))
        deployed.settle()
        received = deployed.management.received()
    name = f"{cap:,}/s{how}"
    goodput = received.delivered / max(received.seconds, 1e-9)
    return [
        *_whole(received, count, f"{name}: "),
        Figure(f"{name}: deliveries", goodput, "/s"),
        Figure(f"{name}: share of the cap", min(goodput / cap, 1) * 100, "%", at_least=85),
        Figure(f"{name}: calls for each delivery", received.calls / max(1, received.delivered)),
    ]


def shared(sizes: Sizes) -> list[Figure]:
    """The account's quota, with another caller beside a large publish: with the rate that functions share, and without.

    Without it the functions are a match for the quota only where the machine is.
    """
    options = ("--cap", str(API_CALLS_PER_S), "--burst", str(API_BURST))
    figures = []
    for name, rate in (("FAN_OUT_RATE", DEFAULT_FAN_OUT_RATE), ("without", MAX_FAN_OUT_RATE)):
        with _deployment(sizes, *options, fan_out_rate=rate) as deployed:
            deployed.fill(CHANNEL, sizes.shared)
            with Bystander(deployed.management.port) as bystander:
                deployed.publishers[0].publish(Publish(CHANNEL))
                deployed.settle()
            received = deployed.management.received()
            table = deployed.dynamodb.get("/stats")
        refused = received.calls - received.delivered
        is_shared = rate == DEFAULT_FAN_OUT_RATE
        figures += [
            *_whole(received, sizes.shared + 1, f"{name}: "),
            Figure(f"{name}: calls a second", received.calls / max(received.seconds, 1e-9), "/s"),
            Figure(
                f"{name}: share of another caller's calls with 429",
                bystander.refused / bystander.calls * 100,
                "%",
                at_most=0 if is_shared else None,
            ),
            Figure(f"{name}: calls with 429", refused, at_most=0 if is_shared else None),
        ]
        if is_shared:
            writes = table["UpdateItem"]["calls"]
            figures.append(Figure(f"{name}: deliveries for each write of the table", sizes.shared / writes))
    return figures


def kept(sizes: Sizes) -> list[Figure]:
    """Publishers side by side on one channel without subscribers: kept publishes, and in between ones that are not."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    calls: dict[bool, list[float]] = {False: [], True: []}
    units: dict[bool, list[float]] = {False: [], True: []}
    count = KEEPERS * sizes.kept
    with Deployment(publishers=KEEPERS, database_latency_s=sizes.database_latency_s) as deployed:
        for is_kept in (*rates, *(list(rates) * sizes.rounds)):
            deployed.dynamodb.post("/reset")
            for publisher in deployed.publishers:
                publisher.begin(Publish(CHANNEL, text_bytes=KEPT_BYTES, is_kept=is_kept, count=sizes.kept))
            published = [publisher.response() for publisher in deployed.publishers]
            took_s = max(each.ended_at for each in published) - min(each.began_at for each in published)
            table = deployed.dynamodb.get("/stats").values()
            rates[is_kept].append(count / took_s)
            calls[is_kept].append(sum(each["calls"] for each in table) / count)
            units[is_kept].append(sum(each["write_units"] for each in table) / count)
    figures = []
    for is_kept, name in ((True, "kept"), (False, "not kept")):
        figures += [
            Figure(f"{name}: publishes", median(rates[is_kept][1:]), "/s", at_least=200 if is_kept else None),
            Figure(f"{name}: calls of DynamoDB", median(calls[is_kept][1:])),
            Figure(f"{name}: write units", median(units[is_kept][1:])),
        ]
    return figures


CASES: dict[str, Callable[[Sizes], list[Figure]]] = {
    case.__name__: case for case in (sender, inline, queued, million, capped, shared, kept)
}


def _latency(sizes: Sizes) -> tuple[str, ...]:
    return ("--latency", str(sizes.latency_s))


def _deployment(
    sizes: Sizes,
    *management: str,
    workers: int | None = None,
    inline_limit: int | None = None,
    fan_out_rate: int = MAX_FAN_OUT_RATE,
) -> Deployment:
    """Without a `fan_out_rate` nothing but the management API limits the functions."""
    return Deployment(
        *_latency(sizes),
        *management,
        workers=sizes.workers if workers is None else workers,
        publishers=1,
        inline_limit=sizes.inline_limit if inline_limit is None else inline_limit,
        fan_out_rate=fan_out_rate,
    )


def _whole(received: Received, count: int, name: str = "") -> list[Figure]:
    return [
        Figure(f"{name}delivered", received.connections / count * 100, "%", at_least=100, at_most=100),
        Figure(f"{name}duplicates", received.duplicates, at_least=0, at_most=0),
    ]


def _cpu_s(pids: Sequence[int]) -> float:
    return sum(usage(pid).cpu_s for pid in pids)
