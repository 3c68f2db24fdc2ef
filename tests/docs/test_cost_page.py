"""The page on cost has the numbers of `slip_sockets.cost`. `tests/cli/test_cost.py` holds its example."""

from __future__ import annotations

import re

from slip_sockets.cost import events, presence
from slip_sockets.cost.prices import Meter, read_prices
from slip_sockets.cost.usage import Usage
from slip_sockets.cost.workload import Workload
from slip_sockets.gateway.worker import Inbound

from .markdown import Page

PAGE = Page("docs/cost.md")
PRICES = read_prices().region("us-east-1")
MILLION = 1_000_000
WAYS = [Workload(), *(Workload(inbound=Inbound.ORDERED, texts_a_post=count) for count in (1, 5, 10))]


def usd(usage: Usage) -> float:
    """Return USD of a million of an event."""
    return sum(PRICES.price(meter).cost(units * MILLION, meter.per) for meter, units in usage.units.items())


def test_the_table_of_a_million_texts_is_right() -> None:
    usages = [events.text(workload) for workload in WAYS]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in PAGE.rows("Texts in order")}
    assert rows == {
        "SQS requests": [f"{usage.units[Meter.SQS_REQUESTS] * MILLION:,.0f}" for usage in usages],
        "invocations": [f"{usage.units[Meter.LAMBDA_REQUESTS] * MILLION:,.0f}" for usage in usages],
        "USD, all in all": [f"{usd(usage):.2f}" for usage in usages],
    }


def test_a_million_ticks_of_timers_cost_what_the_pages_say() -> None:
    cost = f"{usd(events.timer(Workload())):.2f} USD"
    assert f"{cost} a million" in PAGE.path.read_text()
    assert f"{cost} for a million" in Page("docs/grip.md").path.read_text()


def test_the_table_of_members_is_right() -> None:
    rows = [[cell.text for cell in row] for row in PAGE.rows("Members")]
    workloads = [Workload(members=int(row[0].replace(",", ""))) for row in rows]
    costs = [[f"{usd(event(w)):.2f}" for event in (presence.join, presence.leave)] for w in workloads]
    assert [row[1:] for row in rows] == costs


def test_a_disconnect_and_the_polls_cost_what_the_page_says() -> None:
    text = PAGE.path.read_text()
    direct, ordered, *_ = (usd(events.disconnect(workload)) for workload in WAYS)
    assert f"a read more, {ordered - direct:.2f} USD a million" in text
    (polls,) = re.findall(r"while they are empty, ([\d.]+) USD", text)
    assert polls == f"{PRICES.price(Meter.SQS_REQUESTS).cost(events.IDLE_POLLS, Meter.SQS_REQUESTS.per):.2f}"
