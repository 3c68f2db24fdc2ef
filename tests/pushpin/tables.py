"""All scenes by name, each with the rows of the table in docs/grip.md by which it differs."""

from __future__ import annotations

import gzip
import zlib

from slip_sockets.grip.framing import CONTENT_TYPE

from .conversations import (
    a_room,
    client_that,
    closes_with,
    closes_without_code,
    detached_and_closed,
    detaches,
    headers_twice,
    pings,
    publishes_in_chunks,
    query,
    requests,
    sends,
    sends_binary,
    texts_that_wait,
    vanishes,
)
from .differences import (
    BINARY_FROM_CLIENT,
    BINARY_PUBLISHED,
    BINARY_TO_CLIENT,
    CHUNKED,
    CLOSE_FROM_CLIENT,
    CODE,
    CODE_OF_DETACHED,
    CUT,
    HEADERS,
    NEGATIVE_LENGTH,
    OWN_CONTROL_API,
    PING_FROM_CLIENT,
    QUERY,
    QUERY_OF_PUBLISH,
    REFUSAL,
    SEVERAL,
    TEXT_SIZE,
    Row,
)
from .scenes import GRIP, Scene, control, controls, message, publish, publish_close, reply, subscribe, text

A = text(b"m:a")
LARGE = b"x" * 131_073


def opened(extensions: str, body: bytes) -> Scene:
    return reply(opening=b"OPEN\r\n" + body, opening_headers={"Sec-WebSocket-Extensions": extensions})


Table = dict[str, tuple[Scene, *tuple[Row, ...]]]

FRAMING: Table = {
    "no events": (reply(),),
    "upper case": (reply(b"TEXT 00A\r\nm:12345678\r\n"),),
    "0x": (reply(b"TEXT 0x3\r\nm:a\r\n"),),
    "plus": (reply(b"TEXT +3\r\nm:a\r\n"),),
    "blanks": (reply(b"TEXT  3 \r\nm:a\r\n"),),
    "short content": (reply(b"TEXT 9\r\nm:a\r\n"),),
    "no last line break": (reply(b"TEXT 3\r\nm:a"),),
    "half a line break": (reply(b"TEXT 3\r\nm:a\r"),),
    "no line break behind": (reply(b"TEXT 3\r\nm:aXXTEXT 3\r\nm:b\r\n"),),
    "LF alone": (reply(b"TEXT 3\nm:a\n", sent=("x",)), CUT),
    "no line break": (reply(b"TEXT", sent=("x",)), CUT),
    "second is broken": (reply(A + b"TEXT zz\r\nm:b\r\n", sent=("x",)), CUT),
    "second has no line break": (reply(A + b"TEXT 3", sent=("x",)), CUT),
    "no length": (reply(b"TEXT \r\n", sent=("x",)), CUT),
    "words for a length": (reply(b"TEXT 3 x\r\nm:a\r\n", sent=("x",)), CUT),
    "underscore": (reply(b"TEXT 0_3\r\nm:a\r\n", sent=("x",)), CUT),
    "huge length": (reply(b"TEXT fffffffff\r\nm:a\r\n", sent=("x",)), CUT),
    "negative length": (reply(b"TEXT -3\r\nm:a\r\n"), NEGATIVE_LENGTH),
    "lower type": (reply(b"text 3\r\nm:a\r\n"),),
    "unknown type": (reply(b"FOO 1\r\nx\r\n" + A),),
    "empty type": (reply(b"\r\n" + A),),
    "text without content": (reply(b"TEXT\r\n" + A),),
    "empty text": (reply(b"TEXT 0\r\n\r\n" + A),),
    "prefix alone": (reply(b"TEXT 2\r\nm:\r\n"),),
    "line break inside": (reply(text(b"m:a\r\nb")),),
    "not the prefix": (reply(text(b"a") + text(b"") + A),),
    "a megabyte of body": (reply(A + text(b"x" * 1_000_100), sent=("x",)), CUT),
    "100 KB": (reply(text(b"m:" + b"x" * 100_000), until="x" * 100_000),),
    "more than 128 KB": (reply(text(b"m:" + LARGE) + A, until="a"), TEXT_SIZE),
    "binary": (reply(text(b"m:a") + b"BINARY 3\r\nm:b\r\n" + text(b"m:c")), BINARY_TO_CLIENT),
    "binary c:": (reply(b'BINARY 12\r\nc:{"type":"detach"}\r\n' + A),),
    "ping": (reply(b"PING 3\r\nabc\r\nPONG\r\n" + A), BINARY_TO_CLIENT),
    "open again": (reply(b"OPEN\r\n", sent=("x",)), CUT),
    "open at the end": (reply(A + b"OPEN\r\n", sent=("x",)), CUT),
    "disconnect": (reply(A + b"DISCONNECT\r\n" + A, sent=("x",)), CUT),
    "close": (reply(A + b"CLOSE\r\n" + A, sent=("x",), closes=True),),
    "close 1000": (reply(b"CLOSE 2\r\n\x03\xe8\r\n", sent=("x",), closes=True),),
    "close 4000": (reply(b"CLOSE 2\r\n\x0f\xa0\r\n", sent=("x",), closes=True), CODE),
    "close with a reason": (reply(b"CLOSE 5\r\n\x0f\xa0bye\r\n", sent=("x",), closes=True), CODE),
    "close with a byte": (reply(b"CLOSE 1\r\nx\r\n", sent=("x",), closes=True),),
    "close with nothing": (reply(b"CLOSE 0\r\n\r\n", sent=("x",), closes=True),),
    "another status": (reply(A, 500, sent=("x",)), CUT),
    "status 204": (reply(b"", 204, sent=("x",)), CUT),
    "status 403": (reply(A, 403, sent=("x",)), CUT),
    "another type": (reply(A, sent=("x",), Content_Type="text/plain"), CUT),
    "a parameter of the type": (reply(A, sent=("x",), Content_Type=f"{CONTENT_TYPE}; a=b"), CUT),
    "gzip": (reply(gzip.compress(A), Content_Encoding="gzip"),),
    "deflate": (reply(zlib.compress(A), Content_Encoding="deflate"),),
    "no coding": (reply(A, Content_Encoding="identity"),),
    "unknown coding": (reply(A, sent=("x",), Content_Encoding="foo"), CUT),
    "broken gzip": (reply(A, sent=("x",), Content_Encoding="gzip"), CUT),
    "meta": (reply(A, Set_Meta_User="ada", Set_Meta_room_="a b"),),
    "empty meta": (
        reply(opening_headers={**GRIP, "Set-Meta-A": "1", "Set-Meta-B": "2"}, Set_Meta_a="", Set_meta_C="3"),
    ),
    "later extension": (reply(A, opening_headers={}, Sec_WebSocket_Extensions="grip"),),
}

