"""From what was seen to a finding: for each measurement what is as expected, and what is not."""

from __future__ import annotations

import pytest

from tools.verify_aws import judgements
from tools.verify_aws.findings import Finding

GOOD_ID = "Kf2bqd9WywMCEng="


@pytest.mark.parametrize(
    "finding",
    [
        judgements.plan([]),
        judgements.connection_ids([GOOD_ID, "Gto47d9-DoECGqg="]),
        judgements.pings({"ping": "pong"}, {"ping": "pong", "other": "other"}),
        judgements.refusals({"404": 500}, {"404": 500}),
        judgements.cold_starts(300, {"429": 20}),
        judgements.throttle(1_000, 1.2, refused=0, failed=0),
        judgements.empty_post(200),
        judgements.largest_texts({"more": "1009"}, {"more": "1009"}),
        judgements.environment({"python": "3.13.1", "bytecode": True}, {"python": "3.13.", "bytecode": True}),
        judgements.first_call([0.05, 0.06, 0.9], 0.2, 9),
        judgements.fill({"table-throttles": 15}),
        judgements.emf(1, 60),
        judgements.failing_message_age(20, None, 1_190, []),
        judgements.failing_message_age(20, 4, 1_190, ["deferred-age"]),
        judgements.slowed_by_failures([0.3, 0.4], [0.5, 0.6], [3, 9]),
        judgements.idle_close(601, 1001),
        judgements.inbound_order([0, 1, 2], "4321 bye", (4321, "bye")),
    ],
)
def test_as_expected(finding: Finding) -> None:
    assert finding.differs is None


@pytest.mark.parametrize(
    ("finding", "meaning"),
    [
        (judgements.plan(["aws_lambda_alias.websocket"]), "reads back something else"),
        (judgements.pings({"ping": "nothing", "other": "other"}, {"ping": "pong", "other": "other"}), "ping: see"),
        (judgements.connection_ids(["short="]), "must accept them"),
        (judgements.connection_ids([GOOD_ID, GOOD_ID]), "must accept them"),
        (judgements.refusals({"504": 502}, {"504": 504}), "other statuses"),
        (judgements.cold_starts(300, {"429": 20, "500": 1}), "cold functions fail"),
        (judgements.throttle(1_000, 1.2, refused=600, failed=0), "hold for @connections too"),
        (judgements.throttle(1_000, 5.0, refused=0, failed=0), "too slow to tell"),
        (judgements.empty_post(400), "refuses an empty text"),
        (judgements.largest_texts({"more": "comes back"}, {"more": "1009"}), "docs/limits.md"),
        (
            judgements.environment({"python": "3.13.1", "bytecode": False}, {"bytecode": True}),
            "bytecode not as deployed",
        ),
        (judgements.first_call([0.05, 0.06], 0.6, 9), "dead connection"),
        (judgements.fill({"table-throttles": 0, "backend-failing": 15}), "table-throttles stay"),
        (judgements.emf(0, 300), "all alarms on them are silent"),
        (judgements.failing_message_age(20, None, None, []), "does not see a message that fails"),
        (judgements.failing_message_age(20, 1_190, 1_190, ["queue-age"]), "harmless"),
        (judgements.slowed_by_failures([0.3, 0.4], [5.0, 6.0], []), "queue of its own"),
        (judgements.idle_close(600, 1006), "10 minutes and 1001"),
        (judgements.inbound_order([0, 2, 1], "4321 bye", (4321, "bye")), "not hand over the frames"),
        (judgements.inbound_order([0, 1, 2], "None None", (4321, "bye")), "no code or reason"),
        (judgements.idle_close(660, None), "10 minutes and 1001"),
    ],
)
def test_differs_with_its_meaning(finding: Finding, meaning: str) -> None:
    assert finding.differs is not None
    assert meaning in finding.differs


def test_a_throttle_that_holds_is_seen_however_slow_the_posts_are() -> None:
    assert "hold for" in str(judgements.throttle(1_000, 60.0, refused=1, failed=0).differs)
