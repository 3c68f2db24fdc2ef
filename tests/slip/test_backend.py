from __future__ import annotations

from collections.abc import Sequence

import pytest

from slip_sockets.gateway.dialects import Opening
from slip_sockets.gateway.errors import NotAccepted, WhyNotAccepted
from slip_sockets.protocol.events import Accept, CloseConnection, ReplyEvent, SendText, SetMetadata, Subscribe
from slip_sockets.slip.backend import read_opening

from ..gateway.doubles import ME, YOU

NOT_OFFERED = "ACCEPT names a subprotocol that the client did not offer"


def opening(*reply: ReplyEvent, offered: Sequence[str] = ()) -> Opening:
    return read_opening(ME, offered, reply)


def test_a_reply_with_accept_opens_and_asks_for_the_rest() -> None:
    assert opening(Subscribe(ME, "a"), Accept(ME), SendText(ME, "hi")) == Opening(
        None, [Subscribe(ME, "a"), SendText(ME, "hi")]
    )


def test_a_second_accept_is_ignored() -> None:
    assert opening(Accept(ME, "v1"), Accept(ME, "v2"), offered=["v1"]) == Opening("v1", [])


def test_another_connections_metadata_may_stand_before_accept() -> None:
    assert opening(SetMetadata(YOU, 1), Accept(ME)).actions == [SetMetadata(YOU, 1)]


@pytest.mark.parametrize(
    ("reply", "why", "message"),
    [
        ([], WhyNotAccepted.NO_ACCEPT, "the response to OPEN has no ACCEPT"),
        ([Subscribe(ME, "a")], WhyNotAccepted.NO_ACCEPT, "the response to OPEN has no ACCEPT"),
        ([CloseConnection(ME)], WhyNotAccepted.NO_ACCEPT, "the response to OPEN has no ACCEPT"),
        (
            [SetMetadata(ME, 1), Accept(ME)],
            WhyNotAccepted.METADATA_FIRST,
            "SET_METADATA stands before ACCEPT in the response to OPEN",
        ),
        ([Accept(YOU)], WhyNotAccepted.OTHER_CONNECTION, f"ACCEPT names another connection, '{YOU}'"),
        ([Accept(ME), Accept(YOU)], WhyNotAccepted.OTHER_CONNECTION, f"ACCEPT names another connection, '{YOU}'"),
        ([Accept(ME, "v3")], WhyNotAccepted.SUBPROTOCOL, NOT_OFFERED),
        ([Accept(ME, "")], WhyNotAccepted.SUBPROTOCOL, NOT_OFFERED),
    ],
)
def test_a_reply_that_does_not_let_in_says_why(reply: list[ReplyEvent], why: WhyNotAccepted, message: str) -> None:
    with pytest.raises(NotAccepted) as error:
        opening(*reply, offered=["v1", "v2"])
    assert (error.value.why, str(error.value)) == (why, message)
