"""Tokens: one signed with the secret is accepted until it expires, any other is refused with a reason."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

import pytest

from slip_sockets.client.connection import parse_request
from slip_sockets.protocol.errors import InvalidEvents, InvalidToken
from slip_sockets.protocol.tokens import LEEWAY_S, bearer_token, verify

from ..gateway.doubles import SECRET
from .mutator import Mutator
from .play import play

pytestmark = pytest.mark.fuzz

PREVIOUS = "a-previous-secret-of-thirty-two-bytes-or-so"
OTHER = "another-secret-of-more-than-thirty-two-bytes"
PUBLIC_KEY = (
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----"
)
SECRETS = (SECRET, SECRET, SECRET, PREVIOUS, OTHER, PUBLIC_KEY, "")
HASHES = {"HS384": "sha384", "HS512": "sha512"}
HEADERS: tuple[dict[str, Any], ...] = (
    {"alg": "none"}, {"alg": "None"}, {"alg": ""}, {"alg": "hs256"}, {"alg": "HS256 "}, {"alg": "HS384"},
    {"alg": "HS512"}, {"alg": "RS256"}, {"alg": "ES256"}, {"alg": "PS256"}, {"alg": ["HS256"]},
    {"kid": "../../dev/null"}, {"kid": 7},
    {"jku": "http://127.0.0.1:1/"}, {"jwk": {"kty": "oct", "k": "eA"}}, {"x5u": "http://127.0.0.1:1/"}, {"crit": ["x"]},
    {"b64": False}, {"typ": "JWE"}, {"cty": "JWT"}, {"zip": "DEF"}, {"enc": "A128GCM"},
)  # fmt: skip
CLAIMS: tuple[dict[str, Any], ...] = (
    {"exp": 0}, {"exp": -1}, {"exp": "9999999999"}, {"exp": 9999999999.5}, {"exp": 10**30}, {"exp": None}, {"exp": []},
    {"nbf": 9999999999}, {"nbf": "0"}, {"nbf": 1}, {"aud": "WebSocketEvent"},
    {"aud": ["WebSocketEvent", "ControlEvent"]},
    {"aud": []}, {"aud": {"ControlEvent": 1}}, {"aud": "controlevent"}, {"iss": "other"}, {"iss": ["slip-sockets"]},
    {"iat": 9999999999}, {"iat": "x"}, {"sub": 7}, {"jti": 7},
)  # fmt: skip


@dataclass(frozen=True)
class Presented:
    authorization: str
    is_due: bool | None
    """Whether it must be accepted; None where a JWT library may decide either way."""


class Tokens:
    def draw(self, mutator: Mutator, faults: int) -> Presented:
        header: Any = {"alg": "HS256", "typ": "JWT"}
        claims: Any = {"iss": "slip-sockets", "aud": "ControlEvent", "iat": 1, "exp": int(time.time()) + 86_400}
        secret = mutator.one_of((SECRET, PREVIOUS))
        for _ in range(faults):
            kind = mutator.chance()
            if kind < 0.2:
                header |= mutator.one_of(HEADERS)
            elif kind < 0.5:
                claims |= mutator.one_of(CLAIMS)
            elif kind < 0.6:
                claims |= {"more": mutator.spoilt(mutator.json())}
            elif kind < 0.65 and faults == 1:
                header = mutator.spoilt(header)
            elif kind < 0.8 and faults == 1:
                claims = mutator.spoilt(claims)
            elif kind < 0.9:
                secret = mutator.one_of(SECRETS)
        signed = f"{_base64(mutator.json_bytes(header))}.{_base64(mutator.json_bytes(claims))}"
        algorithm = header.get("alg") if isinstance(header, dict) else None
        digest = HASHES.get(algorithm, "sha256") if isinstance(algorithm, str) else "sha256"
        token = f"{signed}.{_base64(hmac.new(secret.encode(), signed.encode(), digest).digest())}"
        if faults and mutator.chance() < 0.15:
            return Presented(f"Bearer {mutator.spoilt_text(token)}", None)
        if faults and mutator.chance() < 0.05:
            return Presented(mutator.spoilt_text(f"Bearer {token}"), None)
        return Presented(f"Bearer {token}", _is_due(header, claims, secret))

    def play(self, given: Presented) -> bool:
        refusal = _refusal(given.authorization)
        if given.is_due is not None:
            assert (refusal is None) == given.is_due, refusal
        elif refusal is None:
            assert _is_signed(given.authorization)
        self._holds_other_audience(given.authorization, is_for_control=refusal is None)
        if refusal is not None:
            assert refusal.startswith("the ")
            assert refusal.isprintable()
            assert len(refusal) < 100
        return refusal is None

    def _holds_other_audience(self, authorization: str, *, is_for_control: bool) -> None:
        """A backend takes the other audience alone; a signer may name both."""
        try:
            parse_request({"Authorization": authorization}, b"not JSON", secrets=[SECRET, PREVIOUS])
        except InvalidToken:
            return
        except InvalidEvents:
            assert "WebSocketEvent" in str(_claims(authorization).get("aud"))
        assert not is_for_control or isinstance(_claims(authorization)["aud"], list)


def _refusal(authorization: str) -> str | None:
    try:
        verify(bearer_token(authorization), "ControlEvent", [SECRET, PREVIOUS])
    except InvalidToken as error:
        return str(error)
    return None


def _is_due(header: Any, claims: Any, secret: str) -> bool | None:
    """RFC 7519 and RFC 7515, and docs/protocol.md, a second time."""
    if not isinstance(header, dict) or not isinstance(claims, dict) or secret not in (SECRET, PREVIOUS):
        return False
    if header.get("alg") != "HS256" or header.get("b64") is False or "crit" in header:
        return False
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if claims.get("iss") != "slip-sockets" or "ControlEvent" not in audiences:
        return False
    if not _is_number(claims.get("exp")) or claims["exp"] <= time.time() - LEEWAY_S:
        return False
    if "nbf" in claims and (not _is_number(claims["nbf"]) or claims["nbf"] > time.time() + LEEWAY_S):
        return False
    is_odd = any(not isinstance(header.get(name, ""), str) for name in ("kid", "typ", "cty"))
    is_odd |= any(not isinstance(claims.get(name, ""), str) for name in ("sub", "jti"))
    is_odd |= any(not isinstance(each, str) for each in audiences)
    return None if is_odd or _is_not_utf8([header, claims]) else True


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < float("inf")


def _is_not_utf8(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=True).encode()
    except (UnicodeEncodeError, RecursionError):
        return True
    return False


def _is_signed(authorization: str) -> bool:
    """Return whether the token was signed with a secret, whatever happened to it on the way."""
    signed, _, signature = authorization.strip().partition(" ")[2].strip().rpartition(".")
    right = [hmac.new(each.encode(), signed.encode(), hashlib.sha256).digest() for each in (SECRET, PREVIOUS)]
    return base64.urlsafe_b64decode(signature + "==") in right


def _claims(authorization: str) -> dict[str, Any]:
    payload = authorization.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_tokens_are_accepted_or_refused_with_a_reason() -> None:
    play("tokens", Tokens, accepted=(0.25, 0.75), secrets=(SECRET, PREVIOUS))
