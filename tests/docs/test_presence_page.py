"""The program of docs/presence.md runs, and the page's numbers are those of the code and of slip-sockets cost."""

from __future__ import annotations

import re
from typing import Any

from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.client.control_client import ControlApiClient
from slip_sockets.cost import presence
from slip_sockets.cost.prices import read_prices
from slip_sockets.cost.workload import Workload
from slip_sockets.gateway.looks import GRACE_S, SETTLED_AFTER_S, TOGETHER_S
from slip_sockets.gateway.members import MAX_MEMBERS
from slip_sockets.gateway.plan_presence import COUNT_EVERY_S, MAX_LISTED
from slip_sockets.testing import Socket, flask_client, record

from .markdown import Page

PAGE = Page("docs/presence.md")
TEXT = " ".join(PAGE.path.read_text().split())
(PROGRAM,) = (block.text for block in PAGE.blocks if block.language == "python")


def test_the_program_knows_who_is_there() -> None:
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(PROGRAM, "docs/presence.md", "exec"), namespace)
    app, client = namespace["app"], namespace["app"].test_client()
    laptop, phone, other = (Socket(flask_client(client, "/slip"), jwt_secret="change-me") for _ in range(3))
    with app.app_context():
        publisher: ControlApiClient = namespace["sockets"].publisher
    with record(publisher, sockets=[laptop, phone, other]):
        for socket, name in ((laptop, "Ann"), (phone, "Ann"), (other, "Bob")):
            socket.open(query={"name": [name]}, subprotocols=["slip.v1"])
            assert socket.subprotocol == "slip.v1"
        assert client.get("/room").json == {"count": 2, "names": ["Ann", "Bob"]}
        other.close()
        assert client.get("/room").json == {"count": 1, "names": ["Ann"]}


def test_the_times_and_numbers_are_the_codes() -> None:
    assert f"after its grace of {GRACE_S:.0f} seconds" in TEXT
    latest_s = TOGETHER_S + SETTLED_AFTER_S  # when a look begins; it takes a moment more
    assert f"after {SETTLED_AFTER_S:.0f} to {latest_s + 1:.0f} seconds" in TEXT
    assert f"expires after {ROW_LIFETIME_S / 60:.0f} minutes" in TEXT
    assert (
        f"**Above {MAX_LISTED} members** all are sent the number alone, at most every {COUNT_EVERY_S:.0f} sec" in TEXT
    )
    assert f"up to {MAX_MEMBERS:,} of them" in TEXT


def test_the_cost_is_what_the_command_computes() -> None:
    (usd, members) = map(int, re.findall(r"cost some (\d+) USD a million each in a channel of (\d+) members", TEXT)[0])
    prices = read_prices().region("us-east-1")
    for event in (presence.join, presence.leave):
        units = event(Workload(members=members)).units
        cost = sum(prices.price(meter).cost(count * 1_000_000, meter.per) for meter, count in units.items())
        assert abs(cost - usd) < 3
