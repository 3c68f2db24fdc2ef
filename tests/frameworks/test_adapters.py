"""One contract for the adapters of all frameworks, through the test clients of the frameworks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest
from django.conf import settings
from django.test import override_settings
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Route

from slip_sockets import Accept, Close, Connection, Open, PublishText, Subscribe, Text
from slip_sockets.flask import SlipSockets as FlaskSlipSockets
from slip_sockets.starlette import SlipSockets
from slip_sockets.testing import (
    CONNECTION_ID,
    Post,
    SignedRequest,
    django_client,
    flask_client,
    read_reply,
    signed_request,
    starlette_client,
)

from . import django_project
from .behaviour import act
from .django_project import SECRET

NOWHERE = "http://127.0.0.1:1/control"


def of_flask(control_api: str | None, *, is_async: bool) -> Post:
    app = Flask(__name__)
    app.config.from_mapping(
        SLIP_SOCKETS_CONTROL_API=control_api,
        SLIP_SOCKETS_JWT_SECRET=SECRET,
        SLIP_SOCKETS_PREVIOUS_SECRETS=["previous"],
        SLIP_SOCKETS_SUBPROTOCOL="slip.v1",
    )
    sockets = FlaskSlipSockets()
    sockets.init_app(app)

    @app.post("/sync/<room>")
    @sockets.handler
    def slip(connection: Connection, room: str) -> None:
        act(connection, room)

    @app.post("/async/<room>")
    @sockets.handler
    async def async_slip(connection: Connection, room: str) -> None:
        act(connection, room)

    return flask_client(app.test_client(), "/async/tea" if is_async else "/sync/tea")


def of_django(control_api: str | None, *, is_async: bool) -> Post:
    assert control_api == settings.SLIP_SOCKETS_CONTROL_API
    return django_client(django_project.client(), "/async/tea" if is_async else "/sync/tea")


def slip_sockets(control_api: str | None = None) -> SlipSockets:
    return SlipSockets(control_api=control_api, jwt_secret=SECRET, previous_secrets=["previous"], subprotocol="slip.v1")


def of_fastapi(control_api: str | None, *, is_async: bool) -> Post:
    sockets = slip_sockets(control_api)
    app = FastAPI(lifespan=sockets.lifespan)

    @app.post("/sync/{room}")
    @sockets.handler
    def slip(connection: Connection, room: str) -> None:
        act(connection, room)

    def dependency(room: str) -> str:
        return room

    @app.post("/async/{room}")
    @sockets.handler
    async def async_slip(connection: Connection, name: str = Depends(dependency)) -> None:
        act(connection, name)

    client = TestClient(app, raise_server_exceptions=False)
    return starlette_client(client, "/async/tea" if is_async else "/sync/tea")


def of_starlette(control_api: str | None, *, is_async: bool) -> Post:
    sockets = slip_sockets(control_api)

    @sockets.handler
    def slip(connection: "ForTypeCheckersOnly") -> None:  # type: ignore[name-defined] # noqa: F821, UP037
        act(connection, "tea")

    async def wrapped(connection: Connection) -> None:
        act(connection, "tea")

    @sockets.handler
    def async_slip(connection: Connection) -> Awaitable[None]:
        return wrapped(connection)

    app = Starlette(routes=[Route("/slip", async_slip if is_async else slip, methods=["POST"])])
    return starlette_client(TestClient(app, raise_server_exceptions=False), "/slip")


@pytest.fixture(params=[of_flask, of_django, of_fastapi, of_starlette], ids=["flask", "django", "fastapi", "starlette"])
def make(request: pytest.FixtureRequest) -> Callable[..., Post]:
    made: Callable[..., Post] = request.param
    return made


@pytest.fixture(params=[NOWHERE, None], ids=["control-api", "secret-alone"])
def control_api(request: pytest.FixtureRequest) -> Iterator[str | None]:
    with override_settings(SLIP_SOCKETS_CONTROL_API=request.param):
        yield request.param


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def post(request: pytest.FixtureRequest, make: Callable[..., Post], control_api: str | None) -> Post:
    return make(control_api, is_async=request.param)


def test_the_response_has_what_the_connection_recorded(post: Post) -> None:
    opened = signed_request(Open(CONNECTION_ID), jwt_secret=SECRET)
    assert read_reply(*post(*opened)) == [Accept(CONNECTION_ID), Subscribe(CONNECTION_ID, "tea")]
    sent = signed_request(Text(CONNECTION_ID, "é\0☕"), jwt_secret="previous", metadata={"a": [1]})
    assert read_reply(*post(*sent)) == [PublishText("tea", "é\0☕")]
    assert post(*signed_request(Close(CONNECTION_ID), jwt_secret=SECRET)) == (200, b'{"events":[]}')


@pytest.mark.parametrize(
    ("secret", "now", "problem"),
    [
        ("another", None, "the token is not signed with JWT_SECRET"),
        (SECRET, 1_000_000_000, "the token has expired"),
    ],
)
def test_a_bad_token_gets_403_and_a_line_in_the_log(
    post: Post, secret: str, now: float | None, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    forged = signed_request(Open(CONNECTION_ID), jwt_secret=secret, now=now)
    assert post(*forged) == (403, f"{problem}\n".encode())
    records = [record for record in caplog.records if record.name == "slip_sockets"]
    (record,) = records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"a POST to the backend was refused with 403: {problem}"


def test_no_token_gets_403(post: Post) -> None:
    problem = b"the request has no header 'Authorization: Bearer <token>'\n"
    assert post({"Content-Type": "application/websocket-events"}, b"") == (403, problem)


def offering(subprotocols: str) -> SignedRequest:
    handshake = {"headers": {"sec-websocket-protocol": subprotocols}, "ip": "::1", "query": {}}
    return signed_request(Open(CONNECTION_ID), jwt_secret=SECRET, metadata=handshake)


def test_accept_chooses_the_subprotocol_of_the_settings_where_a_client_offers_it(post: Post) -> None:
    for offered, chosen in (("slip.v1", "slip.v1"), ("chat.v1, slip.v1", "slip.v1"), ("chat.v1", None)):
        accept, _ = read_reply(*post(*offering(offered)))
        assert accept == Accept(CONNECTION_ID, chosen)


def test_a_bad_body_gets_400(post: Post) -> None:
    headers, _ = signed_request(Open(CONNECTION_ID), jwt_secret=SECRET)
    problem = b"events: the body needs an array, got int\n"
    assert post(headers, b'{"connectionId": "x", "metadata": null, "events": 1}') == (400, problem)


def test_an_error_of_the_application_gets_500(post: Post) -> None:
    assert post(*signed_request(Text(CONNECTION_ID, "fail"), jwt_secret=SECRET)).status == 500


def test_fastapi_documents_the_other_parameters_only() -> None:
    sockets, app = slip_sockets(), FastAPI()

    @app.post("/{room}")
    @sockets.handler
    async def slip(connection: Connection, room: str) -> None:
        """Take events."""

    (operation,) = app.openapi()["paths"]["/{room}"].values()
    assert operation["description"] == "Take events."
    assert [parameter["name"] for parameter in operation["parameters"]] == ["room"]