HANDSHAKES: Table = {
    "texts follow": (reply(opening=b"OPEN\r\n" + A + text(b"m:b")),),
    "content": (reply(opening=b"OPEN 1\r\nx\r\n"),),
    "nothing": (reply(opening=b""),),
    "text first": (reply(opening=A + b"OPEN\r\n"),),
    "unknown first": (reply(opening=b"FOO\r\nOPEN\r\n"),),
    "broken": (reply(opening=b"OPEN\r\nTEXT zz\r\n"),),
    "no line break": (reply(opening=b"OPEN"),),
    "open twice": (reply(opening=b"OPEN\r\nOPEN\r\n", sent=()), CUT),
    "close follows": (reply(opening=b"OPEN\r\nCLOSE 2\r\n\x03\xe8\r\n", sent=(), closes=True),),
    "text and close follow": (reply(opening=b"OPEN\r\n" + A + b"CLOSE 2\r\n\x0f\xa0\r\n", sent=(), closes=True), CODE),
    "refused with 403": (reply(opening=b"no", opening_status=403, opening_headers={"Content-Type": "text/plain"}),),
    "refused with 503": (reply(opening_status=503, opening_headers={"X-Why": "busy"}), REFUSAL),
    "redirected": (reply(opening_status=302, opening_headers={"X-Location": "/other"}), REFUSAL),
    "created": (reply(opening_status=201), REFUSAL),
    "another type": (reply(opening_headers={"Content-Type": "text/plain"}), REFUSAL),
    "a parameter of the type": (reply(opening_headers={"Content-Type": f"{CONTENT_TYPE}; charset=utf-8"}), REFUSAL),
    "the type in capitals": (reply(opening_headers={"Content-Type": "Application/WebSocket-Events"}), REFUSAL),
    "a header": (reply(opening_headers={**GRIP, "X-A": "1"}), HEADERS),
    "meta is not shown": (reply(opening_headers={**GRIP, "Set-Meta-X-A": "1"}),),
    "subprotocol": (reply(opening_headers={**GRIP, "Sec-WebSocket-Protocol": "v2"}, protocols=("v1", "v2")),),
    "no subprotocol": (reply(protocols=("v1", "v2")),),
    "forged headers": (
        reply(
            handshake={
                "Grip-Sig": "x",
                "Grip-Feature": "x",
                "Meta-User": "x",
                "Connection-Id": "x",
                "Accept": "x/y",
                "Content-Encoding": "x",
                "Keep-Alive": "x",
            }
        ),
    ),
    "other headers": (
        reply(
            handshake={"Cookie": "a=1; b=2", "Authorization": "Bearer x", "Origin": "http://a.example", "X-A": "b c"}
        ),
    ),
    "no grip": (opened("", A + control(type="detach")),),
    "grip in capitals": (opened("GRIP", A),),
    "two extensions": (opened("foo, grip", A),),
    "a prefix": (opened('grip; message-prefix="p-"', text(b"p-a") + A),),
    "an empty prefix": (opened('grip; message-prefix=""', A + text(b"c:x")),),
    "an empty prefix without quotes": (opened("grip; message-prefix=", A),),
    "a prefix without a value": (opened("grip; message-prefix", A),),
    "escapes": (opened(r'grip; message-prefix="\"\\"', text(b'"\\a')),),
    "another parameter": (opened("grip;x=1;message-prefix=p", text(b"pa") + A),),
    "no end of quotes": (opened('grip; message-prefix="p', A),),
    "two prefixes": (opened("grip; message-prefix=a; message-prefix=m:", A),),
    "prefix in capitals": (opened("grip; Message-Prefix=pi", A),),
}

