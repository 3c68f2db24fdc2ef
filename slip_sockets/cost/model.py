"""The cost of a month, by meter and by event, with findings about it."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Literal

import msgspec

from ..gateway.worker import Inbound
from . import events, presence
from .prices import Meter, PriceBook
from .usage import Usage
from .workload import SECONDS_A_MONTH, Workload

FreeTier = Literal["none", "always", "first-year"]
FREE: dict[FreeTier, dict[Meter, float]] = {
    "none": {},
    "always": {
        Meter.LAMBDA_REQUESTS: 1e6,
        Meter.LAMBDA_ARM64: 400_000,
        Meter.LAMBDA_X86: 400_000,
        Meter.TABLE_STORAGE: 25,
        Meter.SQS_REQUESTS: 1e6,
        Meter.LOGS: 5,
        Meter.DATA_OUT: 100,
    },
}
FREE["first-year"] = FREE["always"] | {
    Meter.WEBSOCKET_MESSAGES: 1e6,
    Meter.CONNECTION_MINUTES: 750_000,
    Meter.HTTP_REQUESTS: 1e6,
}
"""Free units in a month, of the whole account: all its uses share them. https://aws.amazon.com/free/ and the pricing
pages."""
CALLS_PER_S = 10_000
CONNECTS_PER_S = 500
"""An account's quotas in most regions.
https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""

EventKind = Literal[
    "connect",
    "join",
    "recovery",
    "text",
    "ping",
    "disconnect",
    "leave",
    "occupancy",
    "sweep",
    "publish",
    "keep",
    "timer",
    "open sockets",
]


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """A meter in a month. `share` is of the total; `source` is a URL, None if the price is not checked."""

    meter: str
    label: str
    unit: str
    quantity: float
    free: float
    usd: float
    share: float
    source: str | None


class EventLine(msgspec.Struct, frozen=True, rename="camel"):
    """A kind of event: how many in a month, the calls and milliseconds of one, rounded up, the USD of all."""

    event: EventKind
    count: float
    aws_calls: int
    billed_ms: int
    usd: float


class Estimate(msgspec.Struct, frozen=True, rename="camel"):
    """USD for a month. `findings` are sentences, the most important first."""

    region: str
    region_name: str
    prices_of: str
    free_tier: FreeTier
    workload: Workload
    usd: float
    lines: list[Line]
    events: list[EventLine]
    findings: list[str]


_NAMES = ("WebSocket", "Lambda", "DynamoDB", "SQS", "Secrets Manager", "CloudWatch")


class _Bill:
    """A month's usage and price."""

    def __init__(self, w: Workload, book: PriceBook, region: str, free: dict[Meter, float]) -> None:
        self.usages: dict[EventKind, Usage] = {
            "connect": events.connect(w),
            **({"join": presence.join(w)} if w.joined else {}),
            "text": events.text(w),
            "recovery": events.recovery(w),
            "ping": events.ping(w),
            "keep": events.keep(w),
            "disconnect": events.disconnect(w),
            **({"leave": presence.leave(w)} if w.joined else {}),
            **({"occupancy": presence.occupancy(w), "sweep": presence.sweep(w)} if w.sweeps else {}),
            "publish": events.publish(w),
            **({"timer": events.timer(w)} if w.timer_s else {}),
            "open sockets": events.open_sockets(w),
        }
        self.counts: dict[EventKind, float] = {
            "connect": w.connects,
            "text": w.texts,
            "join": w.joins,
            "recovery": w.recoveries,
            "ping": w.pings,
            "keep": w.kept_publishes,
            "disconnect": w.connects,
            "leave": w.joins,
            "occupancy": w.occupancies,
            "sweep": w.sweeps,
            "publish": w.publishes,
            "timer": w.ticks,
            "open sockets": 1,
        }
        self.units: defaultdict[Meter, float] = defaultdict(float)
        for event, usage in self.usages.items():
            for meter, units in usage.units.items():
                self.units[meter] += self.counts[event] * units
        self.free = {meter: min(free.get(meter, 0), units) for meter, units in self.units.items()}
        prices = book.region(region)
        self.usd = {
            meter: prices.price(meter).cost(units - self.free[meter], meter.per) for meter, units in self.units.items()
        }
        self.total = sum(self.usd.values())

    def of_event(self, event: EventKind) -> float:
        """Return USD of all events of a kind. Events share tiers and free units in proportion."""
        return sum(
            self.usd[meter] * self.counts[event] * units / self.units[meter]
            for meter, units in self.usages[event].units.items()
            if self.units[meter]
        )


