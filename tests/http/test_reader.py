"""Every response of `cases`, whole, in parts and cut off; and the bounds, to the byte."""

from __future__ import annotations

import time
import tracemalloc
import zlib

import pytest

from slip_sockets.http.errors import BadResponse, CutOff, ResponseTooLarge
from slip_sockets.http.reader import MAX_HEAD_BYTES, MAX_LINE_BYTES, MAX_LINES_WITHOUT_BODY_BYTES, ResponseReader

from .cases import CHUNKED, DEFLATE, GOOD, GZIP, OK, PLAIN, REFUSED, Good, Refused, compressed, in_chunks, with_length
from .reading import MAX_BYTES, Bad, Whole, read, splits

FRAMING = {"content-length", "transfer-encoding", "connection"}

good = pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
refused = pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
both = pytest.mark.parametrize("case", [*GOOD.values(), *REFUSED.values()], ids=[*GOOD, *REFUSED])


@good
def test_response_is_read(case: Good) -> None:
    result = read([case.data])
    assert isinstance(result, Whole)
    headers = {name: value for name, value in result.headers.items() if name not in FRAMING}
    assert Whole(result.status, headers, result.body, result.keeps_alive) == Whole(
        case.status, case.headers, case.body, case.keeps_alive
    )


@refused
def test_what_is_not_a_response_is_refused(case: Refused) -> None:
    assert read([case.data]) == Bad(case.error, case.text)


@both
def test_response_is_the_same_however_it_comes(case: Good | Refused) -> None:
    whole = read([case.data])
    for parts in splits(case.data):
        assert read(parts) == whole, parts


@good
def test_response_that_is_cut_off_is_an_error_or_has_the_beginning_of_the_body(case: Good) -> None:
    whole = read([case.data])
    assert isinstance(whole, Whole)
    for end in range(len(case.data)):
        result = read([case.data[:end]])
        if case.ends_with_connection and isinstance(result, Whole):
            assert result == Whole(whole.status, whole.headers, result.body, whole.keeps_alive)
            assert whole.body.startswith(result.body)
        elif case.ends_with_connection and isinstance(result, Bad) and result.error is BadResponse:
            assert result.text == "its compressed body is cut off"
        else:
            assert result == Bad(CutOff, f"the connection was closed {'within' if end else 'before'} the response")


@refused
def test_what_is_refused_is_refused_when_it_is_cut_off(case: Refused) -> None:
    for end in range(len(case.data)):
        assert isinstance(read([case.data[:end]]), Bad), end


def test_nothing_is_a_response_cut_off() -> None:
    assert read([]) == Bad(CutOff, "the connection was closed before the response")


# Bytes behind a response


@pytest.mark.parametrize("name", ["length", "length of nothing", "chunked", "204", "gzip", "100"])
@pytest.mark.parametrize("behind", [b"!", b"H", PLAIN, b"\0", b"\r\nhi"])
def test_connection_with_bytes_behind_the_response_is_not_kept(name: str, behind: bytes) -> None:
    whole = read([GOOD[name].data])
    assert isinstance(whole, Whole)
    assert whole.keeps_alive
    expected = Whole(whole.status, whole.headers, whole.body, keeps_alive=False)
    assert read([GOOD[name].data + behind]) == expected
    for at in range(1, len(GOOD[name].data)):
        assert read([GOOD[name].data[:at], GOOD[name].data[at:] + behind]) == expected


