"""Bodies that are not JSON: what is wrong with them is named, and where."""

from __future__ import annotations

import codecs
import time

import pytest

from slip_sockets.protocol.bodies import decode_done, decode_fault
from slip_sockets.protocol.errors import InvalidEvents
from slip_sockets.protocol.events import (
    CloseConnection,
    Report,
    SendText,
    decode_control,
    decode_reply,
    decode_request,
    encode_request,
)
from slip_sockets.protocol.json_faults import page_in

MARK = codecs.BOM_UTF8
HALF = "half of a character, as of a text that was cut within an emoji"
TEXT = rb'{"events":[{"type":"TEXT","connectionId":"c","data":"%s"}]}'
BYTE = TEXT.index(b"%s")


def refusal(body: bytes) -> InvalidEvents:
    """Return the error of a body, which is the same for a reply and for the control API."""
    errors = []
    for decode in (decode_control, decode_reply):
        with pytest.raises(InvalidEvents) as caught:
            decode(body)
        errors.append(caught.value)
    assert str(errors[0]) == str(errors[1])
    assert str(errors[0]).encode()  # it goes into a body of UTF-8
    return errors[0]


@pytest.mark.parametrize(
    ("data", "escape", "at"),
    [
        (rb"ok \ud83d", r"\ud83d", 3),
        (rb"\ud83d", r"\ud83d", 0),
        (rb"\uD83D and more", r"\uD83D", 0),
        (rb"\ude00", r"\ude00", 0),
        (rb"\ude00\ud83d", r"\ude00", 0),
        (rb"\ud83d\ud83d\ude00", r"\ud83d", 0),
        (rb"\ud83d\ude00\ude00", r"\ude00", 12),
        (rb"\ud83d\u0041", r"\ud83d", 0),
        (rb"\ud83d\n", r"\ud83d", 0),
        (rb"\ud83d\\ude00", r"\ud83d", 0),
        (rb"\\ud83d \udfff", r"\udfff", 8),
        ("é\\ud800".encode(), r"\ud800", 2),
    ],
)
def test_an_unpaired_surrogate_is_named_with_its_place(data: bytes, escape: str, at: int) -> None:
    error = refusal(TEXT % data)
    found = f"an unpaired surrogate ({escape} at byte {BYTE + at}), {HALF}"
    assert (str(error), error.index, error.field) == (f"events[0].data: TEXT needs text, got {found}", 0, "data")


def test_a_pair_is_a_character_and_an_escaped_backslash_begins_none() -> None:
    assert decode_control(TEXT % rb"\uD83D\uDE00 \\ud83d") == [SendText("c", "\N{GRINNING FACE} \\ud83d")]


