from __future__ import annotations

import pytest

from slip_sockets.apigateway.connection_ids import MAX_CONNECTION_ID_BYTES, has_usual_form, is_connection_id


@pytest.mark.parametrize(
    ("text", "is_id", "is_usual"),
    [
        ("L0SM9cOFvHcCIhw=", True, True),
        ("abcdefghij_-XYZ=", True, True),
        ("", False, False),
        ("L0SM9cOFvHcCIhw", True, False),
        ("L0SM9cOFvHcCIhw=\n", False, False),
        ("L0SM9cOFvHcCIhw/=", True, False),
        ("L0SM9cOFvHcCIé0=", True, False),
        ("a b/../c", True, False),
        ("\ud800", False, False),
        ("x" * MAX_CONNECTION_ID_BYTES, True, False),
        ("é" * (MAX_CONNECTION_ID_BYTES // 2) + "x", False, False),
    ],
)
def test_any_printable_text_can_be_an_id_and_some_look_as_today(text: str, is_id: bool, is_usual: bool) -> None:
    assert is_connection_id(text) is is_id
    assert has_usual_form(text) is is_usual
