from __future__ import annotations

import pytest

from slip_sockets.protocol.positions import Position, read_position


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("k3J9:17", Position("k3J9", 17)),
        ("0:0", Position("0", 0)),
        (f"{'Z' * 32}:{10**15 - 1}", Position("Z" * 32, 10**15 - 1)),
    ],
)
def test_a_position_is_its_text_and_back(text: str, position: Position) -> None:
    assert read_position(text) == position
    assert str(position) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "k3J9",
        "k3J9:",
        ":17",
        "k3J9:-1",
        "k3J9:+1",
        "k3J9:01",
        "k3J9:1.0",
        "k3J9:1e3",
        "k3J9:1_000",
        "k3J9: 1",
        "k3J9:1\n",
        "k3J9:1:2",
        "k3J9:\u0661",
        "é:1",
        "k-3:1",
        f"{'Z' * 33}:1",
        f"k3J9:{10**15}",
    ],
)
def test_any_other_text_is_no_position(text: str) -> None:
    assert read_position(text) is None
