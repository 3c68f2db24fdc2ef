"""The programs of docs/frameworks.md, run."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import websockets
from django.test import RequestFactory, override_settings
from django.urls import path
from fastapi.testclient import TestClient
from werkzeug.test import Client

from slip_sockets import Keep, PublishText, parse_request
from slip_sockets import django as slip_sockets_django
from slip_sockets.dev.server import DevServer
from slip_sockets.testing import (
    ClientRefused,
    Post,
    Posted,
    Socket,
    django_client,
    flask_client,
    record,
    starlette_client,
)

from .conftest import SECRET
from .contract.wire import TIMEOUT_S, subscribe
from .frameworks import django_project
from .scripted_backend import ScriptedBackend, accept_all

PAGE = (Path(__file__).parents[1] / "docs" / "frameworks.md").read_text()


def sections() -> dict[str, list[str]]:
    """Return the programs by heading."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    found = {
        heading: re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    return {heading: programs for heading, programs in found.items() if programs}


PROGRAMS = sections()

RENDERED = 1
"""The program of a framework that tests/test_rendered_pages.py runs."""


def run(heading: str, index: int = 0) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(PROGRAMS[heading][index], heading, "exec"), namespace)
    return namespace


def test_each_program_has_a_test_here() -> None:
    assert {heading: len(programs) for heading, programs in PROGRAMS.items()} == {
        "Flask": 2 + RENDERED,
        "Django": 2 + RENDERED,
        "FastAPI and Starlette": 3 + RENDERED,
        "Nothing missed": 1,
        "Users": 1,
        "The async publisher": 1,
        "Any other framework": 1,
    }


def is_let_in(post: Post, *, secret: str = "change-me") -> set[str]:
    """Return a client's channels, once the application has let it in."""
    socket = Socket(post, jwt_secret=secret)
    socket.open()
    assert post({}, b"").status == 403
    return socket.channels


def test_flask() -> None:
    program = run("Flask")
    app = program["create_app"]()
    assert is_let_in(flask_client(app.test_client(), "/slip")) == {"lobby"}
    with app.app_context(), record(program["sockets"].publisher) as sent:
        assert app.test_client().post("/announce").text == "announced"
    assert sent == [PublishText("lobby", "closing soon")]


async def test_django_publishes() -> None:
    program = run("Django")
    with record(slip_sockets_django.publisher()) as sent:
        assert program["announce"](None).content == b"announced"
    with record(slip_sockets_django.async_publisher()) as sent_async:
        assert (await program["announce_async"](None)).content == b"announced"
    assert sent == sent_async == [PublishText("lobby", "closing soon")]


def test_django_lets_in() -> None:
    urls = ModuleType("urls")
    vars(urls)["urlpatterns"] = [path("slip", run("Django")["slip"])]
    with override_settings(ROOT_URLCONF=urls):
        assert is_let_in(django_client(django_project.client(), "/slip"), secret=django_project.SECRET) == {"lobby"}


def test_fastapi() -> None:
    program = run("FastAPI and Starlette")
    with TestClient(program["app"]) as client:
        assert is_let_in(starlette_client(client, "/slip")) == {"lobby"}
        with record(program["sockets"].publisher) as sent:
            assert client.post("/announce").json() == "announced"
    assert sent == [PublishText("lobby", "closing soon")]


def test_starlette() -> None:
    with TestClient(run("FastAPI and Starlette", 1)["app"]) as client:
        assert is_let_in(starlette_client(client, "/slip")) == set()


def test_nothing_missed() -> None:
    slip = run("Nothing missed")["slip"]

    def post(headers: Mapping[str, str], body: bytes) -> Posted:
        connection = parse_request(headers, body, secrets=["change-me"], subprotocol="slip.v1")
        slip(connection)
        return Posted(200, connection.response().body)

    for offered, chosen in ((["chat.v1", "slip.v1"], "slip.v1"), (["chat.v1"], None)):
        socket = Socket(post, jwt_secret="change-me")
        socket.open(subprotocols=offered)
        assert (socket.subprotocol, socket.recovering) == (chosen, {"lobby": None})
        assert socket.text("hi") == [PublishText("lobby", "hi", keep=Keep(count=100, seconds=3600))]


def brings(post: Post, token: str, *, secret: str = "change-me") -> str | None:
    """Return whom the application lets in with a token; it lets nobody in without."""
    for query in ({}, {"token": ["forged"]}):
        with pytest.raises(ClientRefused):
            Socket(post, jwt_secret=secret).open(query=query)
    socket = Socket(post, jwt_secret=secret)
    socket.open(query={"token": [token]})
    return socket.user


def test_users() -> None:
    def post(headers: Mapping[str, str], body: bytes) -> Posted:
        connection = parse_request(headers, body, secrets=["change-me"])
        connection.accept(user="ann")
        return Posted(200, connection.response().body)

    program = run("Users")
    laptop, phone = (Socket(post, jwt_secret="change-me") for _ in range(2))
    laptop.open()
    phone.open()
    with record(program["publisher"], sockets=[laptop, phone]):
        assert program["notify"]("ann", "hi") == 2
        assert program["notify"]("bob", "ho") == 0
        assert program["notifications"]("ann") == ["hi"]
        program["sign_out_elsewhere"]("ann", phone.connection_id)
    assert [socket.received for socket in (laptop, phone)] == [["hi"], ["hi"]]
    assert [socket.is_open for socket in (laptop, phone)] == [False, True]


def test_users_of_flask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flask-Login is not installed here: what the program uses of it stands in its place."""
    flask_login = ModuleType("flask_login")
    user = SimpleNamespace(get_id=lambda: "ann")
    vars(flask_login).update(login_required=lambda view: view, current_user=user)
    monkeypatch.setitem(sys.modules, "flask_login", flask_login)
    client = run("Flask", 2)["app"].test_client()
    assert brings(flask_client(client, "/slip"), client.post("/socket-token").json["token"]) == "ann"


def test_users_of_django() -> None:
    program, urls = run("Django", 2), ModuleType("urls")
    vars(urls)["urlpatterns"] = [path("slip", program["slip"])]
    with override_settings(ROOT_URLCONF=urls):
        request: Any = RequestFactory().post("/socket-token")
        request.user = SimpleNamespace(pk=7, is_authenticated=True)
        token = json.loads(program["socket_token"](request).content)["token"]
        post = django_client(django_project.client(), "/slip")
        assert brings(post, token, secret=django_project.SECRET) == "7"


def test_users_of_fastapi() -> None:
    with TestClient(run("FastAPI and Starlette", 3)["app"]) as client:
        token = client.post("/socket-token", headers={"X-User": "ann"}).json()["token"]
        assert brings(starlette_client(client, "/slip"), token) == "ann"


async def test_the_async_publisher(server: DevServer, backend: ScriptedBackend) -> None:
    backend.script = lambda request: [*accept_all(request), subscribe(request.connection_id, "lobby")]
    (program,) = PROGRAMS["The async publisher"]
    for shown, here in (("http://127.0.0.1:8787/control", server.control_api), ("change-me", SECRET)):
        assert shown in program
        program = program.replace(shown, here)
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(program, namespace)
    async with websockets.connect(server.websocket_url, proxy=None) as client, asyncio.timeout(TIMEOUT_S):
        await namespace["announce"]()
        assert await client.recv() == "closing soon"


def test_any_other_framework() -> None:
    assert is_let_in(flask_client(Client(run("Any other framework")["app"]), "/slip")) == set()