@pytest.mark.parametrize(
    ("body", "message", "index", "field"),
    [
        (
            rb'{"events":[{"type":"CLOSE","connectionId":"a"},{"type":"CLOSE","connectionId":"\ud83d"}]}',
            "events[1].connectionId: CLOSE needs text, got",
            1,
            "connectionId",
        ),
        (
            rb'{"events":[{"type":"SET_METADATA","connectionId":"c","metadata":{"a":[1,{"b c":"\ud83d"}]}}]}',
            'events[0].metadata.a[1]["b c"]: SET_METADATA needs text, got',
            0,
            "metadata",
        ),
        (
            rb'{"events":[{"type":"SET_METADATA","connectionId":"c","metadata":{"a":{"\ud83d":1}}}]}',
            "events[0].metadata.a: SET_METADATA needs text as a name, got",
            0,
            "metadata",
        ),
        (rb'{"events":[{"type":"CLOSE","\ud83d":1}]}', "events[0]: CLOSE needs text as a name, got", 0, None),
        (
            rb'{"events":[{"type":"PUBLISH_TEXT","channelId":"r","data":"","id":"\ud83d"}]}',
            "events[0].id: PUBLISH_TEXT needs text, got",
            0,
            "id",
        ),
        (rb'{"events":[{"type":"\ud83d"}]}', "events[0].type: an event needs text, got", 0, "type"),
        (rb'{"\ud83d":[],"events":[]}', "body: the body needs text as a name, got", None, None),
        (rb'{"more":{"x":"\ud83d"},"events":[]}', "more.x: the body needs text, got", None, None),
        (rb'"\ud83d"', "body: the body needs text, got", None, None),
        (
            rb'{"events":[{"type":"\ud83d"}],"events":[]}',
            "events[0].type: an event needs text, got",
            0,
            "type",
        ),
        (rb'{"events":[{"type":"CLOSE","connectionId":"\ud83d"}],}', "the body is not JSON: it has", None, None),
        (
            rb'{"events":[{"type":"CLOSE","connectionId":"\ud83d"}],"x":' + b"[" * 99_999,
            "the body is not JSON: it has",
            None,
            None,
        ),
        (
            rb'{"%s":{"\ud83d":1},"events":[]}' % (b"x" * 9_000),
            f'["{"x" * 20}"]: the body needs text as a name, got',
            None,
            None,
        ),
    ],
)
def test_its_place_is_a_path(body: bytes, message: str, index: int | None, field: str | None) -> None:
    error = refusal(body)
    at = body.index(rb"\ud83d")
    found = f"{message} an unpaired surrogate (\\ud83d at byte {at}), {HALF}"
    assert (str(error), error.index, error.field) == (found, index, field)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xff", "bytes that are not UTF-8 (0xff at byte {at})"),
        (b"\xe9t\xe9", "bytes that are not UTF-8 (0xe9 at byte {at})"),
        (b"\xc3", "bytes that are not UTF-8 (0xc3 at byte {at})"),
        (b"\xed\xa0\xbd", "an unpaired surrogate (ed a0 bd at byte {at}), which UTF-8 cannot say"),
        (b"\xed\xb8\x80", "an unpaired surrogate (ed b8 80 at byte {at}), which UTF-8 cannot say"),
        (
            b"\xed\xa0\xbd\xed\xb8\x80",
            "surrogates as bytes (ed a0 bd at byte {at}), which CESU-8 has and UTF-8 has not",
        ),
    ],
)
def test_bytes_that_are_not_utf_8_are_named_with_their_place(data: bytes, problem: str) -> None:
    for mark in (b"", MARK):
        error = refusal(mark + TEXT % data)
        found = problem.format(at=len(mark) + BYTE)
        assert (str(error), error.index, error.field) == (f"events[0].data: TEXT needs text, got {found}", 0, "data")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b" \n", "it is empty"),
        (MARK, "it is empty"),
        (b'{"events":[', "it breaks off (byte 11)"),
        (TEXT[:BYTE], "it breaks off (byte 53)"),
        (TEXT[:BYTE] + b"\xf0\x9f\x98", "it breaks off (byte 56)"),
        (TEXT[:BYTE] + rb"\ud83d\ude", "it breaks off (byte 63)"),
        (b'{\n  "events": [\n    \xc3\xa4]}', "JSON is malformed: invalid character (byte 20, line 3, column 5)"),
        (MARK + b'{"events":[]} {}', "JSON is malformed: trailing characters (byte 18)"),
        (b'{"events":[],}', "JSON is malformed: trailing comma in object (byte 13)"),
        (b'{"events":NaN}', "NaN is not a value of JSON (byte 10)"),
        (b'{"events":-Infinity}', "-Infinity is not a value of JSON (byte 11)"),
        (b'{"events":None}', "None is not a value of JSON (byte 10)"),
        (b"{'events':[]}", "JSON is malformed: object keys must be strings (byte 1)"),
        (b'{"events":[]}'.decode().encode("utf-16"), "it is UTF-16. Send UTF-8"),
        (codecs.BOM_UTF16_BE + b'{"events":[]}'.decode().encode("utf-16-be"), "it is UTF-16. Send UTF-8"),
        (b'{"events":[]}'.decode().encode("utf-16-le"), "it looks like UTF-16. Send UTF-8"),
        (b'{"events":[]}'.decode().encode("utf-16-be"), "it looks like UTF-16. Send UTF-8"),
        (b'{"events":[]}'.decode().encode("utf-32"), "it is UTF-32. Send UTF-8"),
        (b'{"events":[]}'.decode().encode("utf-32-le"), "it looks like UTF-32. Send UTF-8"),
        (b'{"events":[]}'.decode().encode("utf-32-be"), "it looks like UTF-32. Send UTF-8"),
        (b"\x1f\x8b\x08\0", "it is compressed with gzip, and its Content-Encoding does not say so"),
        (b"<!doctype html><title>Welcome</title>", "it is a page of HTML"),
        (b'<!doctype html><form><input type="password">', "it is a page of a login"),
        (b'<?xml version="1.0"?><error/>', "it is XML"),
    ],
)
def test_what_else_is_not_json_is_named(body: bytes, problem: str) -> None:
    error = refusal(body)
    assert (str(error), error.index, error.field) == (f"the body is not JSON: {problem}", None, None)


@pytest.mark.parametrize(
    ("page", "what"),
    [
        ("\r\n<HTML><head><title>502 Bad Gateway</title>", "a page of HTML"),
        ("<!-- kept --><div id=root></div><script src=/app.js></script>", "a page of HTML"),
        ("<h1>Forbidden</h1><p>Log in to see it", "a page of HTML"),
        ("<html><title>Sign in to your account</title>", "a page of a login"),
        ("<html><title>Acme: Log in</title>", "a page of a login"),
        ("<html><form method=post><INPUT name=p TYPE = 'password'>", "a page of a login"),
        ('<html><body onload="submit()"><input type="hidden" name="SAMLRequest">', "a page of a login"),
        ("<html><title>Blogging in public</title>", "a page of HTML"),
        ("<Error><Code>AccessDenied</Code></Error>", "XML"),
        ('{"title": "<html>"}', None),
        ("Sign in", None),
    ],
)
def test_a_page_for_a_browser_is_known(page: str, what: str | None) -> None:
    for mark in (b"", MARK):
        assert page_in(mark + page.encode()) == what


def test_a_byte_order_mark_of_utf_8_is_ignored() -> None:
    body = MARK + rb'{"events":[{"type":"CLOSE","connectionId":"c"}]}'
    assert decode_control(body) == decode_reply(body) == [CloseConnection("c")]
    assert decode_request(MARK + encode_request("c", None, [])).connection_id == "c"
    assert decode_done(
        MARK + b'{"message":"processed successfully","events":[{"matched":1,"sent":1,"gone":0,"queued":0}]}', 1
    ) == [Report(1, 1, 0, 0)]
    assert decode_fault(MARK + b'{"error":"no","index":3}').index == 3
    error = refusal(MARK + b'{"events":[{"type":"CLOSE"}]}')
    assert str(error) == "events[0].connectionId: CLOSE needs this field, and it is missing"


@pytest.mark.parametrize("unit", [rb"\u0001", b'"\\ud83d\\ude00",', b"\xc3\xa4", b'{"a":['])
def test_a_large_body_is_explained_soon(unit: bytes) -> None:
    """Each takes less than 0.5 s; the square of its size would be hours."""
    body = b'{"events":[{"type":"SET_METADATA","connectionId":"c","metadata":["' + unit * (1 << 17) + rb'\ud83d"'
    began = time.process_time()
    refusal(body)
    assert time.process_time() - began < 10