def estimate(workload: Workload, book: PriceBook, *, region: str, free_tier: FreeTier = "none") -> Estimate:
    """Raises InvalidSettings where the book has no prices for the region."""
    bill = _Bill(workload, book, region, FREE[free_tier])
    prices = book.region(region)
    lines = [
        Line(
            meter=meter.key,
            label=meter.label,
            unit=meter.unit,
            quantity=bill.units[meter],
            free=bill.free[meter],
            usd=bill.usd[meter],
            share=bill.usd[meter] / bill.total if bill.total else 0,
            source=book.url_of(prices.price(meter)),
        )
        for meter in Meter
        if bill.units[meter]
    ]
    return Estimate(
        region=region,
        region_name=prices.name,
        prices_of=book.date,
        free_tier=free_tier,
        workload=workload,
        usd=bill.total,
        lines=sorted(lines, key=lambda line: -line.usd),
        events=[
            EventLine(
                event,
                bill.counts[event],
                math.ceil(usage.aws_calls),
                math.ceil(usage.billed_ms),
                bill.of_event(event),
            )
            for event, usage in bill.usages.items()
        ],
        findings=_findings(workload, bill),
    )


def _findings(w: Workload, bill: _Bill) -> list[str]:
    found = []
    if bill.total:
        top = max(bill.usd, key=lambda meter: bill.usd[meter])
        found.append(f"{bill.usd[top] / bill.total:.0%} of it is for {_named(top)}. {_advice(top, w, bill)}")
    per_s = w.publishes_per_s * w.subscribers + (w.texts * (1 + w.replied) + w.pings + w.ticks) / SECONDS_A_MONTH
    if per_s > CALLS_PER_S:
        found.append(
            f"It makes {per_s:,.0f} calls of API Gateway a second; an account has {CALLS_PER_S:,} in most regions. "
            "Request a higher quota first."
        )
    if w.connects / SECONDS_A_MONTH > CONNECTS_PER_S:
        found.append(
            f"{w.connects / SECONDS_A_MONTH:,.0f} connect a second; an account has {CONNECTS_PER_S} in a region. "
            "Request a higher quota first."
        )
    return found


def _named(meter: Meter) -> str:
    """Return the label as it stands within a sentence."""
    return meter.label if meter.label.startswith(_NAMES) else meter.label[0].lower() + meter.label[1:]


def _advice(top: Meter, w: Workload, bill: _Bill) -> str:
    match top:
        case Meter.WEBSOCKET_MESSAGES:
            texts, pings = w.deliveries + w.texts * (1 + w.replied), 2 * w.pings
            if pings > texts:
                return (
                    f"{pings / (pings + texts):.0%} of them are pings and pongs. One in 9 minutes keeps a socket open."
                )
            published = w.deliveries / texts
            room = "" if w.text_bytes > 16_384 else ": one of 32 KB costs as much as one of a byte"
            return f"{published:.0%} of the texts are publishes. Combine texts where you can{room}."
        case Meter.CONNECTION_MINUTES:
            usd = bill.usd[top] / w.connections
            return f"A socket costs {usd:.4f} USD a month by being open. Close those of hidden pages."
        case Meter.LAMBDA_ARM64 | Meter.LAMBDA_X86:
            billed = sum(bill.counts[event] * usage.billed_ms for event, usage in bill.usages.items())
            waited = sum(bill.counts[event] * usage.waiting_for_backend_ms for event, usage in bill.usages.items())
            return f"{waited / billed:.0%} of that time functions wait for your backend. A faster one costs less."
        case Meter.PROVISIONED_ARM64 | Meter.PROVISIONED_X86 | Meter.SECRETS:
            return "It costs the same without any traffic."
        case Meter.SQS_REQUESTS if bill.units[top] / 2 < events.IDLE_POLLS:
            return "Lambda polls the queues while they are empty."
        case Meter.SQS_REQUESTS if w.ticks > w.texts:
            return (
                "Each tick of a timer takes six. A longer time costs less, and a page can keep its socket open itself."
            )
        case Meter.SQS_REQUESTS if w.inbound is Inbound.ORDERED:
            return (
                "A text that comes alone takes three; ten that come together take twelve. With direct there are none."
            )
        case _:
            return "That is unusual: check the numbers that you gave."
