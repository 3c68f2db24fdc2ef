from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from slip_sockets.errors import BadToken, ExpiredToken, MissingToken
from slip_sockets.tokens import LEEWAY_S, LIFETIME_S, bearer_token, mint, verify

SECRET = "a-secret-of-more-than-thirty-two-bytes"


def token(**changes: Any) -> str:
    claims = {"iss": "slip-sockets", "aud": "ControlEvent", "exp": time.time() + 60} | changes
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, SECRET, algorithm="HS256")


def test_a_minted_token_has_the_claims_of_the_contract() -> None:
    minted = mint("WebSocketEvent", SECRET, now=1_700_000_000)
    claims = jwt.decode(minted, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_aud": False})
    assert claims == {"iss": "slip-sockets", "aud": "WebSocketEvent", "iat": 1_700_000_000, "exp": 1_700_000_060}
    assert jwt.get_unverified_header(minted)["alg"] == "HS256"


def test_a_minted_token_verifies_for_its_audience_alone() -> None:
    verify(mint("ControlEvent", SECRET), "ControlEvent", [SECRET])
    with pytest.raises(BadToken) as refusal:
        verify(mint("WebSocketEvent", SECRET), "ControlEvent", [SECRET])
    assert str(refusal.value) == "the token is for another audience"


def test_a_token_expires_after_its_minute_and_the_leeway() -> None:
    now = time.time()
    verify(mint("ControlEvent", SECRET, now=now - LIFETIME_S - LEEWAY_S + 5), "ControlEvent", [SECRET])
    with pytest.raises(ExpiredToken) as refusal:
        verify(mint("ControlEvent", SECRET, now=now - LIFETIME_S - LEEWAY_S - 5), "ControlEvent", [SECRET])
    assert str(refusal.value) == "the token has expired"


@pytest.mark.parametrize("skew_s", [-30, 30])
def test_clocks_half_a_minute_apart_agree_on_a_token(skew_s: int) -> None:
    in_its_last_seconds = LIFETIME_S - 5 if skew_s < 0 else 0
    verify(mint("ControlEvent", SECRET, now=time.time() + skew_s - in_its_last_seconds), "ControlEvent", [SECRET])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": None}, "the token has no exp"),
        ({"aud": None}, "the token has no aud"),
        ({"iss": None}, "the token has no iss"),
        ({"iss": "other"}, "the token's issuer is not slip-sockets"),
        ({"aud": "controlevent"}, "the token is for another audience"),
        ({"nbf": 9_999_999_999}, "the token is not valid yet (nbf)"),
        ({"exp": "soon"}, "the token is not a valid JWT"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadToken) as refusal:
        verify(token(**changes), "ControlEvent", [SECRET])
    assert str(refusal.value) == reason


def test_any_lifetime_and_a_minter_whose_clock_is_ahead_are_accepted() -> None:
    verify(token(exp=time.time() + 10 * 365 * 86_400), "ControlEvent", [SECRET])
    verify(mint("ControlEvent", SECRET, now=time.time() + 300), "ControlEvent", [SECRET])


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    claims = {"iss": "slip-sockets", "aud": "ControlEvent", "exp": time.time() + 60}
    with pytest.raises(BadToken) as refusal:
        verify(jwt.encode(claims, SECRET * 2, algorithm=algorithm), "ControlEvent", [SECRET * 2])
    assert str(refusal.value) == "the token's algorithm is not HS256"


def test_an_unsigned_token_is_refused() -> None:
    claims = {"iss": "slip-sockets", "aud": "ControlEvent", "exp": time.time() + 60}
    with pytest.raises(BadToken):
        verify(jwt.encode(claims, "", algorithm="none"), "ControlEvent", [SECRET])


@pytest.mark.parametrize("garbage", ["", "x", "a.b.c", "é.é.é", "..", "a" * 100_000])
def test_what_is_no_token_is_refused(garbage: str) -> None:
    with pytest.raises(BadToken):
        verify(garbage, "ControlEvent", [SECRET])


def test_previous_secrets_verify_and_others_do_not() -> None:
    verify(mint("ControlEvent", "previous"), "ControlEvent", ["current", "previous"])
    with pytest.raises(BadToken) as refusal:
        verify(mint("ControlEvent", "other"), "ControlEvent", ["current", "previous"])
    assert str(refusal.value) == "the token is not signed with JWT_SECRET"


def test_a_short_secret_gives_the_signature_that_everybody_else_gives() -> None:
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        assert jwt.decode(mint("ControlEvent", "abc"), "abc", algorithms=["HS256"], audience="ControlEvent")
    verify(mint("ControlEvent", "abc"), "ControlEvent", ["abc"])


def test_an_empty_secret_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="the secret is empty"):
        mint("ControlEvent", "")
    with pytest.raises(ValueError, match="at least one secret"):
        verify("x", "ControlEvent", [])


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER   abc ", " Bearer abc"])
def test_the_scheme_is_read_in_any_case(header: str) -> None:
    assert bearer_token(header) == "abc"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "abc"])
def test_a_header_without_a_token_is_told(header: str | None) -> None:
    with pytest.raises(MissingToken) as refusal:
        bearer_token(header)
    assert str(refusal.value) == "the request has no header 'Authorization: Bearer <token>'"
