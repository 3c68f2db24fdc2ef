"""Whatever a server plays, a call returns reports or raises one of the promised errors, in time."""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slip_sockets import ControlApiError, ControlApiRefused, ControlApiUnavailable
from slip_sockets.client.control_client import CONNECT_TIMEOUT_S
from slip_sockets.client.responses import MAX_RESPONSE_BYTES

from .played import DONE, KINDS, REPORTS, TOKEN, PlayedServer, call, playing, response

HTML = b"<!DOCTYPE html>\n<html><head><title>Log in &ndash;\n Example</title></head><body>\x1b[2J</body></html>"


@pytest.fixture(scope="module")
def server() -> Iterator[PlayedServer]:
    logger = logging.getLogger("urllib3")
    logger.setLevel(logging.CRITICAL)  # a record of an error keeps its response open
    with playing() as server:
        yield server
    logger.setLevel(logging.NOTSET)


BODIES = st.sampled_from(
    [
        DONE, DONE, DONE[:-2], b"", b"{}", b"[]", b"null", b"1e999", b'{"message":"Hello World"}', HTML,
        b"done\r\n\x00\xff",
        b"[" * 10_000, b'{"message":"processed successfully","events":7}', b"\xef\xbb\xbf" + DONE, gzip.compress(DONE),
        b'{"headers":{"Authorization":"Bearer ' + TOKEN + b'"}}', b'{"error":"' + TOKEN + b'"}', b"x" * 190 + TOKEN,
        b"<html><title>" + TOKEN + b"</title>", b'{"message":"not done","error":"a\\nb","index":-1}',
    ]
) | st.binary(max_size=40)  # fmt: skip
STATUSES = st.sampled_from(
    [200, 200, 200, 201, 204, 206, 299, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 407, 408, 411, 413, 418,
     421, 429, 499, 500, 502, 503, 504, 599, 101, 100, 102, 103, 199, 600, 999, 0, "200", "99", "1000", "2x0", "", "-1"]
)  # fmt: skip
HEADERS = st.sampled_from(
    [
        "Content-Length: 5", "Content-Length: 99999", "Content-Length: -1", "Content-Length: x", "Content-Length: 1, 2",
        "Content-Length: 18446744073709551617", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked",
        "Content-Encoding: gzip", "Content-Encoding: deflate", "Content-Encoding: br", "Content-Encoding: zstd",
        "Content-Encoding: x", "Content-Type: text/html; charset=utf-16",
        "Content-Type: application/json; charset=none",
        "Location: http://[::1", "Location: http://.a/", "Location: //a..b/?token=1", "Location: /\udcff", "Location:",
        "Location: javascript:0", "Location: https://login.example/\x1b[2J?next=1", "Location: http://a:99999999/",
        "Location: http://\u00e4\u00f6/", "Set-Cookie: a=b; Domain=.127.0.0.1; expires=0", "Set-Cookie: ;;;=\x01",
        "WWW-Authenticate: Negotiate", "Proxy-Authenticate: Basic", "Connection: close", "Connection: upgrade",
        "Upgrade: x", "Keep-Alive: timeout=0", "Retry-After: -1", ": x", "no colon", " folded", "X: " + "x" * 9_000,
        "X: " + "x" * 70_000,
        "X\x00: \x00", "Link: <x>; rel=y", "\u00e4: \u00f6",
    ]
)  # fmt: skip
VERSIONS = st.sampled_from(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2", "HTTP/x", "ICY", "", "\x00"])
REASONS = st.sampled_from(["OK", "", "a\x00b"])
ENDS: st.SearchStrategy[Literal["close", "reset"]] = st.sampled_from(["close", "close", "reset"])
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    body = draw(BODIES)
    headers = draw(st.lists(HEADERS, max_size=3))
    framing = draw(st.sampled_from(["length", "length", "chunked", "none"]))
    if framing == "chunked":
        size = draw(st.sampled_from([f"{len(body):x}", f"{len(body):X};a=b", "5", "-1", "x", "", "f" * 20]))
        body = (
            size.encode()
            + b"\r\n"
            + body
            + b"\r\n"
            + draw(st.sampled_from([b"0\r\n\r\n", b"0\r\n", b"", b"0\r\nX: y\r\n\r\n"]))
        )
        headers.append("Transfer-Encoding: chunked")
    elif framing == "length":
        headers.append(f"Content-Length: {len(body)}")
    lines = [f"{draw(VERSIONS)} {draw(STATUSES)} {draw(REASONS)}", *headers]
    end = draw(st.sampled_from(["\r\n"] * 4 + ["\n", "\r"]))
    whole = (
        INTERIM * draw(st.sampled_from([0, 0, 0, 1, 2]))
        + f"{end.join(lines)}{end}{end}".encode("utf-8", "surrogateescape")
        + body
    )
    return (
        draw(st.sampled_from([whole, whole, whole, whole[: len(whole) // 2], whole[:-1], whole + whole]))
        if whole
        else whole
    )


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=responses() | st.binary(max_size=60), end=ENDS)
@example(data=b"", end="reset")
@example(data=INTERIM * 3, end="close")
def test_a_server_that_plays_anything(
    server: PlayedServer, kind: str, data: bytes, end: Literal["close", "reset"]
) -> None:
    server.data, server.end = data, end
    outcome = call(kind, server.url)
    if isinstance(outcome, ControlApiError):
        return
    assert outcome == REPORTS or (outcome == [None, None] and b"processed successfully" in data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["wait", "trickle"])
@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300, response(200, b"", "Content-Length: 900")[:-4] + b"\r\n\r\n" + DONE],
)
def test_a_response_that_does_not_end_is_an_error_in_time(
    server: PlayedServer, kind: str, end: Literal["wait", "trickle"], data: bytes
) -> None:
    server.data, server.end = data, end
    began_at = time.monotonic()
    outcome = call(kind, server.url, timeout_s=0.3)
    assert isinstance(outcome, ControlApiUnavailable)
    assert not outcome.had_no_effect
    assert time.monotonic() - began_at < CONNECT_TIMEOUT_S + 0.3 + 1  # aiohttp's deadline has the connecting in it


@pytest.mark.parametrize("kind", KINDS)
def test_interim_responses_are_passed_over(server: PlayedServer, kind: str) -> None:
    server.data, server.end = INTERIM * 2 + response(200, DONE, "Connection: close"), "wait"
    assert call(kind, server.url) == REPORTS


@pytest.mark.parametrize("kind", KINDS)
def test_a_response_that_is_too_large_is_not_read_to_its_end(server: PlayedServer, kind: str) -> None:
    server.data, server.end = response(200, b" " * (MAX_RESPONSE_BYTES + 2)), "close"
    outcome = call(kind, server.url)
    assert "it responded with 200 (more than 10 MiB)" in str(outcome)


NOT_ONE = "{url} is not a control API: it {what}. The outputs file has the control API's URL"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (response(200, HTML), "responded with 200 (a page of HTML, 'Log in \u2013 Example')"),
        (response(200, b"<p>hi", "Content-Type: text/html"), "responded with 200 (a page of HTML)"),
        (response(200, b"done"), "responded with 200 (done)"),
        (response(200, b""), "responded with 200 (no body)"),
        (response(204), "responded with 204 (no body)"),
        (response(202, DONE), f"responded with 202 ({DONE.decode()})"),
        (response(200, b"[]"), "responded with 200 ([])"),
        (response(200, b"[" * 10_000), f"responded with 200 ({'[' * 200})"),
        (response(200, b'{"message":"Hello World"}'), 'responded with 200 ({"message":"Hello World"})'),
        (response(200, b'{"events":[{},{}]}'), 'responded with 200 ({"events":[{},{}]})'),
        (response(200, b"Bearer " + TOKEN), "responded with 200 (Bearer ...)"),
        (response(200, b"a\r\n\x1b[2J\x07b\xff"), "responded with 200 (a [2J b\ufffd)"),
        (response(302, b"", "Location: https://login.example/?next=1"), "redirects (302) to https://login.example/"),
        (response(308, b"", "Location: /control/"), "redirects (308) to {origin}/control/"),
        (response(301, b"", "Location: http://[::1"), "redirects (301) to what is not a URL"),
        (response(307, b"", "Location: http://.a/"), "redirects (307) to what is not a URL"),
        (response(304), "responded with 304 (no body)"),
    ],
)  # fmt: skip
def test_what_is_not_a_control_api_is_refused(server: PlayedServer, kind: str, data: bytes, what: str) -> None:
    server.data, server.end = data, "close"
    server.requests.clear()
    outcome = call(kind, server.url)
    assert isinstance(outcome, ControlApiRefused)
    what = what.replace("{origin}", server.url.removesuffix("/control"))
    assert str(outcome) == NOT_ONE.format(url=server.url, what=what)
    assert outcome.status == int(data[9:12])
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_redirect_is_not_followed_and_its_server_never_has_the_token(server: PlayedServer, kind: str) -> None:
    with playing() as other:
        server.data, server.end = response(307, b"", f"Location: {other.url}?next=secret"), "close"
        assert other.url in str(call(kind, server.url))
        assert other.requests == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_response_of_a_control_api_that_is_cut_may_have_had_an_effect(server: PlayedServer, kind: str) -> None:
    server.data, server.end = response(200, DONE[:-1]), "close"
    outcome = call(kind, server.url)
    assert isinstance(outcome, ControlApiUnavailable)
    assert not outcome.had_no_effect
    assert str(outcome).startswith(f"the response of the control API {server.url} is not whole: ")
    assert len(server.requests) >= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (response(502, HTML), "responded with 502: a page of HTML, 'Log in \u2013 Example'"),
        (response(404), "responded with 404"),
        (response(403, b"Bearer\n" + TOKEN), "responded with 403: Bearer ..."),
        (response(503, b'{"message":"not done","error":"a\\nb","index":1}'), "responded with 503: a b"),
    ],
)
def test_an_error_is_one_line(server: PlayedServer, kind: str, data: bytes, text: str) -> None:
    server.data, server.end = data, "close"
    assert str(call(kind, server.url)) == f"the control API {text}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_url_s_password_and_query_are_not_shown(server: PlayedServer, kind: str) -> None:
    url = server.url.replace("://", "://user:hunter2@") + "?code=hunter2%2F%41"
    server.data, server.end = b"", "close"
    server.requests.clear()
    assert "hunter2" not in str(call(kind, url))
    assert server.requests[0].startswith(b"POST /control?code=hunter2%2F")
