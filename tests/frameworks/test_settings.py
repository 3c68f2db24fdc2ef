"""Where the adapters take their settings from, and the errors for wrong ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from flask import Flask

from slip_sockets import AsyncSlipSocketsPublisher, InvalidSettings, PublishText, SlipSocketsPublisher
from slip_sockets.client.adapter import AdapterSettings
from slip_sockets.django import async_publisher, publisher
from slip_sockets.flask import SlipSockets as FlaskSlipSockets
from slip_sockets.protocol.tokens import secret_problem
from slip_sockets.starlette import SlipSockets
from slip_sockets.testing import record

from ..conftest import KEY_OF_A_PAIR
from . import django_project

NO_CONTROL_API = (
    "a publisher needs SLIP_SOCKETS_CONTROL_API. Set it in {} to the control API's URL, "
    "or SLIP_SOCKETS_OUTPUTS to the path of cdk-outputs.json"
)
HERE = {"SLIP_SOCKETS_CONTROL_API": "http://127.0.0.1:8787/control", "SLIP_SOCKETS_JWT_SECRET": "change-me"}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    path = tmp_path / "cdk-outputs.json"
    path.write_text(json.dumps({name: {"controlApi": f"https://{name}.example/"} for name in ("slip-sockets", "shop")}))
    return path


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        (
            {},
            [
                "SLIP_SOCKETS_JWT_SECRET is not set. Set it in app.config to the deployment's JWT_SECRET",
            ],
        ),
        (
            HERE | {"SLIP_SOCKETS_CONTROL_API": "127.0.0.1:8787"},
            ["SLIP_SOCKETS_CONTROL_API '127.0.0.1:8787' is not an http or https URL. Set it in app.config"],
        ),
        (
            HERE | {"SLIP_SOCKETS_JWT_SECRET": b"change-me"},
            ["SLIP_SOCKETS_JWT_SECRET needs a string, got bytes. Set it in app.config"],
        ),
        (
            HERE | {"SLIP_SOCKETS_JWT_SECRET": KEY_OF_A_PAIR, "SLIP_SOCKETS_PREVIOUS_SECRETS": ["x", KEY_OF_A_PAIR]},
            [
                f"SLIP_SOCKETS_JWT_SECRET {secret_problem(KEY_OF_A_PAIR)}",
                f"SLIP_SOCKETS_PREVIOUS_SECRETS has a secret that {secret_problem(KEY_OF_A_PAIR)}",
            ],
        ),
        (
            HERE | {"SLIP_SOCKETS_PREVIOUS_SECRETS": "previous"},
            ["SLIP_SOCKETS_PREVIOUS_SECRETS needs a list of secrets. Set it in app.config"],
        ),
        (
            HERE | {"SLIP_SOCKETS_SUBPROTOCOL": True},
            ["SLIP_SOCKETS_SUBPROTOCOL needs a string, got bool. Set it in app.config"],
        ),
        (
            HERE | {"SLIP_SOCKETS_SUBPROTOCOL": "slip.v1, chat"},
            ["SLIP_SOCKETS_SUBPROTOCOL 'slip.v1, chat' is not the name of one, such as slip.v1. Set it in app.config"],
        ),
    ],
)
def test_wrong_settings_are_a_line_each(settings: Mapping[str, object], problems: list[str]) -> None:
    with pytest.raises(InvalidSettings) as refusal:
        AdapterSettings.read(settings.get, "app.config")
    assert refusal.value.problems == problems


@pytest.mark.parametrize(("stack", "control_api"), [({}, "slip-sockets"), ({"SLIP_SOCKETS_STACK": "shop"}, "shop")])
@pytest.mark.parametrize("kind", [str, Path])
def test_the_outputs_file_takes_the_place_of_the_control_api(
    outputs: Path, stack: dict[str, Any], control_api: str, kind: type[Any]
) -> None:
    app = Flask(__name__)
    app.config.from_mapping(SLIP_SOCKETS_OUTPUTS=kind(outputs), SLIP_SOCKETS_JWT_SECRET="change-me", **stack)
    sockets = FlaskSlipSockets(app)
    with app.app_context():
        assert sockets.publisher.control_api == f"https://{control_api}.example/"
    found = SlipSockets.from_outputs(outputs, stack=control_api, jwt_secret="change-me", subprotocol="slip.v1")
    assert found.publisher.control_api == f"https://{control_api}.example/"


def test_a_flask_application_without_slip_sockets_is_an_error() -> None:
    with Flask(__name__).app_context(), pytest.raises(RuntimeError) as refusal:
        _ = FlaskSlipSockets().publisher
    assert str(refusal.value) == "this application has no SLIP Sockets: call SlipSockets.init_app(app)"


def test_flask_without_a_control_api_raises_at_the_first_publish() -> None:
    app = Flask(__name__)
    app.config["SLIP_SOCKETS_JWT_SECRET"] = "change-me"
    sockets = FlaskSlipSockets(app)
    with app.app_context(), pytest.raises(InvalidSettings) as refusal:
        _ = sockets.publisher
    assert str(refusal.value) == NO_CONTROL_API.format("app.config")


def test_django_without_a_control_api_raises_at_the_first_publish() -> None:
    with override_settings(SLIP_SOCKETS_CONTROL_API=None):
        for make in (publisher, async_publisher):
            with pytest.raises(InvalidSettings) as refusal:
                make()
            assert str(refusal.value) == NO_CONTROL_API.format("your Django settings")


async def test_starlette_without_a_control_api_raises_at_the_first_publish() -> None:
    sockets = SlipSockets(jwt_secret="change-me")
    async with sockets.lifespan(None):
        with pytest.raises(InvalidSettings) as refusal:
            _ = sockets.publisher
    assert str(refusal.value) == (
        "a publisher needs control_api. "
        "Give SlipSockets the control API's URL, or make it with SlipSockets.from_outputs"
    )


@pytest.mark.parametrize("control_api", [None, "http://127.0.0.1:8787/control"])
def test_starlette_refuses_settings_that_are_not_good_ones(control_api: str | None) -> None:
    for parameters, problem in (
        ({"jwt_secret": ""}, "jwt_secret is empty"),
        ({"jwt_secret": "change-me", "previous_secrets": [""]}, "previous_secrets is empty"),
        ({"jwt_secret": "change-me", "subprotocol": ""}, "subprotocol '' is not the name of one, such as slip.v1"),
    ):
        with pytest.raises(ValueError, match=f"^{problem}$"):
            SlipSockets(control_api=control_api, **parameters)
    with pytest.raises(ValueError, match=r"^control_api '' is not an http or https URL$"):
        SlipSockets(jwt_secret="change-me", control_api="")


async def test_django_has_a_publisher_of_each_kind_and_follows_overridden_settings() -> None:
    assert django_project.SECRET
    before = publisher()
    assert publisher() is before
    with override_settings(SLIP_SOCKETS_CONTROL_API="https://other.example/"):
        assert isinstance(publisher(), SlipSocketsPublisher)
        assert isinstance(async_publisher(), AsyncSlipSocketsPublisher)
        assert publisher().control_api == async_publisher().control_api == "https://other.example/"
        with record(async_publisher()) as sent:
            await async_publisher().publish_text("tea", "hi")
        assert sent == [PublishText("tea", "hi")]
    assert publisher().control_api == before.control_api
    with override_settings(SLIP_SOCKETS_JWT_SECRET=None), pytest.raises(InvalidSettings) as refusal:
        publisher()
    wrong = "SLIP_SOCKETS_JWT_SECRET is not set. Set it in your Django settings to the deployment's JWT_SECRET"
    assert str(refusal.value) == wrong
