"""Sections 3 and 7: tokens that open the control API, and tokens that do not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import aiohttp
import jwt
import pytest

from slip_sockets.dev.server import DevServer
from slip_sockets.protocol.tokens import mint

from ..conftest import SECRET
from ..scripted_backend import ScriptedBackend
from .wire import Control, Warnings, joined, running

NOTHING = b'{"events": []}'
NOT_SIGNED = "the token is not signed with JWT_SECRET"
NO_HEADER = "the request has no header 'Authorization: Bearer <token>'"


def token(key: str = SECRET, algorithm: str = "HS256", without: str = "", **claims: Any) -> str:
    now = int(time.time())
    all_claims = {"iss": "slip-sockets", "aud": "ControlEvent", "iat": now, "exp": now + 60, **claims}
    all_claims.pop(without, None)
    return jwt.encode(all_claims, "" if algorithm == "none" else key, algorithm=algorithm)


def ago(seconds: float) -> int:
    return int(time.time() - seconds)


def tampered() -> str:
    """Other claims under a valid signature."""
    head, _, signature = token().split(".")
    return ".".join([head, token(sub="me").split(".")[1], signature])


LONG_KEY = "k" * 64

REFUSED: dict[str, tuple[Callable[[], str | None], str]] = {
    "no header": (lambda: None, NO_HEADER),
    "empty": (lambda: "", NO_HEADER),
    "no scheme": (token, NO_HEADER),
    "another scheme": (lambda: f"Basic {token()}", NO_HEADER),
    "no token": (lambda: "Bearer ", NO_HEADER),
    "not a JWT": (lambda: "Bearer abc", "the token is not a valid JWT"),
    "two tokens": (lambda: f"Bearer {token()} {token()}", "the token is not a valid JWT"),
    "not ASCII": (lambda: "Bearer \u00e9\u00e9.\u00e9.\u00e9", "the token is not a valid JWT"),
    "not signed": (lambda: f"Bearer {token(algorithm='none')}", "the token's algorithm is not HS256"),
    "HS512": (lambda: f"Bearer {token(LONG_KEY, 'HS512')}", "the token's algorithm is not HS256"),
    "another key": (lambda: f"Bearer {token(LONG_KEY)}", NOT_SIGNED),
    "tampered": (lambda: f"Bearer {tampered()}", NOT_SIGNED),
    "for the backend": (lambda: f"Bearer {mint('WebSocketEvent', SECRET)}", "the token is for another audience"),
    "for the backend, as a list": (
        lambda: f"Bearer {token(aud=['WebSocketEvent'])}",
        "the token is for another audience",
    ),
    "another issuer": (lambda: f"Bearer {token(iss='me')}", "the token's issuer is not slip-sockets"),
    "expired": (lambda: f"Bearer {token(exp=ago(60))}", "the token has expired"),
    "captured, after its minute and the leeway": (
        lambda: f"Bearer {mint('ControlEvent', SECRET, now=ago(60 + 30 + 5))}",
        "the token has expired",
    ),
    "exp as text": (lambda: f"Bearer {token(exp=str(ago(-60)))}", "the token's exp is not a number"),
    "exp as a list": (lambda: f"Bearer {token(exp=[ago(-60)])}", "the token is not a valid JWT"),
    "negative exp": (lambda: f"Bearer {token(exp=-1)}", "the token has expired"),
    "not valid yet": (lambda: f"Bearer {token(nbf=ago(-60))}", "the token is not valid yet (nbf)"),
    "no exp": (lambda: f"Bearer {token(without='exp')}", "the token has no exp"),
    "no aud": (lambda: f"Bearer {token(without='aud')}", "the token has no aud"),
    "no iss": (lambda: f"Bearer {token(without='iss')}", "the token has no iss"),
}


@pytest.mark.parametrize(("authorize", "problem"), REFUSED.values(), ids=REFUSED.keys())
async def test_bad_token_is_403_and_one_line_without_the_token(
    server: DevServer,
    backend: ScriptedBackend,
    control: Control,
    warnings: Warnings,
    caplog: pytest.LogCaptureFixture,
    authorize: Callable[[], str | None],
    problem: str,
) -> None:
    async with joined(server, backend, "lobby") as member:
        body = b'{"events": [{"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "let me in"}]}'
        authorization = authorize()
        refused = await control.send_as(authorization, body)
        assert (refused.status, refused.body) == (403, b"Invalid token")
        assert warnings() == [f"control API: {problem}; refused with 403"]
        assert "eyJ" not in caplog.text  # what every JWT begins with
        assert await member.received(control) == []


@pytest.mark.parametrize("body", [b"", b"no JSON", b'{"events": [1]}'])
async def test_token_is_checked_before_the_body(control: Control, body: bytes) -> None:
    refused = await control.send_as(f"Bearer {token(LONG_KEY)}", body)
    assert (refused.status, refused.body) == (403, b"Invalid token")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
async def test_scheme_is_in_any_case(control: Control, scheme: str) -> None:
    assert (await control.send_as(f"{scheme} {token()}", NOTHING)).status == 200


@pytest.mark.parametrize(
    "claims",
    [
        lambda: {"exp": ago(-10 * 365 * 86_400)},
        lambda: {"exp": ago(20)},
        lambda: {"iat": ago(-3600)},
        lambda: {"without": "iat"},
        lambda: {"aud": ["ControlEvent", "Other"]},
        lambda: {"sub": "me", "more": 1},
    ],
)
async def test_token_of_any_lifetime_within_the_leeway_is_accepted(
    control: Control, claims: Callable[[], dict[str, Any]]
) -> None:
    assert (await control.send_as(f"Bearer {token(**claims())}", NOTHING)).status == 200


async def test_previous_secret_is_still_accepted_and_never_signs(
    backend: ScriptedBackend, http: aiohttp.ClientSession
) -> None:
    async with running(backend.url, previous_secrets=[LONG_KEY]) as server:
        control = Control(http, server.control_api)
        for key in (SECRET, LONG_KEY):
            assert (await control.send_as(f"Bearer {token(key)}", NOTHING)).status == 200
        assert (await control.send_as(f"Bearer {token(LONG_KEY + 'x')}", NOTHING)).status == 403
        async with joined(server, backend):
            signed = backend.posts[0].headers["Authorization"].removeprefix("Bearer ")
        jwt.decode(signed, SECRET, algorithms=["HS256"], audience="WebSocketEvent")
