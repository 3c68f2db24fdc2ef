from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import jwt.utils
import pytest

from slip_sockets.protocol.errors import BadToken, ExpiredToken, MissingToken
from slip_sockets.protocol.tokens import (
    ISSUER,
    LEEWAY_S,
    LIFETIME_S,
    RECOMMENDED_SECRET_BYTES,
    Audience,
    bearer_token,
    mint,
    secret_problem,
    secret_warning,
    split_secrets,
    verify,
)

SECRET = "a-secret-of-more-than-thirty-two-bytes"


def token(**changes: Any) -> str:
    claims = {"iss": "slip-sockets", "aud": "ControlEvent", "exp": time.time() + 60} | changes
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, SECRET, algorithm="HS256")


def test_a_minted_token_has_the_claims_of_the_contract() -> None:
    minted = mint("WebSocketEvent", SECRET, now=1_700_000_000)
    claims = jwt.decode(minted, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_aud": False})
    assert claims == {"iss": "slip-sockets", "aud": "WebSocketEvent", "iat": 1_700_000_000, "exp": 1_700_000_060}
    assert jwt.get_unverified_header(minted)["alg"] == "HS256"


def test_a_minted_token_verifies_for_its_audience_only() -> None:
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
        ({"exp": "9999999999"}, "the token's exp is not a number"),
        ({"exp": [9_999_999_999]}, "the token is not a valid JWT"),
        ({"exp": float("inf")}, "the token is not a valid JWT"),
        ({"exp": float("nan")}, "the token is not a valid JWT"),
        ({"nbf": "0"}, "the token's nbf is not a number"),
        ({"nbf": float("inf")}, "the token is not a valid JWT"),
        ({"aud": ["WebSocketEvent"]}, "the token is for another audience"),
        ({"aud": []}, "the token has no aud"),
        ({"aud": {"ControlEvent": 1}}, "the token is for another audience"),
        ({"iss": "slip"}, "the token's issuer is not slip-sockets"),
        ({"iss": "slip-sockets "}, "the token's issuer is not slip-sockets"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadToken) as refusal:
        verify(token(**changes), "ControlEvent", [SECRET])
    assert str(refusal.value) == reason


@pytest.mark.parametrize("exp", [0, -1, -1e300, 1_700_000_000, 1_700_000_000.5, True])
def test_a_token_whose_time_has_passed_is_refused(exp: float) -> None:
    with pytest.raises(ExpiredToken) as refusal:
        verify(token(exp=exp), "ControlEvent", [SECRET])
    assert str(refusal.value) == "the token has expired"


@pytest.mark.parametrize("exp", [9_999_999_999.5, 1e300, 10**30])
def test_a_time_may_be_any_number_and_the_audience_one_of_several(exp: float) -> None:
    verify(token(exp=exp, aud=["Other", "ControlEvent"]), "ControlEvent", [SECRET])


def test_a_token_for_one_audience_is_refused_for_the_other() -> None:
    verify(mint("WebSocketEvent", SECRET), "WebSocketEvent", [SECRET])
    with pytest.raises(BadToken) as refusal:
        verify(mint("ControlEvent", SECRET), "WebSocketEvent", [SECRET])
    assert str(refusal.value) == "the token is for another audience"


@pytest.mark.parametrize("error", [TypeError, OverflowError])
def test_a_token_on_which_older_libraries_fail_is_refused(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """PyJWT 2.10 fails on an `exp` that is a list or infinite."""

    def decode(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("jwt.decode", decode)
    with pytest.raises(BadToken) as refusal:
        verify("x", "ControlEvent", [SECRET])
    assert str(refusal.value) == "the token is not a valid JWT"


def test_any_lifetime_and_a_minter_whose_clock_is_ahead_are_accepted() -> None:
    verify(token(exp=time.time() + 10 * 365 * 86_400), "ControlEvent", [SECRET])
    verify(mint("ControlEvent", SECRET, now=time.time() + 300), "ControlEvent", [SECRET])


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    claims = {"iss": "slip-sockets", "aud": "ControlEvent", "exp": time.time() + 60}
    with pytest.raises(BadToken) as refusal:
        verify(jwt.encode(claims, SECRET * 2, algorithm=algorithm), "ControlEvent", [SECRET * 2])
    assert str(refusal.value) == "the token's algorithm is not HS256"


def signed(header: dict[str, Any], secret: str = SECRET, digest: str = "sha256") -> str:
    """Return a token with a header that no library would write."""
    claims = {"iss": "slip-sockets", "aud": "ControlEvent", "exp": time.time() + 60}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = hmac.new(secret.encode(), b".".join(parts), digest).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


ALGORITHM = "the token's algorithm is not HS256"
KEY = "the token is not signed with JWT_SECRET"
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (lambda: signed({"alg": "RS256"}), ALGORITHM),
        (lambda: signed({"alg": "RS256"}, PUBLIC_KEY), ALGORITHM),
        (lambda: signed({"alg": "HS256"}, PUBLIC_KEY), KEY),
        (lambda: signed({"alg": "HS512"}, digest="sha512"), ALGORITHM),
        (lambda: signed({"alg": "HS256"}, digest="sha512"), KEY),
        (lambda: signed({"alg": "none"}), ALGORITHM),
        (lambda: signed({"alg": "None"}), ALGORITHM),
        (lambda: signed({"alg": "hs256"}), ALGORITHM),
        (lambda: signed({"alg": "HS256 "}), ALGORITHM),
        (lambda: signed({"alg": ["HS256"]}), ALGORITHM),
        (lambda: signed({"alg": None}), ALGORITHM),
        (lambda: signed({}), ALGORITHM),
        (lambda: signed({"alg": "HS256", "jwk": {"kty": "oct", "k": "eA"}}, "x"), KEY),
        (lambda: signed({"alg": "HS256", "kid": "../../../dev/null"}, ""), KEY),
        (lambda: signed({"alg": "HS256", "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/"}, "x"), KEY),
        (lambda: signed({"alg": "HS256"}).rpartition(".")[0] + ".", KEY),
        (lambda: signed({"alg": "HS256"})[:-4] + "AAAA", KEY),
    ],
)
def test_a_forged_header_is_refused(forge: Callable[[], str], reason: str) -> None:
    with pytest.raises(BadToken) as refusal:
        verify(forge(), "ControlEvent", [SECRET])
    assert str(refusal.value) == reason


def test_a_header_that_names_a_key_is_ignored() -> None:
    verify(signed({"alg": "HS256", "kid": "1", "jku": "http://127.0.0.1:1/", "jwk": {}}), "ControlEvent", [SECRET])


def test_an_unsigned_token_is_refused() -> None:
    claims = {"iss": "slip-sockets", "aud": "ControlEvent", "exp": time.time() + 60}
    with pytest.raises(BadToken) as refusal:
        verify(jwt.encode(claims, "", algorithm="none"), "ControlEvent", [SECRET])
    assert str(refusal.value) == ALGORITHM


@pytest.mark.parametrize("garbage", ["", "x", "a.b.c", "é.é.é", "..", "a" * 100_000])
def test_a_text_that_is_not_a_token_is_refused(garbage: str) -> None:
    with pytest.raises(BadToken):
        verify(garbage, "ControlEvent", [SECRET])


def test_previous_secrets_verify_and_others_do_not() -> None:
    verify(mint("ControlEvent", "previous"), "ControlEvent", ["current", "previous"])
    with pytest.raises(BadToken) as refusal:
        verify(mint("ControlEvent", "other"), "ControlEvent", ["current", "previous"])
    assert str(refusal.value) == "the token is not signed with JWT_SECRET"


def test_a_short_secret_gives_the_signature_that_other_libraries_give() -> None:
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        assert jwt.decode(mint("ControlEvent", "abc"), "abc", algorithms=["HS256"], audience="ControlEvent")
    verify(mint("ControlEvent", "abc"), "ControlEvent", ["abc"])


def test_an_empty_secret_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="the secret is empty"):
        mint("ControlEvent", "")
    with pytest.raises(ValueError, match="the secret is empty"):
        verify(mint("ControlEvent", "another"), "ControlEvent", ["another one", ""])
    with pytest.raises(ValueError, match="at least one secret"):
        verify("x", "ControlEvent", [])


