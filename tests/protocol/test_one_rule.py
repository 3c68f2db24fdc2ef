"""What a URL or a secret may be is the same in each place that takes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from slip_sockets import AsyncSlipSocketsPublisher, InvalidSettings, Report, SlipSocketsPublisher
from slip_sockets.cli import check, dev
from slip_sockets.cli.app import app
from slip_sockets.client.adapter import AdapterSettings
from slip_sockets.protocol.tokens import secret_problem
from slip_sockets.protocol.urls import url_problem
from stacks.settings import read_settings

from ..conftest import KEY_OF_A_PAIR, SECRET

URL = "https://app.example/slip"
Place = Callable[[str, str, str], str]
"""Takes a URL, a secret and a previous secret; returns what was refused, "" if nothing."""


def by_command(*arguments: str, url: str, **environment: str) -> str:
    given = {"TARGET_URL": None, "JWT_SECRET": None, "JWT_PREVIOUS_SECRETS": None, "COLUMNS": "9999", **environment}
    result = CliRunner().invoke(app, [*arguments, url], env=given)
    assert result.exit_code in (0, 2), (result.exception, result.output)
    return result.stderr if result.exit_code else ""


@contextmanager
def refusals(found: list[str]) -> Iterator[None]:
    try:
        yield
    except InvalidSettings as error:
        found += error.problems
    except ValueError as error:
        found.append(str(error))


def in_python(build: Callable[[], Any]) -> str:
    found: list[str] = []
    with refusals(found):
        build()
    return "\n".join(found)


def previous_of(text: str) -> dict[str, str]:
    return {"JWT_PREVIOUS_SECRETS": text} if text else {}


def settings_of(url: str, secret: str, previous: str) -> dict[str, object]:
    values = {"CONTROL_API": url, "JWT_SECRET": secret, "PREVIOUS_SECRETS": [previous] if previous else []}
    return {f"SLIP_SOCKETS_{name}": value for name, value in values.items()}


def publishes(kind: type[Any]) -> Place:
    return lambda url, secret, previous: in_python(
        lambda: kind(control_api=url, jwt_secret=secret, previous_secrets=[previous] if previous else [])
    )


PLACES: dict[str, Place] = {
    "dev": lambda url, secret, previous: by_command(
        "dev", "--target-url", url=url, JWT_SECRET=secret, **previous_of(previous)
    ),
    "check": lambda url, secret, _: by_command("check", "--", url=url, JWT_SECRET=secret),
    "publish": lambda url, secret, _: by_command("publish", "lobby", "hi", "--control-api", url=url, JWT_SECRET=secret),
    "publisher": publishes(SlipSocketsPublisher),
    "async publisher": publishes(AsyncSlipSocketsPublisher),
    "adapters": lambda url, secret, previous: in_python(
        lambda: AdapterSettings.read(settings_of(url, secret, previous).get, "here")
    ),
    "stacks": lambda url, secret, previous: in_python(
        lambda: read_settings({"TARGET_URL": url, "JWT_SECRET": secret, **previous_of(previous)})
    ),
}


@pytest.fixture(autouse=True)
def nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands end after they have read their settings."""

    async def end(*_: object) -> None: ...

    monkeypatch.setattr(dev, "_serve", end)
    monkeypatch.setattr(check, "_play", end)
    monkeypatch.setattr(SlipSocketsPublisher, "publish_text", lambda *_, **__: Report(0, 0, 0, 0))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "url",
    [
        *("https:///x", "//host", "https:host", "ftp://host/", "https//host", "https://https://host", " ", "-", "{}"),
        *("https://.host/", "https://a..b/", "https://a../", f"https://{'a' * 64}.b/", f"https://{'a.' * 130}b/"),
        *("https://h:0/", "https://h:65536/", "https://h:x/", "https://h:\u0668/", "https://[::1]x/", "https://[::1"),
        *("https://[fe80::1%25eth0]/", "https://127.1/", "https://1.2.3.4./", "https://u:p@.h/", "https://-h/"),
        *(" https://h/", "https://h/\n", "https://h/a b", "https://h/\x1b", "https://h/\udce9", "https://h\\x/"),
        *("https://a\u200bb/", "https://\u2603.b/", "https://h/${x}", f"https://h/{'a' * 3_000}"),
        *(URL, "HTTP://u:p@H:8080", "https://[::1]:1/?a=%2F#b", "https://\u00fc\u3002b/\u00e9", "http://a_b./"),
    ],
    ids=lambda url: ascii(url[:30]),
)
def test_a_url(place: str, url: str) -> None:
    problem = url_problem(url)
    refused = PLACES[place](url, SECRET, "")
    if "\udce9" in url and place in ("dev", "check", "publish"):
        problem = "not UTF-8"  # which commands refuse of all their options
    assert problem in refused if problem else refused == ""
    assert "u:p@" not in refused


SECRETS = (
    *(" ", "\n\t", "caf\udce9", KEY_OF_A_PAIR, "ssh-rsa AAAA", f" {SECRET}", f"{SECRET}\n", f"{SECRET}\r\n", "x"),
    *("\u00e9" * 40, "${x}%{y}", "a\nb" * 20, "\x1b[31m" * 9, "s" * 30_000, "\ufeff" + SECRET, "--" + SECRET),
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("secret", [*SECRETS, "a,b" * 20], ids=lambda secret: ascii(secret[:20]))
def test_a_secret(place: str, secret: str) -> None:
    problem = secret_problem(secret)
    refused = PLACES[place](URL, secret, "")
    assert problem in refused if problem else refused == ""
    assert secret.strip() not in refused or not secret.strip()


@pytest.mark.parametrize("place", [place for place in PLACES if place not in ("check", "publish")])
@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: ascii(secret[:20]))
def test_a_previous_secret(place: str, secret: str) -> None:
    problem = secret_problem(secret)
    refused = PLACES[place](URL, SECRET, secret)
    assert problem in refused if problem else refused == ""
    assert secret.strip() not in refused or not secret.strip()
