"""The dialect for publishers. The errors are Pushpin 1.36.0's, to the letter, where it is no limit of API Gateway's."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest

from slip_sockets.gateway.dialects import Batch, Performed
from slip_sockets.gateway.errors import ActionFailed, Unavailable
from slip_sockets.gateway.values import ChannelClose, HttpRequest, HttpResponse, Link, Publication
from slip_sockets.grip.filters import excluded
from slip_sockets.grip.publish import GripPublish
from slip_sockets.grip.tokens import grip_sig, grip_url
from slip_sockets.protocol.errors import InvalidEvents, InvalidToken
from slip_sockets.protocol.events import CloseChannel
from slip_sockets.protocol.tokens import mint

from ..gateway.doubles import SECRET, START

GRIP = GripPublish()
OTHER = "another-secret-of-more-than-32-bytes"
TEXT = {"ws-message": {"content": "hi"}}


def request(
    body: object = b'{"items":[]}', method: str = "POST", path: str = "/publish/", **headers: str
) -> HttpRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpRequest(headers, lambda: data, method, path)


def items(*listed: object) -> dict[str, object]:
    return {"items": listed}


def message(**fields: object) -> dict[str, object]:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return items({"channel": "c", "formats": {"ws-message": named}})


def refused(call: HttpRequest) -> HttpResponse:
    """Return the response to a request that cannot be decoded."""
    with pytest.raises(InvalidEvents) as error:
        GRIP.decode(call)
    return GRIP.respond(call, error.value)


# What is published


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (items(), []),
        (items({"channel": "c", "formats": TEXT}), [Publication("c", "hi", link=Link())]),
        (items({"channel": "c", **TEXT}), [Publication("c", "hi", link=Link())]),
        (
            items({"channel": "c", "id": "1", "meta": {"a": "b"}, "size": "x", **TEXT}),
            [Publication("c", "hi", "1", link=Link("1"), id_for_s=60)],
        ),
        (items({"channel": "c", "id": "", **TEXT}), [Publication("c", "hi", link=Link())]),
        (message(content=""), [Publication("c", "", link=Link())]),
        (message(content="hi", type="text", action="send"), [Publication("c", "hi", link=Link())]),
        (message(content_bin="aGk=", type="text", content="not this"), [Publication("c", "hi", link=Link())]),
        (message(content="hi", content_filters=[]), [Publication("c", "hi", link=Link(), content_filters=())]),
        (
            message(content="hi", content_filters=["var-subst"]),
            [Publication("c", "hi", link=Link(), is_filtered=True, content_filters=("var-subst",))],
        ),
        (message(action="close"), [ChannelClose("c", link=Link())]),
        (message(action="close", code=1000, reason="x"), [ChannelClose("c", link=Link())]),
        (message(action="close", code="x"), [ChannelClose("c", link=Link())]),
        (message(action="hint"), []),
        (items({"channel": "c", "formats": {"foo": {}}}), []),
        (items({"channel": "c", "formats": {"http-stream": {"content": "x"}, "http-response": {"body": ""}}}), []),
        (items({"channel": "c", "formats": {"http-stream": {"action": "close"}}}), []),
        (
            items(
                {"channel": "b", **TEXT}, {"channel": "a", **TEXT}, {"channel": "b", "ws-message": {"action": "close"}}
            ),
            [Publication("b", "hi", link=Link()), Publication("a", "hi", link=Link()), ChannelClose("b", link=Link())],
        ),
    ],
)
def test_items_become_events_in_order(body: object, events: list[object]) -> None:
    assert GRIP.decode(request(body)) == Batch(events, [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "link"),
    [
        ({"prev-id": "1"}, Link(None, "1")),
        ({"id": "2", "prev-id": "1"}, Link("2", "1")),
        ({"id": "", "prev-id": ""}, Link()),
        ({"id": "2", "prev-id": "1", "no-seq": False}, Link("2", "1")),
        ({"id": "2", "prev-id": "1", "no-seq": True}, None),
    ],
)
def test_items_have_their_place_in_the_sequence(fields: dict[str, object], link: Link | None) -> None:
    close = {"ws-message": {"action": "close"}}
    events = GRIP.decode(request(items(*({"channel": "c", **fields, **each} for each in (TEXT, close))))).events
    id_ = str(fields.get("id", "")) or None
    publication = Publication("c", "hi", id_, link=link, id_for_s=60 if id_ else None)
    assert events == [publication, ChannelClose("c", (), link)]


def test_items_leave_out_those_that_their_meta_is_about() -> None:
    meta = {"sender": "ada", "skip_users": "bob, eve"}
    close = {"channel": "c", "meta": meta, "ws-message": {"action": "close"}}
    assert GRIP.decode(request(items({"channel": "c", "meta": meta, **TEXT}, close))).events == [
        Publication("c", "hi", except_for=excluded("c", meta), link=Link()),
        ChannelClose("c", excluded("c", meta), Link()),
    ]
    assert len(excluded("c", meta)) == 3


def test_long_id_is_shortened_and_stays_its_own() -> None:
    ids = [GRIP.decode(request(items({"channel": "c", "id": id_, **TEXT}))).events[0] for id_ in ("a" * 999, "b" * 999)]
    assert [len(event.id or "") for event in ids if isinstance(event, Publication)] == [64, 64]
    assert ids[0] != ids[1]
    (after,) = GRIP.decode(request(items({"channel": "c", "prev-id": "a" * 999, **TEXT}))).events
    assert isinstance(after, Publication)
    assert after.link == Link(None, ids[0].id)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "events", "skipped"),
    [
        (message(action="close", code=4000), [ChannelClose("c", link=Link())], "the code of a close: clients see 1000"),
    ],
)
def test_what_cannot_be_done_is_noted(body: object, events: list[object], skipped: str) -> None:
    assert GRIP.decode(request(body)) == Batch(events, [skipped])  # type: ignore[arg-type]


_ITEM = "publish item object"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "Body is not valid JSON."),
        (b"", "Body is not valid JSON."),
        (b"nul", "Body is not valid JSON."),
        (b' {"items":[]} x', "Body is not valid JSON."),
        (b'{"items":[{"channel":"\xff","ws-message":{"content":"x"}}]}', "Body is not valid JSON."),
        (b"[" * 100_000, "Body is not valid JSON."),
        ([], "Invalid format."),
        ({}, "Invalid format: object does not contain 'items'"),
        ({"items": {}}, "Invalid format: object contains 'items' with wrong type"),
        (b'{"items":[],"items":1}', "Invalid format: object contains 'items' with wrong type"),
        (items(1), f"Invalid format: {_ITEM} is not an object"),
        (items({}), f"Invalid format: {_ITEM} does not contain 'channel'"),
        (items({"channel": "c", **TEXT}, {}), f"Invalid format: {_ITEM} does not contain 'channel'"),
        (items({"channel": 1}), f"Invalid format: {_ITEM} contains 'channel' with wrong type"),
        (items({"channel": "c", "id": 1, "formats": {}}), f"Invalid format: {_ITEM} contains 'id' with wrong type"),
        (items({"channel": "c", "id": None, **TEXT}), f"Invalid format: {_ITEM} contains 'id' with wrong type"),
        (items({"channel": "c", "prev-id": 1}), f"Invalid format: {_ITEM} contains 'prev-id' with wrong type"),
        (items({"channel": "c", "formats": []}), f"Invalid format: {_ITEM} contains 'formats' with wrong type"),
        (items({"channel": "c", "meta": 1, **TEXT}), f"Invalid format: {_ITEM} contains 'meta' with wrong type"),
        (items({"channel": "c", "meta": {"a": 1}, **TEXT}), "Invalid format: 'meta' contains 'a' with wrong type"),
        (items({"channel": "c", "no-seq": 1, **TEXT}), f"Invalid format: {_ITEM} contains 'no-seq' with wrong type"),
        (items({"channel": "c"}), "Invalid format: no formats specified"),
        (items({"channel": "c", "foo": {}}), "Invalid format: no formats specified"),
        (items({"channel": "c", "formats": {}}), "Invalid format: no formats specified"),
        (items({"channel": "c", "ws-message": "x"}), "Invalid format: 'ws-message' is not an object"),
        (message(), "Invalid format: 'ws-message' does not contain 'content' or 'content-bin'"),
        (message(action="send"), "Invalid format: 'ws-message' does not contain 'content' or 'content-bin'"),
        (message(content=1), "Invalid format: 'ws-message' contains 'content' with wrong type"),
        (message(content_bin=1), "Invalid format: 'ws-message' contains 'content-bin' with wrong type"),
        (message(type="foo", content="x"), "Invalid format: 'ws-message' contains 'type' with unknown value"),
        (message(type=1, content="x"), "Invalid format: 'ws-message' contains 'type' with wrong type"),
        (message(action="foo"), "Invalid format: "),
        (message(action=1), "Invalid format: 'ws-message' contains 'action' with wrong type"),
        (message(action="close", code=-1), "Invalid format: 'ws-message' contains 'code' with invalid value"),
        (message(action="close", reason=1), "Invalid format: 'ws-message' contains 'reason' with wrong type"),
        (
            message(content="", content_filters="x"),
            "Invalid format: 'ws-message' contains 'content-filters' with wrong type",
        ),
        (message(content="", content_filters=[1]), "Invalid format: content-filters contains element with wrong type"),
        (
            items({"channel": "c", "http-stream": {}}),
            "Invalid format: 'http-stream' does not contain 'content' or 'content-bin'",
        ),
        (
            items({"channel": "c", "http-response": {}}),
            "Invalid format: 'http-response' does not contain 'body', 'body-bin', or 'body-patch'",
        ),
        # Of API Gateway alone:
        (message(type="ping"), "Invalid format: 'ws-message' is of type ping; API Gateway sends texts only"),
        (
            message(type="pong", content="x"),
            "Invalid format: 'ws-message' is of type pong; API Gateway sends texts only",
        ),
        (message(content_bin="aGk="), "Invalid format: 'ws-message' is of type binary; API Gateway sends texts only"),
        (
            message(content_bin="#", type="text"),
            "Invalid format: 'ws-message' contains 'content-bin' that is not text in base64",
        ),
        (
            message(content="x" * 131_073),
            f"Invalid format: {_ITEM}: data: PUBLISH_TEXT needs at most 131072 bytes of UTF-8, got 131073",
        ),
        (
            items({"channel": "", **TEXT}),
            f"Invalid format: {_ITEM}: channelId: PUBLISH_TEXT needs 1 to 1024 bytes of UTF-8, got 0",
        ),
    ],
)
def test_one_bad_item_refuses_the_whole_request_with_its_text(body: object, text: str) -> None:
    assert refused(request(body)) == HttpResponse(400, {"Content-Type": "text/plain"}, f"{text}\n".encode())


def test_a_body_of_more_than_a_megabyte_is_refused() -> None:
    assert refused(request(b" " * 1_000_001)).status == 400


def test_a_byte_order_mark_is_skipped() -> None:
    assert GRIP.decode(request(b'\xef\xbb\xbf{"items":[]}')) == Batch([], [])


# Requests and responses


@pytest.mark.parametrize("path", ["/publish/", "/publish", "/control/publish/", "/a/b/publish"])
def test_path_that_ends_in_publish_is_taken(path: str) -> None:
    assert GRIP.decode(request(path=path)) == Batch([], [])


@pytest.mark.parametrize("path", ["/", "", "/control", "/publish//", "/publish/x", "/xpublish/", "/control/unpublish"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_other_paths_are_not_found(path: str, method: str) -> None:
    assert refused(request(path=path, method=method)) == HttpResponse(
        404, {"Content-Type": "text/plain"}, b"Not Found\n"
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_not_allowed(method: str) -> None:
    assert refused(request(method=method)) == HttpResponse(
        405, {"Content-Type": "text/plain", "Allow": "POST"}, f"Method not allowed: {method}.\n".encode()
    )


@pytest.mark.parametrize("accept", ["text/html", "", "TEXT/PLAIN", "image/*"])
def test_other_types_of_responses_are_not_acceptable(accept: str) -> None:
    assert refused(request(b"{", accept=accept)) == HttpResponse(
        406,
        {"Content-Type": "text/plain"},
        b"Not Acceptable. Supported formats are text/plain and application/json.\n",
    )


@pytest.mark.parametrize(
    ("headers", "is_json"),
    [
        ({}, False),
        ({"accept": "*/*"}, False),
        ({"accept": "text/*"}, False),
        ({"accept": "application/json"}, True),
        ({"accept": "application/*"}, True),
        ({"accept": "text/html, application/json;q=0.1"}, True),
        ({"accept": "text/plain, application/json"}, True),
        ({"accept": "application/json, text/plain"}, False),
    ],
)
def test_response_is_of_the_last_type_that_is_accepted(headers: dict[str, str], is_json: bool) -> None:
    expected = (
        HttpResponse(200, {"Content-Type": "application/json"}, b'{"message":"Published"}\n')
        if is_json
        else HttpResponse(200, {"Content-Type": "text/plain"}, b"Published\n")
    )
    assert GRIP.respond(request(**headers), Performed([])) == expected


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (InvalidToken("x"), 403, b"Invalid token\n"),
        (Unavailable("the table is away"), 503, b"Not published: the table is away\n"),
        (
            ActionFailed(1, CloseChannel("c"), Unavailable("the table is away")),
            503,
            b"Not published: events[1]: CLOSE_CHANNEL failed: the table is away\n",
        ),
    ],
)
def test_errors_are_text(error: Any, status: int, body: bytes) -> None:
    assert GRIP.respond(request(), error) == HttpResponse(status, {"Content-Type": "text/plain"}, body)


# Tokens


def token(secret: str | bytes = SECRET, /, **claims: object) -> str:
    return jwt.encode({"iss": "slip-sockets", "exp": int(time.time()) + 600, **claims}, secret, "HS256")


def authorize(authorization: str, *secrets: str) -> None:
    GRIP.authorize(request(authorization=authorization), secrets or (SECRET,))


def test_publisher_with_a_token_or_the_key_itself_is_let_in() -> None:
    for secret in (SECRET, OTHER):
        authorize(f"Bearer {token(secret)}", SECRET, OTHER)
        authorize(f"bearer {token(secret)}", SECRET, OTHER)
        authorize(f"Bearer {secret}", SECRET, OTHER)


def test_key_may_be_base64() -> None:
    key = bytes(range(32))
    secret = "base64:" + base64.b64encode(key).decode()
    authorize(f"Bearer {token(key)}", secret)
    authorize(f"Bearer {secret}", secret)
    assert jwt.decode(grip_sig(secret, time.time()), key, ["HS256"])["iss"] == "slip-sockets-gateway"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic eDp5",
        "Bearer",
        "Bearer x",
        f"Bearer {SECRET}x",
        f"Bearer {token(OTHER)}",
        f"Bearer {token(exp=1)}",
        f"Bearer {jwt.encode({'iss': 'slip-sockets'}, SECRET, 'HS256')}",
        f"Bearer {jwt.encode({'exp': 4_000_000_000}, SECRET, 'HS256')}",
        f"Bearer {token(iss='other')}",
        f"Bearer {token(aud='x')}",
        f"Bearer {jwt.encode({'iss': 'slip-sockets', 'exp': 4_000_000_000}, '', 'none')}",
        f"Bearer {mint('ControlEvent', SECRET)}",
        f"Bearer {grip_sig(SECRET, 4_000_000_000)}",
    ],
)
def test_anybody_else_is_refused(authorization: str) -> None:
    with pytest.raises(InvalidToken):
        authorize(authorization)


def test_grip_sig_is_made_once_a_second() -> None:
    assert grip_sig(SECRET, START) == grip_sig(SECRET, START + 0.9) != grip_sig(SECRET, START + 1)


def test_grip_url_has_the_key_only_where_it_is_given() -> None:
    assert (
        grip_url("https://a.example/x", "k&+")
        == "https://a.example/x?iss=slip-sockets&verify-iss=slip-sockets-gateway&key=k%26%2B"
    )
    assert grip_url("https://a.example") == "https://a.example?iss=slip-sockets&verify-iss=slip-sockets-gateway"
