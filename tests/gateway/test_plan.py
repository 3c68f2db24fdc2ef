from __future__ import annotations

from collections.abc import Sequence

import pytest

from slip_sockets.errors import InvalidEvents
from slip_sockets.events import (
    Accept,
    AnswerEvent,
    CloseConnection,
    PublishText,
    SendText,
    SetMetadata,
    Subscribe,
    Unsubscribe,
)
from slip_sockets.gateway.plan import (
    MAX_RETRY_PAUSE_S,
    RETRY_FOR_S,
    OpenPlan,
    attempts_within,
    plan_open,
    retry_pause_s,
)

from .doubles import ME, YOU

NOT_OFFERED = "ACCEPT names a subprotocol that the client did not offer"


def plan(*answer: AnswerEvent, offered: Sequence[str] = ()) -> OpenPlan:
    return plan_open(ME, offered, answer, b'"default"')


def test_accept_alone_stores_the_default_metadata() -> None:
    assert plan(Accept(ME)) == OpenPlan(None, b'"default"', (), (), ())


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


def test_another_connections_metadata_waits() -> None:
    planned = plan(SetMetadata(YOU, 1), Accept(ME), Subscribe(ME, "a"))
    assert planned.metadata == b'"default"'
    assert planned.deferred == (SetMetadata(YOU, 1), Subscribe(ME, "a"))


def test_a_second_accept_is_ignored() -> None:
    assert plan(Accept(ME, "v1"), Accept(ME, "v2"), offered=["v1"]).subprotocol == "v1"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([], "the answer to OPEN has no ACCEPT"),
        ([Subscribe(ME, "a")], "the answer to OPEN has no ACCEPT"),
        ([CloseConnection(ME)], "the answer to OPEN has no ACCEPT"),
        ([SetMetadata(ME, 1), Accept(ME)], "SET_METADATA stands before ACCEPT in the answer to OPEN"),
        ([Accept(YOU)], f"ACCEPT names another connection, '{YOU}'"),
        ([Accept(ME), Accept(YOU)], f"ACCEPT names another connection, '{YOU}'"),
        ([Accept(ME, "v3")], NOT_OFFERED),
        ([Accept(ME, "")], NOT_OFFERED),
    ],
)
def test_an_answer_that_does_not_let_in_is_refused(answer: list[AnswerEvent], reason: str) -> None:
    with pytest.raises(InvalidEvents) as refusal:
        plan(*answer, offered=["v1", "v2"])
    assert str(refusal.value) == reason


def test_pauses_grow_from_a_second_to_a_quarter_of_an_hour() -> None:
    pauses = [retry_pause_s(attempt) for attempt in range(1, 14)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, MAX_RETRY_PAUSE_S, MAX_RETRY_PAUSE_S, MAX_RETRY_PAUSE_S]
    assert retry_pause_s(10_000) == MAX_RETRY_PAUSE_S


def test_attempts_fill_the_time_and_do_not_pass_it() -> None:
    attempts = attempts_within(RETRY_FOR_S)
    assert sum(map(retry_pause_s, range(1, attempts))) <= RETRY_FOR_S
    assert sum(map(retry_pause_s, range(1, attempts + 1))) > RETRY_FOR_S
