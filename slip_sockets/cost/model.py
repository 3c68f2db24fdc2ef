"""What a month costs, by meter and by event, and what is worth knowing about it."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

import msgspec

from .patterns import Original, Ours, Pattern, Tally
from .prices import Meter, PriceBook
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
"""A month's, of the whole account; other uses of it share them. https://aws.amazon.com/free/ and the pricing pages."""
CALLS_PER_S = 10_000
CONNECTS_PER_S = 500
"""An account's quotas in most regions.
https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""

EventKind = Literal["connect", "frame", "disconnect", "publish", "open sockets"]


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """A meter's. `share` is of the total; `source` is a URL; None says that nobody has checked the price."""

    meter: str
    label: str
    unit: str
    quantity: float
    free: float
    usd: float
    share: float
    original_quantity: float
    original_usd: float
    source: str | None


class EventLine(msgspec.Struct, frozen=True, rename="camel"):
    """A kind of event's: how many a month, and what one of them takes."""

    event: EventKind
    count: float
    aws_calls: int
    billed_ms: int
    usd: float
    original_aws_calls: int
    original_billed_ms: int
    original_usd: float


class Estimate(msgspec.Struct, frozen=True, rename="camel"):
    """USD for a month. `findings` are sentences, the most important first."""

    region: str
    region_name: str
    prices_of: str
    free_tier: FreeTier
    workload: Workload
    usd: float
    original_usd: float
    lines: list[Line]
    events: list[EventLine]
    findings: list[str]


_NAMES = ("WebSocket", "Lambda", "DynamoDB", "SQS", "CloudWatch")


class _Bill:
    """One gateway's month."""

    def __init__(self, pattern: Pattern, w: Workload, book: PriceBook, region: str, free: dict[Meter, float]) -> None:
        self.tallies: dict[EventKind, Tally] = {
            "connect": pattern.connect(w),
            "frame": pattern.frame(w),
            "disconnect": pattern.disconnect(w),
            "publish": pattern.publish(w),
            "open sockets": pattern.month(w),
        }
        self.counts: dict[EventKind, float] = {
            "connect": w.connects,
            "frame": w.frames,
            "disconnect": w.connects,
            "publish": w.publishes,
            "open sockets": 1,
        }
        self.units: defaultdict[Meter, float] = defaultdict(float)
        for event, tally in self.tallies.items():
            for meter, units in tally.units.items():
                self.units[meter] += self.counts[event] * units
        self.free = {meter: min(free.get(meter, 0), units) for meter, units in self.units.items()}
        prices = book.region(region)
        self.usd = {
            meter: prices.price(meter).cost(units - self.free[meter], meter.per) for meter, units in self.units.items()
        }
        self.total = sum(self.usd.values())

    def of_event(self, event: EventKind) -> float:
        """Where tiers and free units are shared, each event has its part of them."""
        return sum(
            self.usd[meter] * self.counts[event] * units / self.units[meter]
            for meter, units in self.tallies[event].units.items()
            if self.units[meter]
        )


def estimate(workload: Workload, book: PriceBook, *, region: str, free_tier: FreeTier = "none") -> Estimate:
    """Raises InvalidSettings where the book has no prices for the region."""
    bill = _Bill(Ours(), workload, book, region, FREE[free_tier])
    original = _Bill(Original(), workload, book, region, FREE[free_tier])
    prices = book.region(region)
    lines = [
        Line(
            meter=meter.key,
            label=meter.label,
            unit=meter.unit,
            quantity=bill.units[meter],
            free=bill.free.get(meter, 0),
            usd=bill.usd.get(meter, 0),
            share=bill.usd.get(meter, 0) / bill.total if bill.total else 0,
            original_quantity=original.units[meter],
            original_usd=original.usd.get(meter, 0),
            source=book.url_of(prices.price(meter)),
        )
        for meter in Meter
        if bill.units[meter] or original.units[meter]
    ]
    events = [
        EventLine(
            event=event,
            count=bill.counts[event],
            aws_calls=tally.aws_calls,
            billed_ms=tally.billed_ms,
            usd=bill.of_event(event),
            original_aws_calls=original.tallies[event].aws_calls,
            original_billed_ms=original.tallies[event].billed_ms,
            original_usd=original.of_event(event),
        )
        for event, tally in bill.tallies.items()
    ]
    return Estimate(
        region=region,
        region_name=prices.name,
        prices_of=book.date,
        free_tier=free_tier,
        workload=workload,
        usd=bill.total,
        original_usd=original.total,
        lines=sorted(lines, key=lambda line: -line.usd),
        events=events,
        findings=_findings(workload, bill, original),
    )


