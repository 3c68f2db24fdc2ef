from __future__ import annotations

from slip_sockets.gateway.effects import NotePatterns
from slip_sockets.gateway.plan_open import OpenPlan, continuation_of, plan_open
from slip_sockets.gateway.values import Known
from slip_sockets.protocol.events import (
    Accept,
    CloseConnection,
    PublishText,
    ReplyEvent,
    SendText,
    SetMetadata,
    Subscribe,
    Unsubscribe,
)

from .doubles import ME, YOU


def plan(*actions: ReplyEvent) -> OpenPlan:
    return plan_open(ME, actions, b'"default"')


def test_accept_alone_stores_the_default_metadata() -> None:
    assert plan(Accept(ME)) == OpenPlan(b'"default"', (), (), ())


def test_the_leading_run_of_table_events_happens_now_and_the_rest_waits_in_order() -> None:
    planned = plan(
        Subscribe(ME, "before"),
        Accept(ME),
        Subscribe(ME, "a"),
        Subscribe(ME, "b"),
        Unsubscribe(ME, "a"),
        Subscribe(YOU, "a"),
        SendText(ME, "hi"),
        Subscribe(ME, "c"),
        PublishText("b", "hello"),
        CloseConnection(ME),
    )
    assert planned.channels == ("before", "b")
    assert planned.others == (Subscribe(YOU, "a"),)
    assert planned.deferred == (
        SendText(ME, "hi"),
        Subscribe(ME, "c"),
        PublishText("b", "hello"),
        CloseConnection(ME),
    )


def test_the_last_metadata_of_its_own_counts_wherever_it_stands() -> None:
    planned = plan(Accept(ME), SetMetadata(ME, 1), SendText(ME, "hi"), SetMetadata(ME, {"n": 2}))
    assert planned.metadata == b'{"n":2}'
    assert planned.deferred == (SendText(ME, "hi"),)
    assert plan(Accept(ME), SetMetadata(ME, None)).metadata == b"null"


def test_a_publish_that_waits_knows_that_its_user_has_just_come() -> None:
    actions = [PublishText("$user:ann", "hi")]
    planned = plan_open(ME, actions, b"null", "ann")
    assert planned.channels == ("$user:ann",)
    continuation = continuation_of(ME, planned, Known(), now=1_000, lag_s=5)
    assert (continuation.recent, continuation.recent_until) == ([Subscribe(ME, "$user:ann")], 1_005)


def test_another_connections_metadata_waits() -> None:
    planned = plan(SetMetadata(YOU, 1), Accept(ME), Subscribe(ME, "a"))
    assert planned.metadata == b'"default"'
    assert planned.deferred == (SetMetadata(YOU, 1), Subscribe(ME, "a"))


def test_patterns_are_noted_once_before_the_first_subscription() -> None:
    assert plan(Subscribe(ME, "a:*"), Subscribe(ME, "b:*")).notes == (NotePatterns(),)
    for name in ("a", "*", "a*", "a:*:b"):
        assert plan(Subscribe(ME, name)).notes == ()
    assert plan(Subscribe(ME, "a:*"), Unsubscribe(ME, "a:*")).notes == ()
    assert plan(SendText(ME, "hi"), Subscribe(ME, "a:*")).notes == (), "it is noted when it is subscribed to"


def test_publish_that_waits_knows_the_patterns_that_match_its_channel() -> None:
    planned = plan(
        Subscribe(ME, "a:b"), Subscribe(ME, "a:*"), Subscribe(ME, "a:b:*"), Subscribe(ME, "b:*"), PublishText("a:b", "")
    )
    waiting = continuation_of(ME, planned, Known(), now=0, lag_s=10)
    assert waiting.recent == [Subscribe(ME, "a:b"), Subscribe(ME, "a:*")]
