"""A short churn. `make soak` runs the long one, which also looks at the memory."""

from __future__ import annotations

from .churn import Churn


def is_enough(churn: Churn) -> bool:
    """Whether the amounts that the test asks for are there. How long they take depends on the machine."""
    counts = churn.counts
    return churn.model.due > 1_000 and counts["opened"] > 20 and counts["recovered"] > 10 and counts["kept"] > 100


async def test_churn_leaves_nothing_behind_and_each_message_is_accounted_for() -> None:
    churn = Churn(seconds=10, sockets=100, seed=1, is_enough=is_enough)
    figures = await churn.run()
    assert figures.counts["closed"] == figures.counts["opened"] > 20
    assert figures.last.rows == figures.last.sockets == figures.last.groups == figures.last.dead_letters == 0
    assert churn.model.due > 1_000
    assert figures.counts["recovered"] > 10
    assert figures.counts["kept messages that pages got"] > 30