@pytest.mark.parametrize("secret", [PUBLIC_KEY, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA ada@laptop"])
def test_an_asymmetric_key_is_an_error_of_the_caller(secret: str) -> None:
    """It may be public, and then anybody could have signed a token."""
    problem = (
        "looks like an asymmetric key or a certificate. "
        "HS256 needs a shared secret, e.g. the output of: openssl rand -hex 32"
    )
    with pytest.raises(ValueError, match=f"^the secret {problem}$"):
        mint("ControlEvent", secret)
    with pytest.raises(ValueError, match=f"^the secret {problem}$"):
        verify(mint("ControlEvent", "another"), "ControlEvent", ["another one", secret])
    assert secret_problem(secret) == problem


def test_any_other_text_but_an_empty_one_is_a_good_secret() -> None:
    assert secret_problem("") == "is empty"
    assert secret_problem("x") is None
    assert secret_problem(SECRET) is None


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER   abc ", " Bearer abc"])
def test_the_scheme_is_read_in_any_case(header: str) -> None:
    assert bearer_token(header) == "abc"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "abc"])
def test_a_header_without_a_token_is_refused(header: str | None) -> None:
    with pytest.raises(MissingToken) as refusal:
        bearer_token(header)
    assert str(refusal.value) == "the request has no header 'Authorization: Bearer <token>'"


