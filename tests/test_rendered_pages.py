"""The programs of docs/frameworks.md with a page that misses nothing, and the page's template in docs/recovery.md.

A page is rendered and opened while scores are published; its socket is a real one of the development server.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from django.test import override_settings
from django.urls import path
from fastapi.templating import Jinja2Templates
from fastapi.testclient import TestClient
from jinja2 import DictLoader, Environment, select_autoescape

from slip_sockets import django as slip_sockets_django
from slip_sockets.dev.server import DevServer
from slip_sockets.testing import Post, django_client, flask_client, starlette_client

from .conftest import SECRET
from .contract.wire import TIMEOUT_S, connect
from .docs.markdown import Page
from .frameworks import django_project
from .scripted_backend import Post as Received
from .scripted_backend import ScriptedBackend

(TEMPLATE,) = (block.text for block in Page("docs/recovery.md").blocks if block.language == "html")


class Site(NamedTuple):
    """A program behind the development server. `publisher` is its publisher; `get` returns its page."""

    post: Post
    get: Callable[[], str]
    score: Callable[[str], Any]
    publisher: Any


def run(heading: str, server: DevServer) -> dict[str, Any]:
    (program,) = (b.text for b in Page("docs/frameworks.md").blocks if b.language == "python" and b.heading == heading)
    namespace: dict[str, Any] = {"__name__": "page"}
    program = program.replace("http://127.0.0.1:8787/control", server.control_api).replace("change-me", SECRET)
    exec(compile(program, heading, "exec"), namespace)
    return namespace


@contextmanager
def flask_site(server: DevServer) -> Iterator[Site]:
    program = run("A page that misses nothing", server)
    app = program["app"]
    app.jinja_loader = DictLoader({"scores.html": TEMPLATE})
    client = app.test_client()
    with app.app_context():
        publisher = program["sockets"].publisher
    yield Site(
        flask_client(client, "/slip"),
        lambda: str(client.get("/").text),
        lambda team: client.post(f"/score/{team}"),
        publisher,
    )


@contextmanager
def django_site(server: DevServer) -> Iterator[Site]:
    program = run("A page that misses nothing, on Django", server)
    urls = ModuleType("urls")
    vars(urls)["urlpatterns"] = [path("slip", program["slip"]), path("", program["page"])]
    loaders = [("django.template.loaders.locmem.Loader", {"scores.html": TEMPLATE})]
    with override_settings(
        ROOT_URLCONF=urls,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": loaders}}],
        SLIP_SOCKETS_CONTROL_API=server.control_api,
        SLIP_SOCKETS_JWT_SECRET=SECRET,
        SLIP_SOCKETS_SUBPROTOCOL="slip.v1",
    ):
        client = django_project.client()
        yield Site(
            django_client(client, "/slip"),
            lambda: str(client.get("/").content, "utf-8"),
            lambda team: program["score"](None, team),
            slip_sockets_django.publisher(),
        )


@contextmanager
def fastapi_site(server: DevServer) -> Iterator[Site]:
    program = run("A page that misses nothing, on FastAPI and Starlette", server)
    environment = Environment(loader=DictLoader({"scores.html": TEMPLATE}), autoescape=select_autoescape())
    program["templates"] = Jinja2Templates(env=environment)
    with TestClient(program["app"]) as client:
        yield Site(
            starlette_client(client, "/slip"),
            lambda: client.get("/").text,
            lambda team: client.post(f"/score/{team}"),
            program["sockets"].publisher,
        )


SITES = {"flask": flask_site, "django": django_site, "fastapi": fastapi_site}


@pytest.fixture(params=SITES)
async def site(request: pytest.FixtureRequest, server: DevServer, backend: ScriptedBackend) -> AsyncIterator[Site]:
    with SITES[request.param](server) as site:

        async def relay(received: Received) -> web.Response:
            token = {"Authorization": received.headers["Authorization"]}
            status, body = await asyncio.to_thread(site.post, token, json.dumps(received.body).encode())
            return web.Response(status=status, body=body)

        backend.script = relay
        yield site
        # Starlette's client may wait for ever where it ends during a request of another thread, such as a CLOSE.
        await server.edge.settle(TIMEOUT_S)


class Rendered(HTMLParser):
    """What a page has in its HTML: the position, and each team's line."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.position = ""
        self.teams: list[str] = []
        self.lines = re.findall(r"<li[^>]*>([^<]*)</li>", html)
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag == "ul":
            self.position = str(found["data-position"])
        elif tag == "li":
            self.teams.append(str(found["data-team"]))


async def recovered(server: DevServer, since: str) -> list[Any]:
    """Open a socket as a page does that was rendered at `since`, and return what it is sent."""
    async with connect(server, subprotocols=["slip.v1"]) as socket, asyncio.timeout(TIMEOUT_S):
        assert json.loads(await socket.recv())["slip"] == "subscribed"
        await socket.send(json.dumps({"slip": "recover", "channel": "scores", "since": since}))
        messages = []
        while (frame := json.loads(await socket.recv()))["slip"] == "message":
            messages.append(json.loads(frame["data"]))
        assert (frame["slip"], frame["recovered"]) == ("subscribed", True)
        return messages


async def test_a_page_gets_what_was_published_after_it_was_rendered(site: Site, server: DevServer) -> None:
    await asyncio.to_thread(site.score, "red")
    page = Rendered(await asyncio.to_thread(site.get))
    assert (page.teams, page.lines) == (["red"], ["red: 1"])
    await asyncio.to_thread(site.score, "blue")
    await asyncio.to_thread(site.score, "red")
    assert await recovered(server, page.position) == [{"team": "blue", "points": 1}, {"team": "red", "points": 2}]
    again = Rendered(await asyncio.to_thread(site.get))
    assert await recovered(server, again.position) == []


async def test_a_change_between_reading_the_position_and_the_state_is_not_missed(
    site: Site, server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(site.score, "red")
    send = site.publisher.send
    changes = iter(["blue"])

    def then_score() -> None:
        for team in changes:
            site.score(team)

    async def send_async(events: Any) -> Any:
        reports = await send(events)
        await asyncio.to_thread(then_score)
        return reports

    def send_blocking(events: Any) -> Any:
        reports = send(events)
        then_score()
        return reports

    is_async = asyncio.iscoroutinefunction(send)
    monkeypatch.setattr(site.publisher, "send", send_async if is_async else send_blocking)
    page = Rendered(await asyncio.to_thread(site.get))
    assert page.lines == ["blue: 1", "red: 1"]
    assert await recovered(server, page.position) == [{"team": "blue", "points": 1}]


async def test_names_of_teams_are_escaped(site: Site) -> None:
    await asyncio.to_thread(site.score, '"><script>')
    assert Rendered(await asyncio.to_thread(site.get)).teams == ['"><script>']
