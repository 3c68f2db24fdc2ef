"""The reader beside `requests` (urllib3 over http.client) and aiohttp: where they differ, and why."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from .cases import GOOD, REFUSED
from .generated import Generated
from .reading import Whole, read
from .second_opinions import Opinion, by_aiohttp, by_urllib3
from .test_generated import RESPONSES, SEED, generated
from .test_reader import FRAMING

Reader = Callable[[bytes], Opinion | None]

REASONS: dict[Reader, dict[str, str]] = {
    by_urllib3: {
        "interim": "http.client passes over 100 alone",
        "blanks": "http.client keeps blanks behind a value, and does not know `chunked ` either",
        "fold": "http.client keeps the line end in a folded value",
        "204 with chunks": "urllib3 reads chunks that 204 does not have",
        "204 with lengths": "urllib3 compares lengths that mean nothing in 204",
        "coding that is not known": "urllib3 undoes the codings that it knows, and leaves out the others",
        "version": "http.client takes any HTTP/1.x for 1.1; there is no 1.2",
        "status line": "http.client takes any number of blanks",
        "101": "http.client returns it; the connection is of no use then",
        "headers": "the parser of e-mail never fails: it takes what it can, and may lose the rest",
        "lengths": "http.client takes a length that is not one for none, and reads until the connection ends",
        "transfer coding": "http.client takes any but `chunked` for none: its caller gets sizes of chunks, or gzip",
        "chunks": "Python's int() takes 0x2; a line may end in LF alone; trailers are not looked at",
        "cut off": "urllib3 does not look for the end of compressed bytes, nor at members after the first",
    },
    by_aiohttp: {
        "lengths": "llhttp refuses a length twice; RFC 9110, 8.6, allows to take it where it is the same",
        "beside chunks": "llhttp refuses a length beside chunks; by RFC 9112, 6.3, the chunks count",
        "identity": "llhttp refuses `identity` with a length; RFC 2616 had it, and servers send it",
        "fold": "llhttp keeps the blanks of a fold; it takes a folded first line for a header",
        "x-gzip": "aiohttp does not know it; by RFC 9110, 8.4.1.3, it is gzip",
        "bytes behind": "aiohttp refuses bytes behind compressed ones; browsers and urllib3 do not",
        "coding that is not known": "aiohttp refuses br without its library; it was not asked for",
        "several codings": "aiohttp leaves them as they are",
        "first line": "llhttp passes over empty lines first, of which RFC 9112 does not speak",
        "status": "llhttp takes any three digits",
        "blank before a colon": "aiohttp's llhttp is lenient: its caller gets a name that ends in a blank",
        "transfer coding": "its caller gets what gzip made of the body",
        "chunks": "aiohttp's llhttp is lenient: its caller gets a CR of the framing",
        "cut off": "aiohttp does not look for the end of gzip",
    },
}
DIFFERENCES: dict[Reader, dict[str, str]] = {
    by_urllib3: {
        "chunked, in capitals": "blanks",
        "blanks around values": "blanks",
        "102, 103 and 199": "interim",
        "interim with bare line feeds": "interim",
        "folded, with bare line feeds": "fold",
        "204 with chunks": "204 with chunks",
        "204 with a length beside chunks": "204 with chunks",
        "204 with lengths that differ": "204 with lengths",
        "codings of which one is not known": "coding that is not known",
        "another version": "version",
        "two blanks": "status line",
        "101": "101",
        "101 after 100": "101",
        "no colon": "headers",
        "no name": "headers",
        "blank before the colon": "headers",
        "name that is not ASCII": "headers",
        "NUL in a value": "headers",
        "lengths that differ beside chunks": "lengths",
        "length and an empty one": "lengths",
        "length with a sign": "lengths",
        "negative length": "lengths",
        "length in hexadecimal": "lengths",
        "empty length": "lengths",
        "gzip as transfer coding": "transfer coding",
        "gzip as transfer coding, in a line of its own": "transfer coding",
        "gzip as the last transfer coding": "transfer coding",
        "transfer coding that only ends in chunked": "transfer coding",
        "chunked twice": "transfer coding",
        "chunk size with 0x": "chunks",
        "bare line feed behind a chunk size": "chunks",
        "trailer without a colon": "chunks",
        "gzip cut off": "cut off",
        "second gzip member broken": "cut off",
        "second gzip member cut off": "cut off",
        "deflate without a header, with bytes behind": "cut off",
        "deflate cut off": "cut off",
        "deflate without a header cut off": "cut off",
    },
    by_aiohttp: {
        "length twice": "lengths",
        "length as a list": "lengths",
        "204 with lengths that differ": "lengths",
        "204 with a length that is not a number": "lengths",
        "204 with a length beside chunks": "beside chunks",
        "length beside chunks": "beside chunks",
        "chunks beside length": "beside chunks",
        "identity, with length": "identity",
        "folded": "fold",
        "folded before the first header": "fold",
        "x-gzip, in capitals": "x-gzip",
        "gzip with bytes behind": "bytes behind",
        "deflate with bytes behind": "bytes behind",
        "gzip twice": "several codings",
        "gzip twice of nothing": "several codings",
        "deflate, then gzip": "several codings",
        "not gzip twice": "several codings",
        "coding that is not known": "coding that is not known",
        "an empty line first": "first line",
        "status 0": "status",
        "status 99": "status",
        "blank before the colon": "blank before a colon",
        "gzip as transfer coding": "transfer coding",
        "gzip as transfer coding, in a line of its own": "transfer coding",
        "gzip as the last transfer coding": "transfer coding",
        "transfer coding that only ends in chunked": "transfer coding",
        "chunked twice": "transfer coding",
        "chunk shorter than its size": "chunks",
        "gzip cut off": "cut off",
        "second gzip member cut off": "cut off",
    },
}
ODDITIES: dict[Reader, set[str]] = {
    by_urllib3: {"interim other than 100", "blanks behind a value", "folded", "chunks without a body"},
    by_aiohttp: {
        "twice",
        "list",
        "beside chunks",
        "folded",
        "x-gzip",
        "bytes behind",
        "br",
        "gzip, deflate",
    },
}
"""Of generated responses, that are read otherwise for the reasons above."""

readers = pytest.mark.parametrize("reader", [by_urllib3, by_aiohttp])


def opinion(result: Opinion | Whole | object) -> Opinion | None:
    """Return a result without the headers that are only about where the response ends; None for one that is refused."""
    if not isinstance(result, Opinion | Whole):
        return None
    headers = {name: value for name, value in result.headers.items() if name not in FRAMING}
    return Opinion(result.status, headers, result.body)


@readers
@pytest.mark.parametrize("name", [*GOOD, *REFUSED])
async def test_others_read_the_same_or_the_difference_is_listed(name: str, reader: Reader) -> None:
    data = GOOD[name].data if name in GOOD else REFUSED[name].data
    if name in DIFFERENCES[reader]:
        assert REASONS[reader][DIFFERENCES[reader][name]]
        assert opinion(reader(data)) != opinion(read([data]))
    else:
        assert opinion(reader(data)) == opinion(read([data]))


@readers
def test_each_reason_has_a_difference(reader: Reader) -> None:
    assert set(DIFFERENCES[reader].values()) == set(REASONS[reader])


@functools.cache
def generated_whole() -> list[Generated]:
    return [
        made for _, made in generated(SEED, RESPONSES) if made.error is None and made.end is None and not made.behind
    ]


@readers
async def test_others_read_generated_responses_the_same(reader: Reader) -> None:
    compared = [made for made in generated_whole() if not made.oddities & ODDITIES[reader]]
    assert len(compared) > 2000
    for made in compared:
        assert opinion(reader(made.data)) == opinion(read([made.data])), made


@readers
@pytest.mark.parametrize("oddity", sorted({oddity for oddities in ODDITIES.values() for oddity in oddities}))
async def test_oddities_that_are_left_out_make_a_difference(oddity: str, reader: Reader) -> None:
    alone = [made.data for made in generated_whole() if made.oddities == {oddity}]
    differs = any(opinion(reader(data)) != opinion(read([data])) for data in alone)
    assert differs == (oddity in ODDITIES[reader])
