from __future__ import annotations

import pytest

from slip_sockets.apigateway.connection_ids import is_connection_id


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        ("L0SM9cOFvHcCIhw=", True),
        ("abcdefghij_-XYZ=", True),
        ("", False),
        ("L0SM9cOFvHcCIhw", False),
        ("L0SM9cOFvHcCIhw=\n", False),
        ("L0SM9cOFvHcCIhw/=", False),
        ("L0SM9cOFvHcCIé0=", False),
    ],
)
def test_a_connection_id_is_known_by_its_form(text: str, is_id: bool) -> None:
    assert is_connection_id(text) is is_id
