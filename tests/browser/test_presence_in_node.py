"""`socket.presence` of `slip-sockets.js`, where time is an argument: single frames, and many lives of a page."""

from __future__ import annotations

import json

import pytest

from .in_node import node

LIVES = 1_000


@pytest.mark.parametrize("file", ["members.test.mjs", "presence.test.mjs"])
def test_scenes(file: str) -> None:
    assert "# fail 0" in node("--test", "--test-reporter=tap", file)


def test_a_page_knows_who_is_there_and_hears_what_is_different() -> None:
    totals = json.loads(node("presence_model.mjs", "1", str(LIVES)))
    assert totals.pop("lives") == LIVES
    assert all(number > LIVES / 10 for number in totals.values()), totals
