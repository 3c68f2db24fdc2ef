"""The chat's backend behind a real development server: which client receives what."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websockets

from examples.chat.app import MAX_NAME, MAX_TEXT, create_app
from slip_sockets.check.judge import Level
from slip_sockets.check.play import CheckSettings, play
from slip_sockets.dev.server import DevServer, DevSettings

from ..conftest import SECRET
from .chat_backend import Backend
from .visitor import PATIENCE_S, SLIP, visit


@pytest.fixture
def chat() -> Iterator[Backend]:
    with contextlib.closing(Backend()) as backend:
        yield backend


@pytest.fixture
async def server(chat: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DevServer]:
    outputs = tmp_path / "cdk-outputs.dev.json"
    monkeypatch.setenv("OUTPUTS", str(outputs))
    monkeypatch.setenv("JWT_SECRET", SECRET)
    monkeypatch.delenv("STACK_NAME", raising=False)
    async with DevServer(DevSettings(f"{chat.url}slip", SECRET, port=0, outputs_path=outputs)) as server:
        yield server


@pytest.fixture
async def url(server: DevServer, chat: Backend) -> AsyncIterator[str]:
    """The WebSocket URL of a chat that runs."""
    with chat.running():
        yield server.websocket_url
        await server.edge.aclose(5)  # while the backend can still receive each CLOSE


async def test_a_text_reaches_all_in_the_room(url: str) -> None:
    async with visit(url, name="Ada", room="tea") as ada, visit(url, name="Grace", room="tea") as grace:
        await ada.say("Hello", message="m1")

        for visitor in (ada, grace):
            said = await visitor.hear("said")
            assert (said["user"], said["name"], said["text"], said["message"]) == (ada.user, "Ada", "Hello", "m1")


async def test_a_message_has_the_time_in_milliseconds(url: str) -> None:
    async with visit(url, name="Ada") as ada:
        await ada.say("Hello")
        assert 1_700_000_000_000 < (await ada.hear("said"))["at"] < 10_000_000_000_000


async def test_another_room_hears_nothing(url: str) -> None:
    async with visit(url, name="Ada", room="tea") as ada, visit(url, name="Grace", room="coffee") as grace:
        await ada.say("About tea")
        await ada.hear("said")
        await grace.say("About coffee")
        assert (await grace.hear("said"))["text"] == "About coffee"


async def test_a_newcomer_and_a_visitor_learn_of_each_other(url: str) -> None:
    async with visit(url, name="Ada") as ada, visit(url, name="Grace") as grace:
        await asyncio.gather(ada.see("Ada", "Grace"), grace.see("Ada", "Grace"))


async def test_visitors_who_close_the_tab_or_crash_have_left(url: str) -> None:
    async with visit(url, name="Ada") as ada, visit(url, name="Eve") as eve:
        async with visit(url, name="Grace") as grace:
            await ada.see("Ada", "Eve", "Grace")
        eve.vanish()
        await ada.miss(grace.user, eve.user)


async def test_a_visitor_who_reloads_the_page_has_not_left(url: str, server: DevServer) -> None:
    async with visit(url, name="Ada") as ada:
        async with visit(url, name="Grace") as grace:
            await ada.see("Ada", "Grace")
        async with visit(url, name="Grace", user=grace.user) as again, visit(url, name="Eve"):
            await again.see("Ada", "Grace")
            heard: list[Any] = []
            while not any(joined["info"]["name"] == "Eve" for frame in heard for joined in frame.get("joined", [])):
                heard.append(await ada.hear("presence"))
            assert all(joined["info"]["name"] != "Grace" for frame in heard for joined in frame.get("joined", []))
            assert not any("left" in frame for frame in heard)


async def test_a_restarted_backend_has_lost_nobody(server: DevServer, chat: Backend) -> None:
    async with contextlib.AsyncExitStack() as visitors:
        with chat.running():
            ada = await visitors.enter_async_context(visit(server.websocket_url, name="Ada", room="tea"))
            grace = await visitors.enter_async_context(visit(server.websocket_url, name="Grace", room="tea"))
            await ada.see("Ada", "Grace")
        with chat.running():
            await grace.say("Still here?")
            assert (await ada.hear("said"))["name"] == "Grace"
            await visitors.enter_async_context(visit(server.websocket_url, name="Eve", room="tea"))
            await grace.see("Eve")
            await visitors.aclose()
            await server.edge.aclose(5)


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ('"},{"slip":"presence"', '"},{"slip":"presence"'),
        ("  Ada \n\t Lovelace ", "Ada Lovelace"),
        ("", "somebody"),
        (" \u3000 ", "somebody"),
        ("\x00\u202e&#", "\x00\u202e&#"),
        ("é" * 500, "é" * MAX_NAME),
        ("\U0001f600" * 500, "\U0001f600" * MAX_NAME),
    ],
    ids=["markup", "JSON", "several lines", "empty", "spaces", "control characters", "long", "long and wide"],
)
async def test_a_hostile_name_stays_one_harmless_line_of_text(url: str, name: str, becomes: str) -> None:
    async with visit(url, name="Ada") as ada, visit(url, name=name):
        await ada.see("Ada", becomes)


async def test_without_name_and_room_one_is_somebody_in_the_lobby(url: str) -> None:
    async with visit(url, name="Ada", room="lobby") as ada, visit(url):
        await ada.see("Ada", "somebody")


@pytest.mark.parametrize("user", ["", "ann", "A" * 24, "0" * 25])
async def test_an_id_that_is_not_of_the_pages_making_is_replaced(url: str, user: str) -> None:
    async with visit(url, name="Ada", user=user) as ada:
        (joined,) = (await ada.hear("presence"))["joined"]
        assert joined["user"] != user
        assert len(joined["user"]) == 24


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "no JSON",
        "[" * 100_000,
        "1" * 10_000,
        "null",
        '"say"',
        '{"type": "say"}',
        '{"type": "say", "text": 5, "message": "m"}',
        '{"type": "say", "text": "  ", "message": "m"}',
        '{"type": "welcome"}',
        '{"slip": "presence", "channel": "room:lobby", "left": ["x"], "count": 0}',
    ],
    ids=lambda frame: frame[:50] or "empty",
)
async def test_a_text_that_is_not_of_the_page_does_nothing(url: str, frame: str) -> None:
    async with visit(url, name="Ada") as ada:
        await ada.send(frame)
        await ada.say("Still fine")
        while (message := await ada.next())["type"] == "presence":
            pass
        assert message["text"] == "Still fine"


async def test_the_longest_message_of_the_widest_characters_arrives_and_longer_is_cut(url: str) -> None:
    async with visit(url, name="Ada") as ada:
        text = json.dumps("\U0001f600" * (MAX_TEXT + 1), ensure_ascii=False)
        await ada.send(f'{{"type": "say", "message": "m", "text": {text}}}')
        assert (await ada.hear("said"))["text"] == "\U0001f600" * MAX_TEXT


async def test_an_announcement_reaches_the_room_from_an_ordinary_request(url: str, chat: Backend) -> None:
    async with visit(url, name="Ada", room="tea") as ada, visit(url, name="Grace", room="tea"):
        response = await asyncio.to_thread(
            requests.post, f"{chat.url}announce", data={"room": "tea", "text": "Tea <b>is</b> ready"}, timeout=20
        )
        assert response.json() == {"listeners": 2}
        assert (await ada.hear("announced"))["text"] == "Tea <b>is</b> ready"


async def test_the_history_of_a_room_is_what_was_said_and_announced_there(url: str, chat: Backend) -> None:
    async with visit(url, name="Ada", room="tea") as ada, visit(url, name="Grace", room="coffee") as grace:
        await ada.say("milk?")
        await grace.say("beans?")
        said = await ada.hear("said")
        await grace.hear("said")
    await asyncio.to_thread(requests.post, f"{chat.url}announce", data={"room": "tea", "text": "ready"}, timeout=20)
    history = await asyncio.to_thread(requests.get, f"{chat.url}history.json?room=tea", timeout=20)
    first, second = map(json.loads, history.json()["messages"])
    assert first == said
    assert (second["type"], second["text"]) == ("announced", "ready")
    assert history.json()["channel"] == "room:tea"
    assert history.json()["position"].endswith(":2")


async def test_a_client_of_slip_v1_recovers_what_was_said_after_the_history_that_it_was_shown(
    url: str, chat: Backend
) -> None:
    async with visit(url, name="Ada") as ada:
        await ada.say("shown")
        await ada.hear("said")
        history = await asyncio.to_thread(requests.get, f"{chat.url}history.json", timeout=20)
        await ada.say("missed")
        await ada.hear("said")
    async with asyncio.timeout(PATIENCE_S), websockets.connect(url, subprotocols=[SLIP], proxy=None) as client:
        recover = {"slip": "recover", "channel": history.json()["channel"], "since": history.json()["position"]}
        await client.send(json.dumps(recover))
        frames: list[dict[str, Any]] = []
        while not frames or "recovered" not in frames[-1]:
            frames.append(json.loads(await client.recv()))
    kept = [json.loads(frame["data"])["text"] for frame in frames if frame["slip"] == "message" and "position" in frame]
    assert kept == ["missed"]


async def test_an_announcement_without_text_is_refused(url: str, chat: Backend) -> None:
    response = await asyncio.to_thread(requests.post, f"{chat.url}announce", data={"room": "tea"}, timeout=20)
    assert response.status_code == 400


async def test_a_post_that_is_not_the_gateways_is_refused(url: str, chat: Backend) -> None:
    response = await asyncio.to_thread(requests.post, f"{chat.url}slip", data=b"{}", timeout=20)
    assert response.status_code == 403


async def test_the_check_finds_nothing_wrong(url: str, chat: Backend) -> None:
    settings = CheckSettings(f"{chat.url}slip", SECRET, slow_s=60)
    faults = {result.name: result.verdict async for result in play(settings) if result.verdict.level is Level.WRONG}
    assert faults == {}


async def test_the_page_learns_where_the_sockets_are(url: str, chat: Backend) -> None:
    page = await asyncio.to_thread(requests.get, chat.url, timeout=20)
    settings = await asyncio.to_thread(requests.get, f"{chat.url}settings.json", timeout=20)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert settings.json() == {"websocketUrl": url}


def test_the_page_needs_nothing_from_elsewhere_and_never_parses_user_text_as_markup() -> None:
    static = Path(create_app.__code__.co_filename).parent / "static"
    sources = {path.name: path.read_text() for path in static.iterdir()}
    assert set(sources) == {"index.html", "chat.css", "chat.js", "icon.svg"}
    for name, source in sources.items():
        assert "https:" not in source, name
        assert "@import" not in source, name
        for markup in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert markup not in source, name
