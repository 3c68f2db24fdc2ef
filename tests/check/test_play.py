"""The check over real backends: a good one passes, and each fault of a broken one is named.

Longer than 400 lines, since it is one list of faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from slip_sockets import Close, Connection
from slip_sockets.check.cases import CLOSING, OPENING, TOKENS
from slip_sockets.check.judge import Level
from slip_sockets.check.play import CannotRun, CheckSettings, Result, play

from .backends import SECRET, Handler, act, always, answering, break_off, events, never, serving, taking


async def results(handler: Handler, **settings: Any) -> dict[str, Result]:
    async with serving(handler) as url:
        return await results_at(url, **settings)


async def results_at(url: str, **settings: Any) -> dict[str, Result]:
    options: dict[str, Any] = {"jwt_secret": SECRET, "slow_s": 60.0} | settings
    return {result.name: result async for result in play(CheckSettings(url, **options))}


def named(results: Mapping[str, Result], level: Level) -> dict[str, str]:
    return {name: result.verdict.finding for name, result in results.items() if result.verdict.level is level}


async def test_a_good_backend_is_right_in_everything() -> None:
    found = await results(taking())
    assert len(found) > 50
    assert [result for result in found.values() if result.verdict.level is not Level.RIGHT] == []


async def test_later_events_bring_the_user_that_accept_named() -> None:
    users: dict[str, set[str | None]] = {"Open": set(), "Text": set(), "Close": set()}

    def do(connection: Connection) -> None:
        if connection.is_opening:
            connection.accept(user="ann")
        for event in connection.events:
            users[type(event).__name__].add(connection.user)

    found = await results(taking(do))
    assert found["open"].verdict.finding == "let in, as ann"
    assert [result for result in found.values() if result.verdict.level is not Level.RIGHT] == []
    assert users == {"Open": {None}, "Text": {"ann", None}, "Close": {"ann", None}}


async def test_a_user_named_like_the_connection_is_named() -> None:
    def do(connection: Connection) -> None:
        act(connection)
        if connection.is_opening:
            connection.accept(user=connection.connection_id)

    found = (await results(taking(do), groups={OPENING}))["open"].verdict
    assert found.finding == (
        "responded with a body that is not valid: user: ACCEPT needs a name that no connection id has: the client is "
        "refused"
    )
    assert found.fix == "Name a user by an id of your application, not by the connection's"


async def test_of_chosen_groups_and_the_first_case_alone_are_played() -> None:
    found = await results(taking(), groups={TOKENS, CLOSING})
    assert [result.name for result in found.values() if result.group not in (TOKENS, CLOSING)] == ["open"]
    assert {result.group for result in found.values()} == {OPENING, TOKENS, CLOSING}


async def test_a_backend_that_takes_any_token_fails_for_each_bad_one() -> None:
    wrong = named(await results(taking(is_checking=False)), Level.WRONG)
    forged = "accepted, with 200: anybody can pretend to be the gateway"
    on_each = {f"token-{name}-{kind}" for name in ("missing", "wrong-key") for kind in ("open", "text", "close")}
    kinds = ("none", "wrong-audience", "wrong-issuer", "expired", "no-expiry", "no-audience", "garbage", "basic")
    assert wrong == dict.fromkeys(on_each | {f"token-{name}-open" for name in kinds}, forged)


async def test_a_token_that_is_checked_on_open_alone_is_noticed() -> None:
    good, lax = taking(), taking(is_checking=False)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await (good if b'"OPEN"' in await request.read() else lax)(request)

    wrong = named(await results(handle), Level.WRONG)
    assert set(wrong) == {f"token-{name}-{kind}" for name in ("missing", "wrong-key") for kind in ("text", "close")}


@pytest.mark.parametrize(
    ("handler", "finding", "fix"),
    [
        (
            always(text="<!doctype html><title>Welcome</title>", content_type="text/html"),
            "responded with 200 and a page of HTML instead of events: the client is refused",
            "Point TARGET_URL at the route",
        ),
        (
            always(status=404, text="no page\n here"),
            "responded with 404 (no page here): the client is refused",
            "There is no such route",
        ),
        (always(status=405, text=""), "responded with 405: the client is refused", "The route takes no POST"),
        (
            always(status=403, text="another secret", headers={"Slip-Sockets-Error": "BadToken"}),
            "responded with 403 (another secret): the client is refused",
            "The token is right, and arrived. Give your backend and this command the same JWT_SECRET",
        ),
        (
            always(status=403, text="expired", headers={"Slip-Sockets-Error": "ExpiredToken"}),
            "responded with 403 (expired): the client is refused",
            "The token is new, and arrived. Set the clocks",
        ),
        (
            always(status=401, text="no"),
            "responded with 401 (no): the client is refused. It responds in the same way to that POST without the "
            "header Authorization",
            "The token is right. Do your backend and this command have the same JWT_SECRET, and the same time?",
        ),
        (
            always(status=403, text="no", headers={"Slip-Sockets-Error": "MissingToken"}),
            "got no token: the header Authorization is dropped on its way: the client is refused",
            "Let the server in front of it pass the header on",
        ),
        (
            always(text="<html><title>Sign in</title>", content_type="text/html"),
            "responded with 200 and a page of a login instead of events: the client is refused",
            "Point TARGET_URL at the route",
        ),
        (always(status=500, text="<html>"), "responded with 500: the client is refused", "See the backend's log"),
        (
            always(status=409, text="no"),
            "responded with 409 (no): the client is refused",
            "To refuse a client, respond with 200",
        ),
        (
            always(text="ok"),
            "responded with 200 and a body that is not valid: the body is not JSON: JSON is malformed: invalid "
            "character (byte 0): the client is refused",
            "The README has all events",
        ),
        (
            always(body=b"x" * (10 * 1024 * 1024 + 1)),
            "responded with more than 10485760 bytes: the client is refused",
            "Reply with fewer events",
        ),
        (
            answering("OPEN", lambda connection: events({"type": "HELLO"})),
            "responded with 200 and a body that is not valid: events[0].type: unknown event type 'HELLO': "
            "the client is refused",
            "The README has all events",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_backend_that_cannot_let_in_gets_the_reason_and_no_other_case(
    handler: Handler, finding: str, fix: str
) -> None:
    found = await results(handler)
    verdict = found["open"].verdict
    assert (verdict.level, verdict.finding) == (Level.WRONG, finding)
    assert verdict.fix.startswith(fix)
    assert set(named(found, Level.SKIPPED)) == set(found) - {"open"}


@pytest.mark.parametrize("replacement", [{}, {"Authorization": "Basic c29tZWJvZHk6c29tZXRoaW5n"}])
async def test_a_header_dropped_or_replaced_on_the_way_is_named(replacement: Mapping[str, str]) -> None:
    good = taking()

    async def behind_a_proxy(request: web.Request) -> web.StreamResponse:
        headers = request.headers.copy()
        headers.popall("Authorization", None)
        headers.update(replacement)
        return await good(request.clone(headers=headers))

    verdict = (await results(behind_a_proxy))["open"].verdict
    assert verdict.finding == "got no token: the header Authorization is dropped on its way: the client is refused"
    assert "WSGIPassAuthorization On" in verdict.fix


@pytest.mark.parametrize("status", [400, 401, 403, 422])
@pytest.mark.parametrize("is_dropped", [True, False])
async def test_a_backend_without_the_library_is_asked_again_without_the_header(status: int, is_dropped: bool) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        has_token = "Authorization" in request.headers and not is_dropped
        detail = "wrong token" if has_token else "no token"
        return web.Response(status=status, text=f"{detail}, request {id(request)}")

    verdict = (await results(handle))["open"].verdict
    same = "It responds in the same way to that POST without the header Authorization"
    assert (same in verdict.finding) is is_dropped
    assert ("Is the header dropped on its way, or ignored? " in verdict.fix) is is_dropped
    arrives = f"The header Authorization arrives: without it, it responds with {status} (no token, request "
    assert (arrives in verdict.finding) is not is_dropped


async def test_another_status_without_the_header_shows_that_it_arrives() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(status=403 if "Authorization" in request.headers else 401)

    finding = (await results(handle))["open"].verdict.finding
    assert finding.endswith("The header Authorization arrives: without it, it responds with 401")


@pytest.mark.parametrize(
    ("location", "place", "fix"),
    [
        ("/slip/", "{base}/slip/ (with a slash at the end)", "Set TARGET_URL to {base}/slip/"),
        (
            "https://app.example/slip",
            "https://app.example/slip (https instead of http, another host)",
            "Set TARGET_URL to",
        ),
        ("https://127.0.0.1/slip", "https://127.0.0.1/slip (https instead of http)", "to https://127.0.0.1/slip"),
        (
            "http://u:hidden@www.example/slip?k=hidden",
            "http://www.example/slip (another host)",
            "http://www.example/slip",
        ),
        ("/en/slip", "{base}/en/slip (another path)", "If that is the route that takes the gateway's POSTs, set"),
        ("/accounts/login/?next=/slip", "a login, {base}/accounts/login/", "Exempt the route from the login"),
        ("https://login.idp.example/x?client_id=hidden", "a login, https://login.idp.example/x", "Exempt the route"),
        ("/slip", "itself, {base}/slip", "Does it want a cookie"),
        ("", "nowhere", "Point TARGET_URL at the route itself"),
        ("http://[bad", "'http://[bad', which is not an http or https URL", "See the backend's log"),
    ],
)
async def test_the_place_of_a_redirect_is_named(location: str, place: str, fix: str) -> None:
    async with serving(always(status=307, headers={"Location": location})) as url:
        verdict = (await results_at(url))["open"].verdict
    base = url.removesuffix("/slip")
    assert verdict.finding == f"redirects, with 307, to {place.format(base=base)}: the client is refused"
    assert fix.format(base=base) in verdict.fix
    assert "hidden" not in verdict.finding + verdict.fix


async def test_a_backend_that_breaks_off_is_named() -> None:
    verdict = (await results(break_off))["open"].verdict
    assert verdict.finding.startswith("broke off without a whole response (")
    assert verdict.level is Level.WRONG


async def test_a_backend_that_hangs_is_named() -> None:
    found = await results(never, timeout_s=0.2)
    assert found["open"].verdict.level is Level.WRONG
    assert found["open"].verdict.finding.startswith("hangs: no response within ")
    assert set(named(found, Level.SKIPPED)) == set(found) - {"open"}


async def test_a_backend_that_hangs_on_close_is_waited_for_twice_alone() -> None:
    async def do(connection: Connection) -> None:
        act(connection)
        if any(isinstance(event, Close) for event in connection.events):
            await asyncio.Event().wait()

    found = await results(taking(do), timeout_s=2)
    assert set(named(found, Level.WRONG)) == {"close-plain", "close-again"}
    assert found["token-missing-open"].verdict.finding == "skipped: the backend hangs too often"


@pytest.mark.parametrize(
    ("reply", "finding"),
    [
        (
            lambda id_: [{"type": "SUBSCRIBE", "connectionId": id_, "channel": "x"}],
            "the response to OPEN has no ACCEPT",
        ),
        (lambda id_: [], "the response to OPEN has no ACCEPT"),
        (
            lambda id_: [
                {"type": "SET_METADATA", "connectionId": id_, "metadata": 1},
                {"type": "ACCEPT", "connectionId": id_},
            ],
            "SET_METADATA stands before ACCEPT in the response to OPEN",
        ),
        (
            lambda id_: [{"type": "ACCEPT", "connectionId": "A" * 15 + "="}],
            "ACCEPT names another connection, 'AAAAAAAAAAAAAAA='",
        ),
        (
            lambda id_: [{"type": "ACCEPT", "connectionId": id_, "subprotocol": "chat"}],
            "ACCEPT names a subprotocol that the client did not offer",
        ),
    ],
)
async def test_the_reason_why_a_client_is_not_let_in_is_named(reply: Any, finding: str) -> None:
    handler = answering("OPEN", lambda connection: events(*reply(connection.connection_id)))
    found = await results(handler)
    assert found["open"].verdict.finding == f"the client is not let in: {finding}"
    assert found["text-plain"].verdict.finding == "skipped: they need a client that is let in"
    assert found["token-expired-open"].verdict.level is Level.RIGHT


async def test_what_a_backend_needs_to_let_in_can_be_given() -> None:
    def do(connection: Connection) -> None:
        if connection.is_opening:
            metadata = connection.metadata
            if metadata["query"].get("room") == ["tea"] and metadata["headers"].get("Cookie") == "session=1":
                connection.accept()

    assert set(named(await results(taking(do)), Level.WRONG)) == {"open"}
    found = await results(taking(do), query={"room": ["tea"]}, headers={"Cookie": "session=1"})
    assert named(found, Level.WRONG) == {}
    assert found["open-bare"].verdict.finding == "refused, as is allowed"


@pytest.mark.parametrize(
    ("status", "then"),
    [
        (500, "responded with 500: the gateway repeats CLOSE for 6 hours, then it becomes a dead letter"),
        (404, "responded with 404: the gateway does not repeat CLOSE, so your backend misses that the client has left"),
    ],
)
async def test_an_error_on_close_is_named(status: int, then: str) -> None:
    wrong = named(await results(answering("CLOSE", lambda _: web.Response(status=status))), Level.WRONG)
    assert wrong == dict.fromkeys(["close-plain", "close-again", "close-cut", "close-reason", "close-unknown"], then)


async def test_wrong_events_to_a_text_are_named() -> None:
    reply = events({"type": "PUBLISH_TEXT", "channel": "lobby", "data": "hi"})
    found = await results(answering("TEXT", lambda _: copied(reply)))
    assert found["text-emoji"].verdict.finding == (
        "responded with 200 and a body that is not valid: events[0].channelId: PUBLISH_TEXT needs this field, and it "
        "is missing: the text is lost, and the client is not notified"
    )
    assert found["open"].verdict.level is found["close-plain"].verdict.level is Level.RIGHT


def copied(response: web.Response) -> web.Response:
    return web.Response(body=response.body, content_type="application/json")


async def test_texts_and_queries_that_cause_an_error_are_named() -> None:
    def do(connection: Connection) -> None:
        act(connection)
        if connection.is_opening:
            connection.publish_text("lobby", connection.metadata["query"].get("name", ["somebody"])[0] or "x" * 10**6)
        for data in connection.texts:
            data.encode("latin-1")

    wrong = named(await results(taking(do)), Level.WRONG)
    assert {"open-query", "text-emoji", "text-largest-emoji", "text-right-to-left"} <= set(wrong)
    assert {"open", "open-long-query", "text-plain", "text-html"}.isdisjoint(wrong)


async def test_metadata_that_few_backends_meet_is_a_warning() -> None:
    def do(connection: Connection) -> None:
        act(connection)
        for _ in connection.texts:
            connection.metadata["name"].upper()

    found = await results(taking(do))
    assert named(found, Level.WRONG) == {}
    assert set(named(found, Level.WARNING)) == {
        f"metadata-{name}" for name in ("null", "empty", "list", "text", "largest")
    }


async def test_slow_responses_are_warnings() -> None:
    found = await results(taking(), slow_s=1e-9)
    assert set(named(found, Level.WARNING)) == set(found)
    assert found["text-plain"].verdict.finding.startswith("1 event, but slow: ")


async def test_tokens_that_are_refused_by_accident_are_named() -> None:
    good = taking()

    async def handle(request: web.Request) -> web.StreamResponse:
        response = await good(request)
        return web.Response(status={403: 500, 400: 500}.get(response.status, 0)) if response.status >= 400 else response

    wrong = named(await results(handle), Level.WRONG)
    assert wrong["token-missing-open"] == wrong["body-no-json"] == "refused by an error, 500"


async def test_a_backend_that_cannot_be_reached_cannot_be_checked() -> None:
    async with serving(taking()) as url:
        pass
    with pytest.raises(CannotRun) as failure:
        await results_at(url)
    assert str(failure.value) == f"{url} cannot be reached: Connection refused. Is the backend running?"


@pytest.mark.parametrize(
    ("environment", "says_so"),
    [({}, True), ({"no_proxy": "127.0.0.1"}, False)],
)
async def test_a_proxy_that_is_set_is_said_not_to_be_used(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], says_so: bool
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"http_proxy": "http://ada:hidden@proxy.example:3128", **environment}.items():
        monkeypatch.setenv(name, value)
    async with serving(taking()) as url:
        pass
    with pytest.raises(CannotRun) as failure:
        await results_at(url)
    unused = "The proxy http://proxy.example:3128 (http_proxy) is not used: the gateway calls backends without one"
    assert str(failure.value).endswith(f"running? {unused}" if says_so else "Is the backend running?")


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br"])
async def test_a_content_encoding_that_was_not_asked_for_is_named(coding: str) -> None:
    handler = always(body=b"\x1b\x0e\x00\xf8", headers={"Content-Encoding": coding})
    named_coding = "br" if "br" in coding else coding
    assert (await results(handler))["open"].verdict.finding == (
        f"responded with 200 and a body with Content-Encoding {named_coding}, which was not asked for: "
        "the client is refused"
    )


async def test_a_backend_that_goes_away_is_left_alone() -> None:
    stopped = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        response = await taking()(request)
        stopped.set()
        return response

    async with serving(handle) as url:
        player = play(CheckSettings(url, SECRET))
        assert (await anext(player)).verdict.level is Level.RIGHT
    gone = [result async for result in player]
    assert gone[0].verdict.finding == "cannot be reached any more: Connection refused"
    assert {result.verdict.finding for result in gone[1:]} == {"skipped: the backend is gone"}
