from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.pages import read_ahead
from slip_sockets.gateway.values import Page


class Pages:
    """Pages, and how many of them were read."""

    def __init__(self, count: int, *, fails_at: int | None = None) -> None:
        self.read = 0
        self._count = count
        self._fails_at = fails_at

    async def __call__(self) -> AsyncIterator[Page]:
        for number in range(self._count):
            await asyncio.sleep(0)
            if number == self._fails_at:
                raise Unavailable("the table is away")
            self.read += 1
            yield Page([str(number)], None if number == self._count - 1 else str(number))


async def test_each_page_comes_once_in_order() -> None:
    async with aclosing(read_ahead(Pages(5)())) as pages:
        assert [page.connection_ids async for page in pages] == [[str(number)] for number in range(5)]


async def test_the_next_page_is_read_while_the_caller_works_on_one() -> None:
    source = Pages(3)
    async with aclosing(read_ahead(source())) as pages:
        await anext(pages)
        while source.read < 2:  # noqa: ASYNC110 - the event is another task's step
            await asyncio.sleep(0)
        assert source.read == 2, "one ahead, and not two"


async def test_what_fails_is_raised_where_its_page_would_come() -> None:
    async with aclosing(read_ahead(Pages(3, fails_at=1)())) as pages:
        assert (await anext(pages)).connection_ids == ["0"]
        with pytest.raises(Unavailable, match="the table is away"):
            await anext(pages)


async def test_a_caller_that_stops_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    async with aclosing(read_ahead(Pages(3, fails_at=1)())) as pages:
        await anext(pages)
    assert asyncio.all_tasks() == before
