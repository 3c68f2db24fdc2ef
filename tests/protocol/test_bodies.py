"""The reports of the control API."""

from __future__ import annotations

import json

import pytest

from slip_sockets.protocol.bodies import DONE, decode_done, encode_done
from slip_sockets.protocol.events import HistoryReport, KeptMessage, Member, PresenceReport, Report

KEPT = KeptMessage("k3J9:17", "hi", 1_796_000_000_123)


def test_reports_are_their_wire_form_and_back() -> None:
    reports = [
        None,
        Report(2, 1, 1, 0),
        Report(1, 1, 0, 0, position="k3J9:17"),
        HistoryReport("k3J9:17", [KEPT], more=True),
        HistoryReport("k3J9:17", [], more=False, recovered=False),
        PresenceReport(1_001, [Member("ann", {"name": "Ann"}, connections=2, since=1_796_000_000_123)], more=True),
        PresenceReport(0, [], more=False),
    ]
    body = encode_done(reports)
    member = {"user": "ann", "info": {"name": "Ann"}, "connections": 2, "since": 1_796_000_000_123}
    message = {"position": "k3J9:17", "data": "hi", "publishedAt": 1_796_000_000_123}
    assert json.loads(body) == {
        "message": DONE,
        "events": [
            {},
            {"matched": 2, "sent": 1, "gone": 1, "queued": 0},
            {"matched": 1, "sent": 1, "gone": 0, "queued": 0, "position": "k3J9:17"},
            {"position": "k3J9:17", "messages": [message], "more": True},
            {"position": "k3J9:17", "messages": [], "more": False, "recovered": False},
            {"count": 1_001, "members": [member], "more": True},
            {"count": 0, "members": [], "more": False},
        ],
    }
    assert decode_done(body, len(reports)) == reports


@pytest.mark.parametrize(
    "report",
    [
        {"messages": []},
        {"position": "k3J9:17", "messages": [{"position": "k3J9:17"}], "more": False},
        {"position": "k3J9:17", "messages": None, "more": False},
        {"position": 17, "messages": [], "more": False},
        {"members": []},
        {"count": 1, "members": [{"user": "ann"}], "more": False},
    ],
)
def test_a_report_that_is_not_whole_is_none(report: object) -> None:
    assert decode_done(json.dumps({"message": DONE, "events": [report]}).encode(), 1) == [None]