@pytest.mark.parametrize("secret", ["x", "é" * 20, "s" * 100, "=+/_"])
@pytest.mark.parametrize("audience", ["WebSocketEvent", "ControlEvent"])
def test_a_token_is_the_same_as_pyjwts(secret: str, audience: Audience) -> None:
    claims = {"iss": ISSUER, "aud": audience, "iat": 1_700_000_000, "exp": 1_700_000_000 + LIFETIME_S}
    key = secret.encode().ljust(RECOMMENDED_SECRET_BYTES, b"\0")
    assert mint(audience, secret, now=1_700_000_000) == jwt.encode(claims, key, algorithm="HS256")


ASYMMETRIC = [
    *(f"-----BEGIN {label.decode()}-----\nx\n-----END {label.decode()}-----" for label in sorted(jwt.utils._PEMS)),
    *(f"{name.decode()}AAAA" for name in jwt.utils._SSH_KEY_FORMATS),
]


@pytest.mark.parametrize("secret", ASYMMETRIC)
def test_whatever_pyjwt_takes_for_an_asymmetric_key_is_refused(secret: str) -> None:
    with pytest.raises(jwt.InvalidKeyError):
        jwt.encode({}, secret, algorithm="HS256")
    assert secret_problem(secret) is not None
    with pytest.raises(ValueError, match="the secret looks like an asymmetric key"):
        mint("WebSocketEvent", secret)


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("", "is empty"),
        (" \n", "is blank. Set it to a secret that both sides know, e.g. the output of: openssl rand -hex 32"),
        ("caf\udce9", "is not UTF-8. Set it to text"),
    ],
)
def test_what_is_not_a_secret(secret: str, problem: str) -> None:
    assert secret_problem(secret) == problem


@pytest.mark.parametrize(
    ("secret", "oddity"),
    [
        ("s\n", "ends with a newline"),
        ("s ", "ends with a space"),
        ("\ts", "begins with a tab"),
        ("s\r", "ends with a carriage return"),
        ("\u00a0s", "begins with a blank"),
        (" s\n", "begins with a space"),
    ],
)
def test_a_blank_at_an_end_of_a_secret_is_a_warning(secret: str, oddity: str) -> None:
    expected = f"{oddity}, which counts. If it is there by mistake, take it off on both sides"
    assert (secret_problem(secret), secret_warning(secret)) == (None, expected)


def test_a_secret_without_one_has_no_warning() -> None:
    assert secret_warning("a secret") is None


def test_secrets_in_a_list_count_to_the_letter() -> None:
    assert split_secrets(",old\n, older ,,") == ("old\n", " older ")