ADA = control(type="set-meta", name="user", value="ada")
SELF = subscribe("c", filters=["skip-self"])

CONTROLS: Table = {
    "subscribe": (controls(subscribe("c")),),
    "subscribe twice": (controls(subscribe("c"), subscribe("c")),),
    "blanks": (controls(text(b'c: {"type":"subscribe","channel":"c"} ')),),
    "words behind": (controls(text(b'c:{"type":"subscribe","channel":"c"} x')),),
    "byte order mark": (controls(text(b'c:\xef\xbb\xbf{"type":"subscribe","channel":"c"}')),),
    "a name twice": (controls(text(b'c:{"type":"subscribe","channel":"x","channel":"c"}')),),
    "a type in capitals": (controls(control(type="Subscribe", channel="c")),),
    "another field": (controls(subscribe("c", foo=1)),),
    "no channel": (controls(control(type="subscribe"), subscribe("")),),
    "a number for a channel": (controls(control(type="subscribe", channel=1)),),
    "a list": (controls(text(b'c:[{"type":"subscribe","channel":"c"}]')),),
    "nothing": (controls(text(b"c:"), subscribe("c")),),
    "not UTF-8": (controls(text(b'c:{"type":"subscribe","channel":"c","foo":"\xff"}')),),
    "filters of no list": (controls(subscribe("c", filters="x")),),
    "null for filters": (controls(subscribe("c", filters=None)),),
    "a number for a filter": (controls(subscribe("c", filters=["skip-self", 1])),),
    "16 KB": (controls(subscribe("c", foo="x" * 16_300)),),
    "more than 16 KB": (controls(subscribe("c", foo="x" * 16_400)),),
    "unsubscribe": (controls(subscribe("c"), control(type="unsubscribe", channel="c")),),
    "unsubscribe another": (controls(subscribe("c"), control(type="unsubscribe", channel="d")),),
    "unsubscribe, subscribe": (controls(subscribe("c"), control(type="unsubscribe", channel="c"), subscribe("c")),),
    "19 and PROBE": (controls(*(subscribe(str(number)) for number in range(18)), subscribe("c")),),
    "20 before": (
        controls(
            *(subscribe(str(number)) for number in range(20)),
            *(subscribe("c"), control(type="unsubscribe", channel="0")),
        ),
    ),
    "skip-self": (controls(ADA, SELF, meta={"sender": "ada"}),),
    "skip-self of another": (controls(ADA, SELF, meta={"sender": "bob"}),),
    "no filter": (controls(ADA, subscribe("c"), meta={"sender": "ada"}),),
    "filter is replaced": (controls(ADA, SELF, subscribe("c"), meta={"sender": "ada"}),),
    "filter comes later": (controls(ADA, subscribe("c"), SELF, meta={"sender": "ada"}),),
    "user comes later": (controls(SELF, ADA, meta={"sender": "ada"}),),
    "user is deleted": (controls(ADA, control(type="set-meta", name="user"), SELF, meta={"sender": "ada"}),),
    "user is empty": (controls(ADA, control(type="set-meta", name="user", value=""), SELF, meta={"sender": "ada"}),),
    "user is null": (controls(ADA, control(type="set-meta", name="user", value=None), SELF, meta={"sender": "ada"}),),
    "user is a number": (controls(ADA, control(type="set-meta", name="user", value=1), SELF, meta={"sender": "ada"}),),
    "user in capitals": (controls(control(type="set-meta", name="User", value="ada"), SELF, meta={"sender": "ada"}),),
    "skip-users": (controls(ADA, subscribe("c", filters=["skip-users"]), meta={"skip_users": "bob, ada"}),),
    "skip other users": (controls(ADA, subscribe("c", filters=["skip-users"]), meta={"skip_users": "bob,adam"}),),
    "require-sub": (controls(subscribe("c", filters=["require-sub"]), meta={"require_sub": "c"}),),
    "require-sub of nothing": (controls(subscribe("c", filters=["require-sub"]), meta={"require_sub": ""}),),
    "unknown filter": (controls(ADA, subscribe("c", filters=["foo"]), meta={"sender": "ada"}),),
    "skip-self of a close": (controls(ADA, SELF, meta={"sender": "ada"}, action="close"),),
    "session": (controls(control(type="session", id="1"), subscribe("c")),),
}


