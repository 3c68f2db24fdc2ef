"""Filters: what a subscription leaves out, and which items it leaves out."""

from __future__ import annotations

import pytest

from slip_sockets.grip.filters import excluded, subscriptions
from slip_sockets.grip.state import State


def is_sent(filters: list[str], user: str | None, meta: dict[str, str]) -> bool:
    """Return whether a subscriber with these filters gets an item with this meta."""
    state = State([], channels={"c": filters}, user_meta={} if user is None else {"user": user})
    subscribed = subscriptions(state)
    assert "c" in subscribed
    return not subscribed & set(excluded("c", meta))


@pytest.mark.parametrize(
    ("filters", "user", "meta", "sent"),
    [
        ([], "ada", {"sender": "ada", "skip_users": "ada", "require_sub": "x"}, True),
        (["skip-self"], "ada", {"sender": "ada"}, False),
        (["skip-self"], "ada", {"sender": "bob"}, True),
        (["skip-self"], "ada", {"sender": ""}, True),
        (["skip-self"], "", {"sender": ""}, True),
        (["skip-self"], None, {"sender": "ada"}, True),
        (["skip-self"], "ada", {"skip_users": "ada"}, True),
        (["skip-users"], "ada", {"skip_users": "bob, ada ,eve"}, False),
        (["skip-users"], "ada", {"skip_users": "bob,,adam"}, True),
        (["skip-users"], "ada", {"sender": "ada"}, True),
        (["skip-users"], None, {"skip_users": "ada"}, True),
        (["require-sub"], None, {"require_sub": "x"}, False),
        (["require-sub"], None, {"require_sub": ""}, True),
        (["require-sub"], None, {}, True),
        (["skip-users", "skip-self"], "ada", {"sender": "ada"}, False),
        (["other", "var-subst"], "ada", {"sender": "ada", "require_sub": "x"}, True),
    ],
)
def test_filter_leaves_out_what_it_says(filters: list[str], user: str | None, meta: dict[str, str], sent: bool) -> None:
    assert is_sent(filters, user, meta) is sent


def test_filter_is_of_one_channel() -> None:
    state = State([], channels={"a": ["skip-self"], "b": []}, user_meta={"user": "ada"})
    assert not subscriptions(state) & set(excluded("b", {"sender": "ada"}))


def test_item_without_meta_is_for_all() -> None:
    assert excluded("c", {}) == ()


def test_long_names_are_of_a_channels_size() -> None:
    state = State([], channels={"c": ["skip-self"]}, user_meta={"user": "x" * 5_000})
    assert max(map(len, subscriptions(state))) < 100