@pytest.mark.parametrize("name", ["length", "length of nothing", "chunked", "204"])
def test_line_ends_alone_behind_the_response_leave_the_connection_in_step(name: str) -> None:
    assert read([GOOD[name].data + b"\r\n"]) == read([GOOD[name].data])


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("line", [b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_status_without_a_body_has_none_also_where_one_comes(status: str, line: bytes) -> None:
    result = read([b"HTTP/1.1 %b\r\n%b\r\nhi" % (status.encode(), line)])
    assert isinstance(result, Whole)
    assert (result.status, result.body, result.keeps_alive) == (int(status[:3]), b"", False)


# Bounds of the head


LONGEST_LINE = b"A: ".ljust(MAX_LINE_BYTES, b"a")
TOO_LONG_LINE = Bad(ResponseTooLarge, f"a header line of more than {MAX_LINE_BYTES} bytes")
TOO_LARGE_HEAD = Bad(ResponseTooLarge, f"a head of more than {MAX_HEAD_BYTES} bytes")


def in_pieces(data: bytes, size: int = 1) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_line_of_a_head_has_16_kb(end: bytes, size: int, *, is_first: bool) -> None:
    first = b"HTTP/1.1 200 ".ljust(MAX_LINE_BYTES, b"x") if is_first else b"HTTP/1.1 200 OK"
    line = b"A: b" if is_first else LONGEST_LINE
    tail = end + b"Content-Length: 2" + end * 2 + b"hi"
    result = read(in_pieces(first + end + line + tail, size))
    assert isinstance(result, Whole)
    assert result.body == b"hi"
    longer = first + b"x" + end + line if is_first else first + end + line + b"a"
    assert read(in_pieces(longer + tail, size)) == TOO_LONG_LINE


@pytest.mark.parametrize("size", [1, 100_000])
def test_line_that_does_not_end_is_refused_at_its_bound(size: int) -> None:
    begun = OK + LONGEST_LINE
    assert read(in_pieces(begun, size)) == Bad(CutOff, "the connection was closed within the response")
    assert read(in_pieces(begun + b"a", size)) == TOO_LONG_LINE


def head_of(size: int, before: bytes = b"") -> bytes:
    """Return a head which has `size` bytes together with the interim responses `before` it."""
    lines = OK + b"Content-Length: 2\r\n" + (b"B: ".ljust(4094, b"b") + b"\r\n") * 8
    left = size - len(before) - len(lines) - 2
    while left > 4096 + 100:
        lines, left = lines + b"C: ".ljust(4094, b"c") + b"\r\n", left - 4096
    head = before + lines + b"D: ".ljust(left - 2, b"d") + b"\r\n\r\n"
    assert len(head) == size
    return head


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"l" * 9000 + b"\r\n\r\n"


@pytest.mark.parametrize("before", [b"", INTERIM, INTERIM * 3], ids=["none", "one", "three"])
@pytest.mark.parametrize("size", [1, 13, 100_000])
def test_head_has_64_kb_with_its_interim_responses(before: bytes, size: int) -> None:
    result = read(in_pieces(head_of(MAX_HEAD_BYTES, before) + b"hi", size))
    assert isinstance(result, Whole)
    assert result.body == b"hi"
    assert read(in_pieces(head_of(MAX_HEAD_BYTES + 1, before) + b"hi", size)) == TOO_LARGE_HEAD


@pytest.mark.parametrize("size", [1, 100_000])
def test_head_that_does_not_end_is_refused_at_its_bound(size: int) -> None:
    begun = head_of(MAX_HEAD_BYTES)[:-2] + b"\r"
    assert read(in_pieces(begun, size)) == Bad(CutOff, "the connection was closed within the response")
    assert read(in_pieces(begun + b"xx", size)) == TOO_LARGE_HEAD


def test_interim_responses_without_end_are_refused() -> None:
    one = b"HTTP/1.1 100 Continue\r\n\r\n"
    count = MAX_HEAD_BYTES // len(one)
    assert read([one] * count) == Bad(CutOff, "the connection was closed within the response")
    assert read([one] * (count + 1)) == TOO_LARGE_HEAD


# Bounds of the body


WITHOUT_END = Bad(ResponseTooLarge, f"more than {MAX_LINES_WITHOUT_BODY_BYTES} bytes of chunk lines or trailers")
TOO_LARGE_BODY = Bad(ResponseTooLarge, f"more than {MAX_BYTES} bytes")


def framed(body: bytes, framing: str) -> bytes:
    match framing:
        case "length":
            return with_length(body)
        case "chunked":
            return in_chunks(*in_pieces(body, 100))
        case _:
            return OK + b"\r\n" + body


@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_body_has_its_bound(framing: str, size: int) -> None:
    result = read(in_pieces(framed(b"x" * MAX_BYTES, framing), size))
    assert isinstance(result, Whole)
    assert result.body == b"x" * MAX_BYTES
    assert read(in_pieces(framed(b"x" * (MAX_BYTES + 1), framing), size)) == TOO_LARGE_BODY


@pytest.mark.parametrize("length", [MAX_BYTES + 1, 10**15])
def test_body_that_will_be_too_large_is_refused_at_its_head(length: int) -> None:
    with pytest.raises(ResponseTooLarge, match=f"more than {MAX_BYTES} bytes"):
        ResponseReader(max_bytes=MAX_BYTES).feed(OK + b"Content-Length: %d\r\n\r\n" % length)


@pytest.mark.parametrize("head", [b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n1000000\r\n"])
def test_body_is_refused_when_it_is_too_large_and_not_at_its_end(head: bytes) -> None:
    reader = ResponseReader(max_bytes=MAX_BYTES)
    assert reader.feed(OK + head + b"x" * MAX_BYTES) is None
    with pytest.raises(ResponseTooLarge):
        reader.feed(b"x")


@pytest.mark.parametrize("coding", [GZIP, DEFLATE])
def test_undone_body_has_its_bound(coding: bytes) -> None:
    compress = compressed if coding is GZIP else zlib.compress
    result = read([with_length(compress(bytes(MAX_BYTES)), coding)])
    assert isinstance(result, Whole)
    assert result.body == bytes(MAX_BYTES)
    assert read([with_length(compress(bytes(MAX_BYTES + 1)), coding)]) == TOO_LARGE_BODY


def test_undone_members_have_their_bound_together() -> None:
    half = compressed(bytes(MAX_BYTES // 2))
    assert isinstance(read([with_length(half * 2, GZIP)]), Whole)
    assert read([with_length(half * 2 + compressed(b"x"), GZIP)]) == TOO_LARGE_BODY


def test_gzip_bomb_is_not_undone_beyond_the_bound() -> None:
    data = with_length(compressed(bytes(64 * 1024 * 1024)), GZIP)
    bound = len(data)
    tracemalloc.start()
    try:
        assert read([data], max_bytes=bound) == Bad(ResponseTooLarge, f"more than {bound} bytes")
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def test_many_gzip_members_take_no_more_than_their_number() -> None:
    body = compressed(b"x") * 200_000
    began = time.process_time()
    result = read([with_length(body, GZIP)], max_bytes=len(body))
    assert time.process_time() - began < 5  # by the square of their number it takes half a minute
    assert isinstance(result, Whole)
    assert result.body == b"x" * 200_000


@pytest.mark.parametrize("piece", [b"0" * 1000, b"1;" + b"a" * 1000], ids=["size", "extension"])
def test_chunk_line_that_does_not_end_is_refused(piece: bytes) -> None:
    data = CHUNKED + piece * 100
    assert read(in_pieces(data, 100)) == WITHOUT_END


def test_trailers_that_do_not_end_are_refused() -> None:
    data = CHUNKED + b"2\r\nhi\r\n0\r\n" + b"A: b\r\n" * 20_000
    assert read(in_pieces(data, 100)) == WITHOUT_END


def test_body_of_many_small_chunks_is_read() -> None:
    chunks = [b"%x;extension=of-some-length\r\nx\r\n" % 1] * MAX_BYTES
    result = read(in_pieces(CHUNKED + b"".join(chunks) + b"0\r\n\r\n", 1000))
    assert isinstance(result, Whole)
    assert result.body == b"x" * MAX_BYTES


# Only the beginning of an error's body


ERROR = b"HTTP/1.1 500 Oh"
FEW = 100


@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_body_of_an_error_is_cut_at_its_bound(framing: str, size: int) -> None:
    data = ERROR + framed(b"abcdefghij" * 1000, framing)[len(OK) - 2 :]
    result = read(in_pieces(data, size), max_error_bytes=FEW)
    assert isinstance(result, Whole)
    assert (result.status, result.body, result.keeps_alive) == (500, b"abcdefghij" * 10, False)


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_short_body_of_an_error_is_whole_and_keeps_the_connection(size: int) -> None:
    result = read(in_pieces(with_length(b"hi", first=ERROR), size), max_error_bytes=FEW)
    assert isinstance(result, Whole)
    assert (result.body, result.keeps_alive) == (b"hi", True)


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
@pytest.mark.parametrize("text", [bytes(1_000_000), b"".join(b"%d " % n for n in range(5000))], ids=["bomb", "long"])
def test_compressed_body_of_an_error_is_cut_at_its_bound(text: bytes, size: int) -> None:
    data = with_length(compressed(text), GZIP, first=ERROR)
    result = read(in_pieces(data, size), max_error_bytes=FEW)
    assert isinstance(result, Whole)
    assert result.status == 500
    assert text.startswith(result.body)
    assert result == read([data], max_error_bytes=FEW)


@pytest.mark.parametrize(
    "data",
    [
        with_length(b"confidential", GZIP, first=ERROR),
        with_length(compressed(b"hi")[:-1], GZIP, first=ERROR),
        ERROR + b"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nno size\r\n",
        ERROR + b"\r\nTransfer-Encoding: gzip\r\n\r\nhi",
        with_length(b"hi and more", first=ERROR)[:-9],
    ],
    ids=["not gzip", "gzip cut off", "bad chunk", "transfer coding", "cut off"],
)
def test_body_of_an_error_that_is_not_valid_does_not_cost_the_status(data: bytes) -> None:
    assert isinstance(read([data]), Bad)
    for parts in splits(data):
        result = read(parts, max_error_bytes=FEW)
        assert isinstance(result, Whole)
        assert result.status == 500
        assert result.body in (b"", b"hi")


def test_bound_of_errors_is_not_that_of_success() -> None:
    result = read([with_length(b"x" * 1000)], max_error_bytes=FEW)
    assert isinstance(result, Whole)
    assert len(result.body) == 1000


def test_status_is_known_when_the_head_is() -> None:
    statuses: list[int] = []
    reader = ResponseReader(max_bytes=MAX_BYTES, max_error_bytes=FEW)
    reader.on_head = lambda: statuses.append(reader.status)
    assert not reader.has_begun
    assert reader.feed(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 Oh\r\nContent-Length: 5\r\n") is None
    assert (reader.has_begun, reader.status, statuses) == (True, 0, [])
    assert reader.feed(b"\r\nab") is None
    assert (reader.status, statuses) == (500, [500])
    assert reader.cut().body == b"ab"
    assert not reader.keeps_alive