def ws(**fields: object) -> object:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return {"items": [{"channel": "c", "formats": {"ws-message": named}}]}


def items(*found: object) -> object:
    return {"items": found}


def item(**fields: object) -> object:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return items({"channel": "c", **named})


X = {"ws-message": {"content": "x"}}

PUBLISHED: list[object] = [
    *(b"{", b"[]", b"{}", b'{"items":{}}', b'{"items":[]}', b'{"items":[1]}', b'{"items":[{}]}', b"", b"nul"),
    *(b' {"items":[]} x', b'\xef\xbb\xbf{"items":[]}', b'{"items":[],"items":1}'),
    b'{"items":[{"channel":"\xff","ws-message":{"content":"x"}}]}',
    *(item(), item(channel=1), item(channel=""), item(id=1, formats={}), item(prev_id=1), item(formats={})),
    *(item(formats=[]), item(formats={"foo": {}}), item(foo={}), item(formats={"ws-message": 1}), item(**X)),
    *(item(ws_message="x"), ws(), ws(content=1), ws(content_bin=1), ws(content_bin="aGk=", type="text")),
    *(ws(type="foo", content="x"), ws(type=1, content="x"), ws(action="foo"), ws(action=1), ws(action="send")),
    *(ws(action="hint"), ws(action="send", content="x"), ws(content="", type="text"), ws(action="close", code=-1)),
    *(ws(action="close", code=4000, reason=1), item(meta=1, formats=X), item(meta={"a": 1}, formats=X)),
    *(item(size="x", formats=X), item(no_seq=1, formats=X), item(formats={"http-stream": {"content": "x"}})),
    *(item(formats={"http-stream": {}}), item(formats={"http-response": {}}), ws(content="x", content_filters="x")),
    *(ws(content="x", content_filters=[1]), ws(content="x", content_filters=[]), item(id=None, formats=X)),
    *(items(message("x"), {}), items(message("1"), message("2"), message("3")), items(message("x", "other"))),
    items(message("1", id="a"), message("2", id="a"), message("3", id="b"), message("4", "d", id="a")),
    items(message("1", id="e", prev_id="d"), message("2", id="f", prev_id="e"), message("3", prev_id="f")),
    ws(content="gr\u00fc\u00dfe \U0001f600 \r\n\0"),
    ws(content="x" * 100_000),
    b'{"items":[{"channel":"c","ws-message":{"content":"' + b"x" * 1_000_100 + b'"}}]}',
]

