"""The page that the other tests measure the gateway by."""

from __future__ import annotations

import pytest

from slip_sockets.protocol.frames import MessageFrame, RecoverFrame, SubscribedFrame
from slip_sockets.protocol.positions import Position

from .page_side import PageSide


def settled(*offsets: int) -> PageSide:
    """Return a page that was subscribed at the position e:2, and was sent messages since."""
    page = PageSide("room")
    page.on_open()
    assert page.on_subscribed(subscribed(2)) is None
    send(page, *offsets)
    return page


def send(page: PageSide, *offsets: int, epoch: str = "e") -> None:
    for offset in offsets:
        page.on_message(MessageFrame("room", str(offset), f"{epoch}:{offset}"))


def subscribed(
    offset: int, recovered: bool | None = None, *, since: int | None = None, epoch: str = "e"
) -> SubscribedFrame:
    """`since` is an offset of the epoch e."""
    return SubscribedFrame("room", f"{epoch}:{offset}", recovered, None if since is None else f"e:{since}")


def recover(offset: int, epoch: str = "e") -> RecoverFrame:
    return RecoverFrame("room", f"{epoch}:{offset}")


def kept(*offsets: int, epoch: str = "e") -> dict[Position, str]:
    return {Position(epoch, offset): str(offset) for offset in offsets}


def offsets_of(page: PageSide) -> list[int]:
    return [position.offset for position, _ in page.handed_out]


def test_newcomer_gets_what_comes_after_its_position() -> None:
    page = PageSide("room")
    page.on_open()
    send(page, 2, 3, 4)
    assert offsets_of(page) == []
    assert page.on_subscribed(subscribed(3)) is None
    send(page, 5)
    assert offsets_of(page) == [4, 5]


def test_what_comes_again_is_dropped() -> None:
    page = settled(3, 3, 4, 2, 4)
    assert offsets_of(page) == [3, 4]
    assert page.on_held_long_enough() is None


def test_what_comes_after_a_jump_is_held() -> None:
    page = settled(4)
    assert offsets_of(page) == []
    send(page, 3)
    assert offsets_of(page) == [3, 4]
    send(page, 7)
    assert page.on_held_long_enough() == recover(4)
    send(page, 5, 6)
    assert offsets_of(page) == [3, 4]
    assert page.on_subscribed(subscribed(7, recovered=True, since=4)) is None
    assert offsets_of(page) == [3, 4, 5, 6, 7]


def test_reconnect_asks_only_where_the_page_is_behind() -> None:
    page = settled(3)
    page.on_open()
    assert page.on_subscribed(subscribed(3)) is None
    page.on_open()
    assert page.on_subscribed(subscribed(5)) == recover(3)
    send(page, 4, 5)
    assert page.on_subscribed(subscribed(5, recovered=True, since=3)) is None
    assert offsets_of(page) == [3, 4, 5]


def test_what_is_gone_is_told_once() -> None:
    page = settled(3)
    page.on_open()
    send(page, 9)
    for _ in range(2):  # the gateway does twice what a function died at
        assert page.on_subscribed(subscribed(8, recovered=False, since=3)) is None
    assert page.lost == [(Position("e", 3), Position("e", 8))]
    assert offsets_of(page) == [3, 9]
    page.account_for(kept(3, 9))


def test_answer_to_an_older_question_is_not_believed() -> None:
    page = settled(3)
    page.on_open()
    send(page, 4)
    assert page.on_subscribed(subscribed(5, recovered=False, since=3)) == recover(4)
    assert page.on_subscribed(subscribed(6, recovered=False, since=3)) == recover(4)
    assert page.lost == []


def test_another_epoch_is_asked_about() -> None:
    page = settled(3)
    send(page, 1, epoch="f")
    assert page.on_held_long_enough() == recover(3)
    assert page.on_subscribed(subscribed(1, recovered=False, since=3, epoch="f")) is None
    assert page.lost == [(Position("e", 3), Position("f", 1))]
    send(page, 2, epoch="f")
    assert offsets_of(page) == [3, 2]
    send(page, 4)  # late, of the epoch that is over
    assert page.on_held_long_enough() == recover(2, "f")
    assert page.on_subscribed(subscribed(2, recovered=True, epoch="f")) is None
    assert page.on_held_long_enough() is None


def test_silence_is_asked_again() -> None:
    page = PageSide("room")
    page.on_open()
    assert page.on_silence() is None
    page.on_subscribed(subscribed(2))
    page.on_open()
    assert page.on_silence() == recover(2)


def test_what_is_missing_silently_is_found() -> None:
    page = settled(3, 4, 5)
    page.account_for(kept(3, 4, 5))
    del page.handed_out[1]
    with pytest.raises(AssertionError, match="e:5 was handed out after e:3"):
        page.account_for(kept(3, 4, 5))
    page.handed_out.pop()
    with pytest.raises(AssertionError):
        page.account_for(kept(3, 4, 5))