def _findings(w: Workload, bill: _Bill, original: _Bill) -> list[str]:
    found = []
    if bill.total:
        top = max(bill.usd, key=lambda meter: bill.usd[meter])
        found.append(f"{bill.usd[top] / bill.total:.0%} of it is for {_named(top)}. {_advice(top, w, bill)}")
    reached = Original().reached(w)
    if w.publishes and reached < w.subscribers:
        found.append(
            f"The original would reach {reached:,} of the {w.subscribers:,} subscribers before its 10 seconds are up: "
            "it is the cheaper for what it loses."
        )
    elif original.total - bill.total > 0.005:
        found.append(f"The original's calls would cost {original.total - bill.total:,.2f} USD more.")
    elif bill.total - original.total > 0.005:
        found.append(
            f"The original's calls would cost {bill.total - original.total:,.2f} USD less: "
            "it knows no ids of publishes, has no queue and tries nothing again."
        )
    per_s = w.publishes_per_s * w.subscribers + w.frames / SECONDS_A_MONTH * (1 + w.answered)
    if per_s > CALLS_PER_S:
        found.append(
            f"It makes {per_s:,.0f} calls of API Gateway a second, and an account has {CALLS_PER_S:,} in most regions. "
            "Have the quota raised first."
        )
    if w.connects / SECONDS_A_MONTH > CONNECTS_PER_S:
        found.append(
            f"{w.connects / SECONDS_A_MONTH:,.0f} connect a second, and an account has {CONNECTS_PER_S} in a region. "
            "Have the quota raised first."
        )
    return found


def _named(meter: Meter) -> str:
    """Return the label within a sentence."""
    return meter.label if meter.label.startswith(_NAMES) else meter.label[0].lower() + meter.label[1:]


def _advice(top: Meter, w: Workload, bill: _Bill) -> str:
    match top:
        case Meter.WEBSOCKET_MESSAGES:
            delivered = w.deliveries / (w.deliveries + w.frames * (1 + w.answered))
            room = "" if w.text_bytes > 16_384 else ": one of 32 KB costs as much as one of a byte"
            return f"{delivered:.0%} of the texts are publishes. Gather texts where you can{room}."
        case Meter.CONNECTION_MINUTES:
            usd = bill.usd[top] / w.connections
            return f"A socket costs {usd:.4f} USD a month by being open. Close those that nobody looks at."
        case Meter.LAMBDA_ARM64 | Meter.LAMBDA_X86:
            billed = sum(bill.counts[event] * tally.billed_ms for event, tally in bill.tallies.items())
            waited = sum(bill.counts[event] * tally.waiting_for_backend_ms for event, tally in bill.tallies.items())
            return f"{waited / billed:.0%} of that time your backend is waited for: the sooner it answers, the less."
        case Meter.PROVISIONED_ARM64 | Meter.PROVISIONED_X86:
            return "It is paid whether anybody comes or not."
        case Meter.SQS_REQUESTS if not w.connections:
            return "It is the queue being looked at while nothing is in it; within the free tier it costs nothing."
        case _:
            return "That is unusual: look at the numbers that you gave."
