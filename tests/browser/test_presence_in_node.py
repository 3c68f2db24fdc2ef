"""`socket.presence` of `slip-sockets.js`, where time is an argument: single frames."""

from __future__ import annotations

import pytest

from .in_node import node


@pytest.mark.parametrize("file", ["members.test.mjs", "presence.test.mjs"])
def test_scenes(file: str) -> None:
    assert "# fail 0" in node("--test", "--test-reporter=tap", file)
