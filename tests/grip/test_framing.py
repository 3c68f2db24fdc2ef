"""The codec of WebSocket-over-HTTP: each case as Pushpin 1.36.0 reads it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slip_sockets.grip.framing import BrokenFraming, Event, decode, encode

A = Event("TEXT", b"m:a")
B = Event("TEXT", b"m:b")

EVENTS = st.lists(
    st.builds(
        Event,
        st.sampled_from(["OPEN", "TEXT", "BINARY", "PING", "PONG", "CLOSE", "DISCONNECT", "OTHER"]),
        st.none() | st.binary(max_size=300),
    ),
    max_size=5,
)


@pytest.mark.parametrize(
    ("events", "body"),
    [
        ([], b""),
        ([Event("OPEN")], b"OPEN\r\n"),
        ([Event("TEXT", b"")], b"TEXT 0\r\n\r\n"),
        ([Event("TEXT", b"a\r\nb")], b"TEXT 4\r\na\r\nb\r\n"),
        ([Event("TEXT", bytes(171)), Event("CLOSE")], b"TEXT ab\r\n" + bytes(171) + b"\r\nCLOSE\r\n"),
    ],
)
def test_events_are_framed_with_lengths_in_small_hexadecimal_digits(events: list[Event], body: bytes) -> None:
    assert encode(events) == body
    assert decode(body) == events


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"TEXT 00A\r\nm:12345678\r\n", [Event("TEXT", b"m:12345678")]),
        (b"TEXT 0x3\r\nm:a\r\n", [A]),
        (b"TEXT +3\r\nm:a\r\n", [A]),
        (b"TEXT  3\r\nm:a\r\n", [A]),
        (b"TEXT 3 \r\nm:a\r\n", [A]),
        (b"TEXT 9\r\nm:a\r\n", [Event("TEXT", b"m:a\r\n")]),
        (b"TEXT 3\r\nm:a", [A]),
        (b"TEXT 3\r\nm:a\r", [A]),
        (b"TEXT 3\r\nm:aXXTEXT 3\r\nm:b\r\n", [A, B]),
        (b"text 3\r\nm:a\r\n", [Event("text", b"m:a")]),
        (b"\r\nTEXT 3\r\nm:a\r\n", [Event(""), A]),
        (b"TEXT\r\nTEXT 3\r\nm:a\r\n", [Event("TEXT"), A]),
    ],
)
def test_what_pushpin_takes_is_taken(body: bytes, events: list[Event]) -> None:
    assert decode(body) == events


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"TEXT 3\nm:a\n", "events[0]: its line has no end"),
        (b"TEXT", "events[0]: its line has no end"),
        (b"TEXT 3\r\nm:a\r\nTEXT 3", "events[1]: its line has no end"),
        (b"TEXT 3\r\nm:a\r\nTEXT zz\r\nm:b\r\n", "events[1]: its length is not a hexadecimal number"),
        (b"TEXT \r\n", "events[0]: its length is not a hexadecimal number"),
        (b"TEXT 3 x\r\nm:a\r\n", "events[0]: its length is not a hexadecimal number"),
        (b"TEXT 0_3\r\nm:a\r\n", "events[0]: its length is not a hexadecimal number"),
        (b"TEXT -3\r\nm:a\r\n", "events[0]: its length is not a hexadecimal number"),
        (b"TEXT fffffffff\r\nm:a\r\n", "events[0]: its length is not a hexadecimal number"),
    ],
)
def test_broken_framing_says_where(body: bytes, message: str) -> None:
    with pytest.raises(BrokenFraming) as error:
        decode(body)
    assert str(error.value) == message


@given(EVENTS)
def test_what_is_encoded_is_decoded_the_same(events: list[Event]) -> None:
    assert decode(encode(events)) == events


@given(EVENTS)
def test_a_body_that_is_cut_off_anywhere_is_broken_or_ends_early(events: list[Event]) -> None:
    body = encode(events)
    for length in range(len(body)):
        try:
            found = decode(body[:length])
        except BrokenFraming:
            continue
        assert found[:-1] == events[: max(0, len(found) - 1)]
        if found:
            last, whole = found[-1], events[len(found) - 1]
            assert last.type == whole.type
            assert (whole.content or b"").startswith(last.content or b"")


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_broken(body: bytes) -> None:
    with contextlib.suppress(BrokenFraming):
        assert all(len(event.content or b"") <= len(body) for event in decode(body))
