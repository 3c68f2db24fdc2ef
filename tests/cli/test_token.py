from __future__ import annotations

import json
import time

import jwt
import pytest

from slip_sockets.protocol.tokens import mint, verify

from ..conftest import KEY_OF_A_PAIR, SECRET
from .conftest import Cli, refused

NOT_SHARED = (
    "JWT_SECRET looks like an asymmetric key or a certificate. "
    "HS256 needs a shared secret, e.g. the output of: openssl rand -hex 32"
)


@pytest.mark.parametrize(
    ("options", "audience"),
    [((), "ControlEvent"), (("--for", "control"), "ControlEvent"), (("--for", "backend"), "WebSocketEvent")],
)
def test_mint_prints_a_token_that_its_audience_accepts(cli: Cli, options: tuple[str, ...], audience: str) -> None:
    result = cli("token", "mint", *options, JWT_SECRET=SECRET)
    assert (result.exit_code, result.stderr) == (0, "")
    token = result.stdout.strip()
    verify(token, "ControlEvent" if audience == "ControlEvent" else "WebSocketEvent", [SECRET])
    assert jwt.decode(token, options={"verify_signature": False})["aud"] == audience


def test_mint_as_json_says_when_it_expires(cli: Cli) -> None:
    before = int(time.time())
    result = cli("token", "mint", "--lifetime", "3600", "--json", JWT_SECRET=SECRET)
    document = json.loads(result.stdout)
    assert document["audience"] == "ControlEvent"
    assert jwt.decode(document["token"], options={"verify_signature": False})["exp"] == document["expiresAt"]
    assert before + 3600 <= document["expiresAt"] <= time.time() + 3600


def test_mint_without_a_secret_is_one_line(cli: Cli) -> None:
    refused(cli("token", "mint"), "JWT_SECRET is not set. Set it to the deployment's secret")


def test_mint_with_an_asymmetric_key_is_one_line(cli: Cli) -> None:
    refused(cli("token", "mint", JWT_SECRET=KEY_OF_A_PAIR), NOT_SHARED)


@pytest.mark.parametrize("prefix", ["", "Bearer ", "Authorization: Bearer "])
def test_inspect_shows_the_claims_and_that_the_token_is_valid(cli: Cli, prefix: str) -> None:
    token = mint("WebSocketEvent", SECRET)
    for arguments, stdin in (((prefix + token,), None), (("-",), f"{prefix}{token}\n")):
        result = cli("token", "inspect", *arguments, stdin=stdin, JWT_SECRET=SECRET)
        assert (result.exit_code, result.stderr) == (0, "")
        lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
        assert lines["aud"] == "WebSocketEvent  for a backend"
        assert lines["algorithm"] == "HS256"
        assert lines["valid"] == "yes"
        assert " in " in lines["exp"]
        assert " ago" in lines["iat"] or " in 0 s" in lines["iat"]


@pytest.mark.parametrize(
    ("token", "secret", "problem"),
    [
        (mint("ControlEvent", SECRET), "another", "the token is not signed with JWT_SECRET"),
        (mint("ControlEvent", SECRET), "", "the signature was not checked: JWT_SECRET is not set"),
        (
            mint("ControlEvent", SECRET),
            KEY_OF_A_PAIR,
            f"the signature was not checked: {NOT_SHARED}",
        ),
        (mint("ControlEvent", SECRET, now=1_000_000), SECRET, "the token has expired"),
        (
            jwt.encode({"iss": "slip-sockets", "aud": ["x"], "exp": 9e9}, SECRET),
            SECRET,
            "its audience is neither ControlEvent nor WebSocketEvent",
        ),
        (
            jwt.encode({"iss": "me", "aud": "ControlEvent", "exp": 9e99}, SECRET),
            SECRET,
            "the token's issuer is not slip-sockets",
        ),
    ],
)
def test_inspect_prints_why_a_token_is_not_valid_and_exits_with_2(
    cli: Cli, token: str, secret: str, problem: str
) -> None:
    result = cli("token", "inspect", token, JWT_SECRET=secret)
    assert (result.exit_code, result.stderr) == (2, "")
    assert result.stdout.splitlines()[-1] == f"valid      no: {problem}"
    as_json = cli("token", "inspect", token, "--json", JWT_SECRET=secret)
    document = json.loads(as_json.stdout)
    assert (as_json.exit_code, document["valid"], document["problem"]) == (2, False, problem)
    assert document["claims"] == jwt.decode(token, options={"verify_signature": False})
    assert document["header"] == {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "a.b"])
def test_text_that_is_not_a_token_is_one_line(cli: Cli, text: str) -> None:
    result = cli("token", "inspect", text, JWT_SECRET=SECRET)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("slip-sockets: that is not a JSON Web Token: ")
    assert len(result.stderr.splitlines()) == 1
