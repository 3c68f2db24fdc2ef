"""The check over real backends: the good pass, and of the broken each breakage is named."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from slip_sockets import Close, Connection
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
    return {name: result.verdict.what for name, result in results.items() if result.verdict.level is level}


async def test_a_good_backend_is_right_in_everything() -> None:
    found = await results(taking())
    assert len(found) > 50
    assert [result for result in found.values() if result.verdict.level is not Level.RIGHT] == []


async def test_a_backend_that_takes_any_token_is_told_which() -> None:
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
    ("handler", "what", "mend"),
    [
        (
            always(text="<!doctype html><title>Welcome</title>", content_type="text/html"),
            "answered 200 with a page of HTML instead of events: the client is refused",
            "Point TARGET_URL at the route",
        ),
        (
            always(status=302, headers={"Location": "/login?next=/slip"}),
            "redirects, with 302, to /login?next=/slip: the client is refused",
            "The gateway follows no redirect",
        ),
        (
            always(status=404, text="no page\n here"),
            "answered 404 (no page here): the client is refused",
            "There is no such route",
        ),
        (always(status=405, text=""), "answered 405: the client is refused", "The route takes no POST"),
        (
            always(status=403, text="the token is not signed with JWT_SECRET\n"),
            "answered 403 (the token is not signed with JWT_SECRET): the client is refused",
            "The token is right. Is JWT_SECRET the same in the backend and here, and the time?",
        ),
        (always(status=500, text="<html>"), "answered 500: the client is refused", "See the backend's log"),
        (
            always(status=409, text="no"),
            "answered 409 (no): the client is refused",
            "To turn a client away, answer 200",
        ),
        (
            always(text="ok"),
            "answered 200 with a body that is not valid: the body is not JSON: JSON is malformed: invalid character "
            "(byte 0): the client is refused",
            "The README has all events",
        ),
        (
            always(body=b"x" * (10 * 1024 * 1024 + 1)),
            "answered with more than 10485760 bytes: the client is refused",
            "Answer with fewer events",
        ),
        (
            answering("OPEN", lambda connection: events({"type": "HELLO"})),
            "answered 200 with a body that is not valid: events[0].type: unknown event type 'HELLO': "
            "the client is refused",
            "The README has all events",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_backend_that_cannot_let_in_is_told_why_and_spared_the_rest(
    handler: Handler, what: str, mend: str
) -> None:
    found = await results(handler)
    verdict = found["open"].verdict
    assert (verdict.level, verdict.what) == (Level.WRONG, what)
    assert verdict.mend.startswith(mend)
    assert set(named(found, Level.SKIPPED)) == set(found) - {"open"}


async def test_a_backend_that_breaks_off_is_named() -> None:
    verdict = (await results(break_off))["open"].verdict
    assert verdict.what.startswith("broke off without a whole answer (")
    assert verdict.level is Level.WRONG


async def test_a_backend_that_hangs_is_named() -> None:
    found = await results(never, timeout_s=0.2)
    assert found["open"].verdict.level is Level.WRONG
    assert found["open"].verdict.what.startswith("hangs: no answer within ")
    assert set(named(found, Level.SKIPPED)) == set(found) - {"open"}


async def test_a_backend_that_hangs_on_close_is_waited_for_twice_alone() -> None:
    async def do(connection: Connection) -> None:
        act(connection)
        if any(isinstance(event, Close) for event in connection.events):
            await asyncio.Event().wait()

    found = await results(taking(do), timeout_s=2)
    assert set(named(found, Level.WRONG)) == {"close-plain", "close-again"}
    assert found["token-missing-open"].verdict.what == "not played: it hangs too often"


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (
            lambda whose: [{"type": "SUBSCRIBE", "connectionId": whose, "channel": "x"}],
            "the answer to OPEN has no ACCEPT",
        ),
        (lambda whose: [], "the answer to OPEN has no ACCEPT"),
        (
            lambda whose: [
                {"type": "SET_METADATA", "connectionId": whose, "metadata": 1},
                {"type": "ACCEPT", "connectionId": whose},
            ],
            "SET_METADATA stands before ACCEPT in the answer to OPEN",
        ),
        (
            lambda whose: [{"type": "ACCEPT", "connectionId": "A" * 15 + "="}],
            "ACCEPT names another connection, 'AAAAAAAAAAAAAAA='",
        ),
        (
            lambda whose: [{"type": "ACCEPT", "connectionId": whose, "subprotocol": "chat"}],
            "ACCEPT names a subprotocol that the client did not offer",
        ),
    ],
)
async def test_a_client_that_is_not_let_in_is_told_why(answer: Any, what: str) -> None:
    handler = answering("OPEN", lambda connection: events(*answer(connection.connection_id)))
    found = await results(handler)
    assert found["open"].verdict.what == f"the client is not let in: {what}"
    assert found["text-plain"].verdict.what == "not played: a client must be let in for this"
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
    assert found["open-bare"].verdict.what == "turned away, in order"


@pytest.mark.parametrize(
    ("status", "then"),
    [
        (500, "answered 500: the gateway repeats CLOSE for 6 hours, then it goes to the dead-letter queue"),
        (404, "answered 404: the gateway does not repeat CLOSE, and nobody learns that the client has left"),
    ],
)
async def test_an_error_on_close_is_named(status: int, then: str) -> None:
    wrong = named(await results(answering("CLOSE", lambda _: web.Response(status=status))), Level.WRONG)
    assert wrong == dict.fromkeys(["close-plain", "close-again", "close-cut", "close-reason", "close-unknown"], then)


async def test_wrong_events_to_a_text_are_named() -> None:
    answer = events({"type": "PUBLISH_TEXT", "channel": "lobby", "data": "hi"})
    found = await results(answering("TEXT", lambda _: answer_again(answer)))
    assert found["text-emoji"].verdict.what == (
        "answered 200 with a body that is not valid: events[0].channelId: PUBLISH_TEXT needs this field, and it is "
        "missing: the text is lost, and the client is told nothing"
    )
    assert found["open"].verdict.level is found["close-plain"].verdict.level is Level.RIGHT


def answer_again(answer: web.Response) -> web.Response:
    return web.Response(body=answer.body, content_type="application/json")


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


async def test_slow_answers_are_warnings() -> None:
    found = await results(taking(), slow_s=1e-9)
    assert set(named(found, Level.WARNING)) == set(found)
    assert found["text-plain"].verdict.what.startswith("1 event, but slow: ")


async def test_tokens_that_are_refused_by_accident_are_named() -> None:
    good = taking()

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = await good(request)
        return web.Response(status={403: 500, 400: 500}.get(answer.status, 0)) if answer.status >= 400 else answer

    wrong = named(await results(handle), Level.WRONG)
    assert wrong["token-missing-open"] == wrong["body-no-json"] == "refused by an error, 500"


async def test_a_backend_that_cannot_be_reached_cannot_be_checked() -> None:
    async with serving(taking()) as url:
        pass
    with pytest.raises(CannotRun) as failure:
        await results_at(url)
    assert str(failure.value) == f"{url} cannot be reached: Connection refused. Is the backend running?"


async def test_a_backend_that_goes_away_is_left_alone() -> None:
    stopped = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = await taking()(request)
        stopped.set()
        return answer

    async with serving(handle) as url:
        player = play(CheckSettings(url, SECRET))
        assert (await anext(player)).verdict.level is Level.RIGHT
    gone = [result async for result in player]
    assert gone[0].verdict.what == "cannot be reached any more: Connection refused"
    assert {result.verdict.what for result in gone[1:]} == {"not played: the backend is gone"}
