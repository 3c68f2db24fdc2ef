"""The check over backends that speak GRIP: a good one passes, and each fault of a broken one is named."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from slip_sockets.check.judge import Level
from slip_sockets.check.play import CheckSettings, Result, play
from slip_sockets.dialects import Dialect
from slip_sockets.grip.framing import CONTENT_TYPE, Event

from ..grip.backend import GripScript, Post, Script, reply, text
from .backends import SECRET, taking
from .backends import serving as serving_slip
from .test_command import PAGE, run

SUBSCRIBE = text('c:{"type":"subscribe","channel":"lobby"}')
Respond = Callable[[Post], web.Response]


def is_signed(post: Post) -> bool:
    try:
        jwt.decode(post.headers.get("Grip-Sig", ""), SECRET, ["HS256"], options={"require": ["exp"]})
    except jwt.InvalidTokenError:
        return False
    return True


async def good(post: Post) -> web.Response:
    if not is_signed(post):
        return web.Response(status=403)
    match post.events[0].type:
        case "OPEN":
            response = reply(Event("OPEN"), SUBSCRIBE, Sec_WebSocket_Extensions="grip", Set_Meta_Count="0")
            if offered := post.headers.get("Sec-WebSocket-Protocol"):
                response.headers["Sec-WebSocket-Protocol"] = offered.partition(",")[0]
            return response
        case "TEXT":
            count = str(int(post.headers["Meta-Count"]) + len(post.texts))
            return reply(*(text(f"m:{each}") for each in post.texts), Set_Meta_Count=count)
        case _:
            return reply(*(event for event in post.events if event.type == "CLOSE"))


def but(kind: str, respond: Respond) -> Script:
    """A good backend but for its responses to requests that begin with this event."""

    async def script(post: Post) -> web.Response:
        return respond(post) if post.events[0].type == kind and is_signed(post) else await good(post)

    return script


async def results(script: Script, **settings: Any) -> dict[str, Result]:
    async with GripScript(script) as backend:
        return await results_at(backend.url, **settings)


async def results_at(url: str, **settings: Any) -> dict[str, Result]:
    checked = CheckSettings(url, SECRET, slow_s=60.0, dialect=Dialect.GRIP, **settings)
    return {result.name: result async for result in play(checked)}


def findings(results: dict[str, Result], level: Level) -> dict[str, str]:
    return {name: result.verdict.finding for name, result in results.items() if result.verdict.level is level}


async def test_a_good_backend_is_right_in_everything() -> None:
    found = await results(good)
    assert len(found) > 30
    assert [result for result in found.values() if result.verdict.level is not Level.RIGHT] == []


async def test_requests_are_the_gateways() -> None:
    posts: list[Post] = []

    async def script(post: Post) -> web.Response:
        posts.append(post)
        return await good(post)

    await results(script, query={"room": ["tea"]}, headers={"Cookie": "session=1"})
    opened, several = posts[0], next(post for post in posts if len(post.events) == 3)
    assert opened.events == [Event("OPEN")]
    assert {post.target for post in posts if post.connection_id == opened.connection_id} == {"/ws?room=tea"}
    assert opened.headers["Sec-WebSocket-Extensions"] == "grip"
    assert opened.headers["Accept"] == opened.headers["Content-Type"] == CONTENT_TYPE
    assert several.events == [Event("TEXT", b"one"), Event("TEXT"), Event("TEXT", b"three")]
    assert several.headers["Cookie"] == "session=1"
    assert [post.events[0] for post in posts if post.events[0].type in ("CLOSE", "DISCONNECT")] == [
        Event("CLOSE", b"\x03\xe8"),
        Event("CLOSE", b"\x13\x87" + "\N{HOT BEVERAGE}".encode() * 41),
        Event("CLOSE"),
        Event("DISCONNECT"),
    ]


async def test_meta_comes_back_with_each_later_request() -> None:
    counts: list[int] = []

    async def script(post: Post) -> web.Response:
        if post.events[0].type == "TEXT" and is_signed(post):
            counts.append(int(post.headers["Meta-Count"]))
        return await good(post)

    await results(script)
    assert counts == sorted(set(counts))
    assert len(counts) > 10


@pytest.mark.parametrize(
    ("respond", "finding", "fix"),
    [
        (
            lambda _: web.Response(body=b"OPEN\r\n", headers={"Content-Type": f"{CONTENT_TYPE}; charset=utf-8"}),
            "responded with a Content-Type other than application/websocket-events: the client is refused",
            "Set Content-Type to exactly application/websocket-events",
        ),
        (lambda _: reply(), "responded with no OPEN at the beginning: the client is refused", "Begin the reply to"),
        (
            lambda _: reply(SUBSCRIBE, Event("OPEN")),
            "responded with no OPEN at the beginning: the client is refused",
            "Begin the reply to OPEN with OPEN",
        ),
        (
            lambda _: web.Response(body=b"OPEN\r\nTEXT five\r\nhello\r\n", headers={"Content-Type": CONTENT_TYPE}),
            "responded with broken framing: events[1]: its length is not a hexadecimal number: the client is refused",
            "Each event is TYPE CRLF",
        ),
        (
            lambda _: reply(Event("OPEN"), Event("OPEN"), Sec_WebSocket_Extensions="grip"),
            "sent OPEN twice: the client is let in, and cut at once",
            "Send one OPEN",
        ),
        (
            lambda _: reply(Event("OPEN"), Sec_WebSocket_Protocol="chat"),
            "chose the subprotocol 'chat', which the client did not offer: browsers close the socket",
            "Choose one of",
        ),
        (
            lambda _: web.Response(body=b"\x1b\x0e\x00\xf8", headers={"Content-Encoding": "br"}),
            "responded with 200 and a body with Content-Encoding br, which was not asked for: the client is refused",
            "The gateway accepts gzip and deflate",
        ),
        (
            lambda _: web.Response(text="<!doctype html><title>Welcome</title>", content_type="text/html"),
            "responded with 200 and a page of HTML instead of events: the client is refused",
            "Point TARGET_URL at the route",
        ),
        (
            lambda _: web.Response(status=400, text="Bad host"),
            "responded with 400 (Bad host): the client is refused",
            "Does it accept the header Host",
        ),
        (
            lambda _: web.Response(status=403, text="no"),
            "responded with 403 (no): the client is refused",
            "The Grip-Sig is right. Has the backend's GRIP_URL JWT_SECRET as its key",
        ),
        (lambda _: web.Response(status=404), "responded with 404: the client is refused", "There is no such route"),
        (
            lambda _: web.Response(status=307, headers={"Location": "https://x.example/ws"}),
            "redirects, with 307, to https://x.example/ws (https instead of http, another host): the client is refused",
            "The gateway follows no redirect",
        ),
        (lambda _: web.Response(status=500), "responded with 500: the client is refused", "See the backend's log"),
        (
            lambda _: web.Response(status=204),
            "responded with 204: the client is refused",
            "To refuse a client, respond with 403",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_reason_why_a_client_is_not_let_in_is_named(respond: Respond, finding: str, fix: str) -> None:
    found = await results(but("OPEN", respond))
    verdict = found["open"].verdict
    assert (verdict.level, verdict.finding) == (Level.WRONG, finding)
    assert verdict.fix.startswith(fix)
    assert found["text-plain"].verdict.level is Level.SKIPPED


@pytest.mark.parametrize(
    ("respond", "finding", "fix"),
    [
        (
            lambda _: reply(Event("OPEN")),
            "let in, without GRIP: it can subscribe to no channel, and c: and m: go to the client as they are",
            "Respond to OPEN with the header Sec-WebSocket-Extensions: grip",
        ),
        (
            lambda _: reply(Event("OPEN"), text("welcome"), Sec_WebSocket_Extensions="grip"),
            "sent a text without the prefix 'm:', which is ignored",
            "Begin each text for a client with the prefix, as send()",
        ),
        (
            lambda _: reply(Event("OPEN"), text('c:{"type":"subscribe"}'), Sec_WebSocket_Extensions="grip"),
            'sent the control message \'c:{"type":"subscribe"}\', which is ignored',
            "See docs/grip.md",
        ),
        (
            lambda _: reply(Event("OPEN"), text("c:subscribe lobby"), Sec_WebSocket_Extensions="grip"),
            "sent the control message 'c:subscribe lobby', which is ignored",
            "See docs/grip.md",
        ),
        (
            lambda _: reply(Event("OPEN"), Event("WAVE"), Sec_WebSocket_Extensions="grip"),
            "sent an event of the unknown type 'WAVE', which is ignored",
            "See docs/grip.md",
        ),
        (
            lambda _: reply(Event("OPEN"), Event("PING"), Sec_WebSocket_Extensions="grip"),
            "asks for what API Gateway cannot do: PING: API Gateway sends texts only",
            "docs/grip.md has a table",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_has_no_effect_is_a_warning(respond: Respond, finding: str, fix: str) -> None:
    found = await results(but("OPEN", respond), groups=())
    verdict = found["open"].verdict
    assert (verdict.level, verdict.finding) == (Level.WARNING, finding)
    assert verdict.fix.startswith(fix)


async def test_subprotocol_is_reported() -> None:
    assert (await results(good))["open-subprotocols"].verdict.finding == "let in, with subprotocol check.v2"


async def test_odd_clients_may_be_refused() -> None:
    async def script(post: Post) -> web.Response:
        return web.Response(status=403) if post.target != "/ws" else await good(post)

    found = await results(script)
    assert found["open-query"].verdict.finding == "refused with 403, as is allowed"
    assert findings(found, Level.WRONG) == {}


@pytest.mark.parametrize(
    ("respond", "finding"),
    [
        (
            lambda _: web.Response(status=500),
            "responded with 500: the connection is closed, and your backend is not notified",
        ),
        (
            lambda _: reply(Event("OPEN")),
            "responded with OPEN to a connection that is open: "
            "the connection is closed, and your backend is not notified",
        ),
        (
            lambda _: reply(text("x" * 1_000_000)),
            "responded with more than 1000000 bytes: the connection is closed, and your backend is not notified",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_invalid_response_to_a_text_is_named(respond: Respond, finding: str) -> None:
    wrong = findings(await results(but("TEXT", respond)), Level.WRONG)
    assert wrong["text-plain"] == wrong["text-empty"] == wrong["text-several"] == finding
    assert not {name for name in wrong if not name.startswith("text-")}


async def test_texts_that_are_read_one_for_each_request_are_noticed() -> None:
    def first_alone(post: Post) -> web.Response:
        return web.Response(status=500) if len(post.events) > 1 else reply(text(f"m:{post.texts[0]}"))

    found = await results(but("TEXT", first_alone))
    assert set(findings(found, Level.WRONG)) == {"text-several"}
    assert found["text-several"].hint.startswith("Texts that wait come in one request")


async def test_backend_that_wants_to_be_called_without_events_must_reply_to_that() -> None:
    def reply_to_open(post: Post) -> web.Response:
        return reply(Event("OPEN"), Sec_WebSocket_Extensions="grip", Set_Meta_Count="0", Keep_Alive_Interval="30")

    async def script(post: Post) -> web.Response:
        if not post.events:
            return web.Response(status=500)
        return await but("OPEN", reply_to_open)(post)

    then = "the connection is closed, and your backend is not notified"
    found = await results(script)
    assert findings(found, Level.WRONG) == {"text-none": f"responded with 500: {then}"}
    assert "text-none" not in await results(good)


async def test_clients_that_can_send_control_messages_are_noticed() -> None:
    found = await results(but("TEXT", lambda post: reply(*map(text, post.texts))))
    assert findings(found, Level.WRONG) == {
        "text-control": "sends a client's text back without a prefix, so that clients can send it control messages"
    }
    assert findings(found, Level.WARNING)["text-plain"] == "sent a text without the prefix 'm:', which is ignored"


async def test_backend_that_does_not_reply_with_close_is_a_warning() -> None:
    found = await results(but("CLOSE", lambda _: reply()))
    finding = "does not reply with CLOSE: behind Pushpin, the client is cut without a close frame"
    assert findings(found, Level.WARNING) == dict.fromkeys(("close-plain", "close-reason", "close-no-code"), finding)
    assert findings(found, Level.WRONG) == {}


async def test_error_on_close_is_named() -> None:
    wrong = findings(await results(but("CLOSE", lambda _: web.Response(status=503))), Level.WRONG)
    then = "the gateway does not repeat it, so your backend may miss that the client has left"
    assert wrong == dict.fromkeys(("close-plain", "close-reason", "close-no-code"), f"responded with 503: {then}")


async def test_error_on_disconnect_is_a_warning_with_a_hint() -> None:
    found = await results(but("DISCONNECT", lambda _: web.Response(status=500)))
    assert set(findings(found, Level.WARNING)) == {"disconnect"}
    assert found["disconnect"].hint == "recv() of the libraries raises an error for DISCONNECT: catch it"


async def test_backend_that_accepts_any_signature_is_a_warning() -> None:
    valid = jwt.encode({"exp": 2**40}, SECRET)

    async def script(post: Post) -> web.Response:
        headers = CIMultiDict(post.headers)
        headers["Grip-Sig"] = valid
        return await good(replace(post, headers=CIMultiDictProxy(headers)))

    found = await results(script)
    names = ("missing-open", "missing-text", "wrong-key-open", "wrong-key-text", "none-open", "expired-open")
    finding = "accepted: whoever reaches the backend can pretend to be the gateway"
    expected = dict.fromkeys((*(f"token-{name}" for name in names), "token-garbage-open"), finding)
    assert findings(found, Level.WARNING) == expected
    assert "request.grip.signed (django-grip)" in found["token-missing-open"].verdict.fix


@pytest.mark.parametrize("is_chunked", [True, False])
@pytest.mark.parametrize("is_compressed", [True, False])
async def test_chunked_and_compressed_responses_are_right(is_chunked: bool, is_compressed: bool) -> None:
    async def script(post: Post) -> web.Response:
        response = await good(post)
        if is_compressed and isinstance(response.body, bytes):
            response.body = gzip.compress(response.body)
            response.headers["Content-Encoding"] = "gzip"
        if is_chunked:
            response.enable_chunked_encoding()
        return response

    found = await results(script)
    assert findings(found, Level.WRONG) == findings(found, Level.WARNING) == {}


async def test_backend_that_speaks_slip_is_recognized() -> None:
    async with serving_slip(taking()) as url:
        verdict = (await results_at(url))["open"].verdict
    assert "as backends do that speak SLIP: the client is refused" in verdict.finding
    assert verdict.fix == "Leave out --protocol grip, and BACKEND_PROTOCOL"


@pytest.mark.parametrize(("options", "environment"), [(("--protocol", "grip"), {}), ((), {"BACKEND_PROTOCOL": "grip"})])
async def test_command_shows_what_is_wrong_with_its_fix(options: tuple[str, ...], environment: dict[str, str]) -> None:
    async with GripScript(but("TEXT", lambda post: reply(*map(text, post.texts)))) as backend:
        result = await run(backend.url, "--slow", "60", *options, environment={"JWT_SECRET": SECRET, **environment})
    assert (result.exit_code, result.stderr) == (1, "")
    (shown,) = re.findall(
        r"^```text\n(  . what looks like a control message\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
    assert shown in result.stdout
    assert result.stdout.endswith(" 18 warnings, 1 wrong.\n")
