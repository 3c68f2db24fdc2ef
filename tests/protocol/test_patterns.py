"""Which patterns match a channel."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from slip_sockets.protocol.errors import InvalidEvents
from slip_sockets.protocol.events import (
    Action,
    CloseChannel,
    History,
    PublishText,
    Subscribe,
    Unsubscribe,
    check,
)
from slip_sockets.protocol.patterns import MAX_CHANNEL_BYTES, is_pattern, patterns_of

NAMES = st.text("ab:*é$", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("channel", "patterns"),
    [
        ("orders", ()),
        ("orders:", ("orders:*",)),
        ("orders:1", ("orders:*",)),
        ("orders:eu:1", ("orders:*", "orders:eu:*")),
        ("a:b:c:d:e", ("a:*", "a:b:*", "a:b:c:*", "a:b:c:d:*")),
        ("a:b:c:d:e:f:g", ("a:*", "a:b:*", "a:b:c:*", "a:b:c:d:*")),
        (":", (":*",)),
        ("::x", (":*", "::*")),
        ("a*:b", ("a*:*",)),
        ("a:*b", ("a:*",)),
        ("*", ()),
        ("räume:1", ("räume:*",)),
        ("$user:ann", ()),
        ("$user:ann:1", ()),
    ],
)
def test_patterns_of_a_channel_end_behind_its_colons(channel: str, patterns: tuple[str, ...]) -> None:
    assert patterns_of(channel) == patterns


@pytest.mark.parametrize(
    ("name", "expected"),
    [("orders:*", True), (":*", True), ("a:b:*", True), ("*", False), ("orders*", False), ("a:*:b", False)],
)
def test_pattern_ends_with_a_star_as_its_last_segment(name: str, expected: bool) -> None:
    assert is_pattern(name) is expected


@given(channel=NAMES, name=NAMES)
@example(channel="$user:ann", name="$user:*")
@example(channel="a:b:c:d:e:f", name="a:b:c:d:e:*")
def test_pattern_matches_each_channel_that_begins_as_it_does_and_no_other(channel: str, name: str) -> None:
    """`name` in the place of each one that a connection can be subscribed to."""
    is_matching = is_pattern(name) and _is_valid(Subscribe("c", name)) and channel.startswith(name[:-1])
    assert (name in patterns_of(channel)) is is_matching


@given(channel=NAMES)
def test_patterns_of_a_channel_are_few_different_and_valid(channel: str) -> None:
    patterns = patterns_of(channel)
    assert len(patterns) <= 4
    assert len(set(patterns)) == len(patterns)
    assert all(is_pattern(pattern) and _is_valid(Subscribe("c", pattern)) for pattern in patterns)


def test_pattern_may_be_as_long_as_a_channel() -> None:
    longest = f"{'é' * ((MAX_CHANNEL_BYTES - 2) // 2)}:*"
    assert len(longest.encode()) == MAX_CHANNEL_BYTES
    assert _is_valid(Subscribe("c", longest))
    assert patterns_of(f"{longest[:-1]}x") == (longest,)
    assert patterns_of(f"a:{'x' * (MAX_CHANNEL_BYTES - 3)}:") == ("a:*",), "the other one is too long"


@pytest.mark.parametrize(
    "event",
    [
        Subscribe("c", "a:b:c:d:*"),
        Unsubscribe("c", "a:b:c:d:*"),
        Subscribe("c", "*", recover=True),
        Subscribe("c", "a:*:b", recover=True, since="a:1"),
        PublishText("*", ""),
        PublishText("a:b:c:d:e:f:g", ""),
        PublishText("a*", ""),
        CloseChannel("a:*:b"),
        History("*"),
    ],
)
def test_star_elsewhere_is_a_letter(event: Action) -> None:
    check(event)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Subscribe("c", "a:b:c:d:e:*"), "channel: SUBSCRIBE needs a pattern of at most 5 segments, got 6"),
        (Unsubscribe("c", "a:b:c:d:e:*"), "channel: UNSUBSCRIBE needs a pattern of at most 5 segments, got 6"),
        (Subscribe("c", "$user:*"), "channel: SUBSCRIBE needs a name that does not begin with $user:"),
        (Subscribe("c", "$user:a:*"), "channel: SUBSCRIBE needs a name that does not begin with $user:"),
        (Subscribe("c", "$connection:*"), "channel: SUBSCRIBE needs a name that does not begin with $connection:"),
        (
            Subscribe("c", "a:*", recover=True),
            "recover: SUBSCRIBE cannot have it with a pattern, only with a channel",
        ),
        (Subscribe("c", "a:*", since=""), "since: SUBSCRIBE cannot have it with a pattern, only with a channel"),
        (PublishText("a:*", ""), "channelId: PUBLISH_TEXT needs a channel, got a pattern: its name ends in :*"),
        (CloseChannel("a:*"), "channelId: CLOSE_CHANNEL needs a channel, got a pattern: its name ends in :*"),
        (History("a:*"), "channelId: HISTORY needs a channel, got a pattern: its name ends in :*"),
    ],
)
def test_pattern_where_it_cannot_be_is_refused(event: Action, message: str) -> None:
    with pytest.raises(InvalidEvents) as refusal:
        check(event)
    assert str(refusal.value) == message
    assert refusal.value.field == message.partition(":")[0]


def test_dialect_without_patterns_has_channels_of_such_names() -> None:
    for event in (Subscribe("c", "a:b:c:d:e:*", since="x"), PublishText("a:*", ""), CloseChannel("a:*")):
        check(event, with_patterns=False)


def _is_valid(event: Action) -> bool:
    try:
        check(event)
    except InvalidEvents:
        return False
    return True
