"""`slip-sockets.js` outside of a browser, where time is an argument: single frames, and many lives of a page.

The tests in JavaScript are in `node/`; Node prints which of them failed.
"""

from __future__ import annotations

import json

import pytest

from .in_node import node

LIVES = 1_000


@pytest.mark.parametrize("file", ["channel.test.mjs", "socket.test.mjs"])
def test_scenes(file: str) -> None:
    assert "# fail 0" in node("--test", "--test-reporter=tap", file)


def test_a_page_sees_every_kept_message_once_and_in_order_or_is_told() -> None:
    totals = json.loads(node("recovery_model.mjs", "1", str(LIVES)))
    assert totals.pop("lives") == LIVES
    assert all(number > LIVES / 10 for number in totals.values()), totals
