from __future__ import annotations

import pytest

from slip_sockets.aws.http1 import MAX_BODY_BYTES, MAX_HEAD_BYTES, Answer, AnswerReader, BadAnswer

CHUNKED = b"HTTP/1.1 410 Gone\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

ANSWERS = {
    "length": (PLAIN, 200, b"hi", True),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", 200, b"", True),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "chunked": (CHUNKED + b"2\r\nhi\r\n3;a=b\r\n yo\r\n0\r\n\r\n", 410, b"hi yo", True),
    "trailer": (CHUNKED + b"0\r\nA: b\r\n\r\n", 410, b"", True),
    "closes": (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    "early": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + PLAIN, 200, b"hi", True),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_answer_is_read_however_it_comes(name: str, step: int) -> None:
    data, status, body, keeps_alive = ANSWERS[name]
    reader = AnswerReader()
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    *early, answer = [reader.feed(part) for part in parts]
    assert not any(early)
    assert answer is not None
    assert (answer.status, answer.body, answer.keeps_alive) == (status, body, keeps_alive)


def test_headers_have_lower_case_names() -> None:
    answer = AnswerReader().feed(b"HTTP/1.1 204 No Content\r\nX-Amzn-ErrorType:  GoneException \r\n\r\n")
    assert answer == Answer(204, {b"x-amzn-errortype": b"GoneException"}, b"", keeps_alive=True)


@pytest.mark.parametrize("rest", [b"\r\n", PLAIN])
def test_more_than_the_answer_ends_the_connection(rest: bytes) -> None:
    answer = AnswerReader().feed(PLAIN + rest)
    assert answer is not None
    assert answer.body == b"hi"
    assert not answer.keeps_alive


def test_body_without_a_length_ends_with_the_connection() -> None:
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhi") is None
    answer = reader.end()
    assert (answer.body, answer.keeps_alive) == (b"hi", False)


NOT_CLEAR = "the answer's length is not clear"
MALFORMED = "the answer's headers are malformed"
CHUNKS = "the answer's chunks are malformed"
BODY = f"the answer's body has more than {MAX_BODY_BYTES} bytes"
HEAD = f"the answer's head has more than {MAX_HEAD_BYTES} bytes"
OTHER = "the answer is not HTTP/1.1"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0", OTHER),
        (b"HTTP/2 200\r\n\r\n", OTHER),
        (b"HTTP/1.1 20 OK\r\n\r\n", OTHER),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", OTHER),
        (OK + b"no colon\r\n\r\n", MALFORMED),
        (OK + b"Content-Length : 2\r\n\r\n", MALFORMED),
        (OK + b"A: b\r\n folded: c\r\n\r\n", MALFORMED),
        (OK + b"A: b\nContent-Length: 2\r\n\r\n", MALFORMED),
        (OK + b"Content-Length: -1\r\n\r\n", NOT_CLEAR),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n", NOT_CLEAR),
        (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", NOT_CLEAR),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", NOT_CLEAR),
        (OK + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), BODY),
        (OK + b"\r\n" + bytes(MAX_BODY_BYTES + 1), BODY),
        (OK + b"A: " + b"a" * MAX_HEAD_BYTES, HEAD),
        (CHUNKED + b"x\r\n", CHUNKS),
        (CHUNKED + b"2\r\nhi!!", CHUNKS),
        (CHUNKED + b"0" * 300, CHUNKS),
        (CHUNKED + b"fffff\r\n", BODY),
        (CHUNKED + b"ff00\r\n" + bytes(0xFF00) + b"\r\nff00\r\n", BODY),
        (CHUNKED + b"10000\r\n" + bytes(3 * MAX_BODY_BYTES), BODY),
        (CHUNKED + b"0\r\nA: " + b"a" * (MAX_HEAD_BYTES + 1), HEAD),
    ],
)
def test_what_is_no_answer_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BadAnswer) as error:
        AnswerReader().feed(data)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the connection was closed before the answer"),
        (b"HTTP/1.1 200", "the connection was closed within the answer"),
        (OK + b"Content-Length: 2\r\n\r\nh", "the connection was closed within the answer"),
        (CHUNKED + b"2\r\nhi\r\n", "the connection was closed within the answer"),
    ],
)
def test_answer_that_breaks_off_is_none(data: bytes, reason: str) -> None:
    reader = AnswerReader()
    assert reader.feed(data) is None
    with pytest.raises(BadAnswer) as error:
        reader.end()
    assert str(error.value) == reason