PUBLISHES: Table = {
    **{f"{body!r:.60}": (publish(body),) for body in PUBLISHED},
    **{
        f"Accept: {accept}": (publish(items(message("x")), b"{", headers={"Accept": accept}),)
        for accept in (
            *("application/json", "text/html", "text/*", "*/*", "application/*", "text/html, application/json;q=0.1"),
            *("text/plain, application/json", "application/json, text/plain", "", "TEXT/PLAIN"),
        )
    },
    "another Content-Type": (publish(items(message("x")), headers={"Content-Type": "text/plain"}),),
    "binary": (publish(ws(content_bin="aGk=")), BINARY_PUBLISHED),
    "binary by its type": (publish(ws(content="x", type="binary")), BINARY_PUBLISHED),
    "pong": (publish(ws(content="x", type="pong")), BINARY_PUBLISHED),
    "close": (publish_close(ws(action="close")), CODE),
    "close 4000": (publish_close(items(message("x")), ws(action="close", code=4000, reason="bye")), CODE),
}

CONVERSATIONS: Table = {
    "echo": (sends("hi", "", "gr\u00fc\u00dfe", 'c:{"type":"detach"}', "m:a", "a\r\nb", "\0", "x" * 30_000),),
    "a query": (query("?b=2&a=1&a=%2B&empty=&%C3%BC=%20x"),),
    "a query with a name twice": (query("?a=1&b=2&a=3"), QUERY),
    "headers twice": (headers_twice, SEVERAL),
    "close 1000": (closes_with(1000),),
    "close 4000": (closes_with(4000),),
    "close with a reason": (closes_with(4000, b"bye"),),
    "close 1001": (closes_with(1001),),
    "close without a code": (client_that(closes_without_code), CLOSE_FROM_CLIENT),
    "close with another code in reply": (closes_with(1000, reply=b"CLOSE 2\r\n\x0f\xa1\r\n"), CLOSE_FROM_CLIENT),
    "close with nothing in reply": (closes_with(1000, reply=b""), CLOSE_FROM_CLIENT),
    "close with a text in reply": (closes_with(1000, reply=A + b"CLOSE\r\n"), CLOSE_FROM_CLIENT),
    "vanish": (client_that(vanishes),),
    "ping": (client_that(pings), PING_FROM_CLIENT),
    "binary": (client_that(sends_binary), BINARY_FROM_CLIENT),
    "detach": (detaches(),),
    "detach, a text before": (detaches(A, subscribe("c")),),
    "detach, subscribe and text after": (detaches(after=subscribe("c") + A),),
    "detach twice": (detaches(subscribe("c"), after=control(type="detach")),),
    "detach, closed by a publish": (detached_and_closed, CODE_OF_DETACHED),
    "chunked publish": (publishes_in_chunks, CHUNKED),
    "a room": (a_room, CODE),
    "texts that wait": (texts_that_wait,),
    "methods": (requests(("GET", "publish/"), ("PUT", "publish"), ("OPTIONS", "publish/"), ("POST", "publish")),),
    "own control API": (requests(("GET", ""), ("POST", ""), ("POST", "publish//")), OWN_CONTROL_API),
    "a query behind publish": (requests(("POST", "publish/?a=1"), ("GET", "publish?a=1")), QUERY_OF_PUBLISH),
    "paths": (requests(("GET", "other"), ("GET", "publish//"), ("GET", "publish/x")),),
    "delayed": (controls(control(type="send-delayed", content="later", timeout=60), control(type="flush-delayed")),),
    "prev-id": (
        publish(
            items(message("1", id="p1")),
            items(message("3", id="p3", prev_id="p2")),
            items(message("2", id="p2", prev_id="p1")),
            until="3",
        ),
    ),
}

SCENES = {
    f"{kind}: {name}": each
    for kind, scenes in [
        ("framing", FRAMING),
        ("handshake", HANDSHAKES),
        ("control", CONTROLS),
        ("publish", PUBLISHES),
        ("conversation", CONVERSATIONS),
    ]
    for name, each in scenes.items()
}
