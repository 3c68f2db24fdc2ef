"""Texts that a client has numbered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slip_sockets.gateway.deferred import ReceivedText, Texts
from slip_sockets.gateway.numbered import NumberedText, in_order, is_early, number_after, read_number
from slip_sockets.gateway.sockets import MAX_WAITS, WAIT_S

from .doubles import ME, Saved, World, socket_event


def numbered(*numbers: int | None) -> list[NumberedText]:
    return [NumberedText(number, f"text {at}") for at, number in enumerate(numbers)]


def numbers(texts: list[NumberedText]) -> list[int | None]:
    return [text.number for text in texts]


@pytest.mark.parametrize(
    ("text", "number", "data"),
    [
        ("\x0117\x01hello", 17, "hello"),
        ("\x01999999999999999\x01", 999999999999999, ""),
        ("\x011\x01\x012\x01", 1, "\x012\x01"),
        ("hello", None, "hello"),
        ("", None, ""),
        ("\x010\x01hello", None, "\x010\x01hello"),
        ("\x0117", None, "\x0117"),
        ("\x01\u0661\x01hello", None, "\x01\u0661\x01hello"),
        ("\x011000000000000000\x01", None, "\x011000000000000000\x01"),
        ("x\x011\x01", None, "x\x011\x01"),
    ],
)
def test_a_number_is_read(text: str, number: int | None, data: str) -> None:
    assert read_number(text, "m1") == NumberedText(number, data, "m1")


@given(st.permutations(range(1, 30)), st.lists(st.integers(0, 29)))
def test_numbered_texts_are_put_in_order_and_others_stay(order: list[int], places: list[int]) -> None:
    given_: list[int | None] = list(order)
    for place in places:
        given_.insert(place, None)
    found = numbers(in_order(numbered(*given_)))
    assert [number for number in found if number is not None] == sorted(order)
    assert [at for at, number in enumerate(found) if number is None] == [
        at for at, number in enumerate(given_) if number is None
    ]


@pytest.mark.parametrize(
    ("given_", "early", "after"),
    [
        ([3], False, 4),
        ([4], True, 5),
        ([3, 4, 5], False, 6),
        ([3, 5], True, 6),
        ([2, 3], False, 4),
        ([1], False, 3),
        ([None, 4], True, 5),
        ([None], False, 3),
    ],
)
def test_a_text_is_early_where_its_forerunner_is_missing(given_: list[int | None], early: bool, after: int) -> None:
    texts = numbered(*given_)
    assert is_early(texts, next_number=3) is early
    assert number_after(texts, next_number=3) == after


# The handler


def message(*given_: tuple[int, str]) -> Texts:
    return Texts(ME, [ReceivedText(f"m{number}", f"\x01{number}\x01{text}".encode()) for number, text in given_])


def told(world: World) -> list[list[str]]:
    return [[event["data"] for event in request["events"]] for request in world.client.requests]


async def test_an_early_text_goes_behind_what_has_come_meanwhile(world: World) -> None:
    sockets = world.gateway.sockets
    await world.store.open(ME, b"null", [])
    await sockets.on_texts(message((2, "b")), Saved(), deadline=float("inf"))
    (behind,) = world.queue.messages
    assert world.client.requests == []
    assert world.clock.sleeps == [WAIT_S]
    await sockets.on_texts(message((1, "a")), Saved(), deadline=float("inf"))
    assert isinstance(behind, Texts)
    assert behind.deduplication_id != message((2, "b")).deduplication_id
    await sockets.on_texts(behind, Saved(), deadline=float("inf"))
    await sockets.on_texts(message((4, "d"), (3, "c")), Saved(), deadline=float("inf"))
    assert told(world) == [["a"], ["b"], ["c", "d"]]


async def test_an_early_text_whose_forerunner_is_lost_waits_for_a_second(world: World) -> None:
    sockets = world.gateway.sockets
    await world.store.open(ME, b"null", [])
    await sockets.on_texts(message((2, "b")), Saved(), deadline=float("inf"))
    while not world.client.requests:
        waiting = world.queue.messages.pop()
        assert isinstance(waiting, Texts)
        await sockets.on_texts(waiting, Saved(), deadline=float("inf"))
    assert sum(world.clock.sleeps) == pytest.approx(WAIT_S * MAX_WAITS) == pytest.approx(1)
    await sockets.on_texts(message((3, "c")), Saved(), deadline=float("inf"))
    await sockets.on_texts(message((1, "a")), Saved(), deadline=float("inf"))  # a dead letter that comes again
    assert told(world) == [["b"], ["c"], ["a"]]
    stored = await world.store.get(ME)
    assert stored is not None
    assert stored.next_number == 4


async def test_texts_without_numbers_write_nothing(world: World) -> None:
    await world.store.open(ME, b"null", [])
    before = await world.store.get(ME)
    await world.gateway.sockets.on_texts(Texts(ME, [ReceivedText("m", b"hi")]), Saved(), deadline=float("inf"))
    assert await world.store.get(ME) == before


async def test_a_text_that_comes_directly_stays_as_it_is(world: World) -> None:
    await world.store.open(ME, b"null", [])
    await world.websocket(socket_event("MESSAGE", body="\x0117\x01hello"))
    assert told(world) == [["\x0117\x01hello"]]
