"""JSON Web Tokens for the two directions: gateway to backend, and publisher to control API.

HS256 with `JWT_SECRET`, issuer `slip-sockets`. Each direction has its own audience, so that the control API refuses a
token that was made for a backend.

PyJWT verifies (`verification`). It takes a seventh of a function's cold start to import, and most events sign only; so
`mint` does without it, which is an HMAC of two pieces of JSON.
"""

from __future__ import annotations

import base64
import functools
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from .errors import MissingToken

Audience = Literal["WebSocketEvent", "ControlEvent"]

ISSUER = "slip-sockets"
ALGORITHM = "HS256"
LIFETIME_S = 60
"""How long a token of `mint` is valid."""
LEEWAY_S = 30
"""How far the clocks of signer and verifier may differ."""
RECOMMENDED_SECRET_BYTES = 32
"""RFC 7518, section 3.2: HS256 needs a key as long as its hash. Shorter ones work; settings warn of them."""

_HEADER = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
"""{"alg":"HS256","typ":"JWT"}"""
_MAY_BE_ASYMMETRIC = re.compile(r"\s|----|ssh-|ecdsa-")
"""What PyJWT takes for an asymmetric key has one of these: PEM's hyphens, SSH's names or a space."""
_ASYMMETRIC_KEY = (
    "looks like an asymmetric key or a certificate. "
    "HS256 needs a shared secret, e.g. the output of: openssl rand -hex 32"
)


def mint(audience: Audience, secret: str, *, now: float | None = None, lifetime_s: float = LIFETIME_S) -> str:
    """Return a signed token that `verify` accepts until `now + lifetime_s` (Unix seconds) and the leeway.

    Raises ValueError if `secret` is empty or an asymmetric key.
    """
    return _signed(audience, secret, int(time.time() if now is None else now), int(lifetime_s))


def sign(claims: Mapping[str, object], key: bytes) -> str:
    """Return a JWT (HS256) with these claims."""
    signed = f"{_HEADER}.{_base64url(msgspec.json.encode(claims))}"
    return f"{signed}.{_base64url(hmac.digest(key, signed.encode(), 'sha256'))}"


def verify(token: str, audience: Audience, secrets: Sequence[str]) -> None:
    """Accept `token` if one of `secrets` signed it for `audience` and it has not expired.

    Raises ExpiredToken or BadToken; the message never holds the token. Raises ValueError if there is no secret, or one
    is empty or an asymmetric key.
    """
    from .verification import verify_token

    if not secrets:
        raise ValueError("verify needs at least one secret")
    for secret in secrets:
        _check_secret(secret)
    verify_token(token, audience, [_key(secret) for secret in secrets])


def secret_problem(secret: str) -> str | None:
    """Return what is wrong with a secret, None if it is a good one.

    The text completes a sentence that begins with the secret's name: `f"JWT_SECRET {problem}"`. An asymmetric key is
    not a good one, because it may be public; PyJWT refuses it for HS256.
    """
    if not secret:
        return "is empty"
    if secret.isspace():
        return "is blank. Set it to a secret that both sides know, e.g. the output of: openssl rand -hex 32"
    if not _is_utf8(secret):
        return "is not UTF-8. Set it to text"
    if not _MAY_BE_ASYMMETRIC.search(secret):
        return None
    from .verification import is_asymmetric_key

    return _ASYMMETRIC_KEY if is_asymmetric_key(secret) else None


def secret_warning(secret: str) -> str | None:
    """Return what is odd about a good secret, None if nothing is. It completes a sentence as `secret_problem` does.

    A secret counts to the letter everywhere, blanks at its ends too: other implementations take it so, and a token
    verifies only where both sides do the same.
    """
    for where, end in (("begins", secret[:1]), ("ends", secret[-1:])):
        if end.isspace():
            blank = {"\n": "newline", " ": "space", "\t": "tab", "\r": "carriage return"}.get(end, "blank")
            return f"{where} with a {blank}, which counts. If it is there by mistake, take it off on both sides"
    return None


def split_secrets(text: str) -> tuple[str, ...]:
    """Return the secrets of JWT_PREVIOUS_SECRETS, which commas separate. They count to the letter, as JWT_SECRET."""
    return tuple(filter(None, text.split(",")))


def bearer_token(authorization: str | None) -> str:
    """Return the token of an `Authorization` header's value. The scheme may be in any case. Raises MissingToken."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise MissingToken("the request has no header 'Authorization: Bearer <token>'")
    return token


@functools.lru_cache(maxsize=4)
def _signed(audience: Audience, secret: str, issued_at: int, lifetime_s: int) -> str:
    """Sign once a second at most: signing was 28 % of the development server's time for a text (`make bench`, echo)."""
    _check_secret(secret)
    claims = {"iss": ISSUER, "aud": audience, "iat": issued_at, "exp": issued_at + lifetime_s}
    return sign(claims, _key(secret))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # the environment has bytes that are not UTF-8
        return False
    return True


def _check_secret(secret: str) -> None:
    if (problem := secret_problem(secret)) is not None:
        raise ValueError(f"the secret {problem}")


def _key(secret: str) -> bytes:
    # HMAC pads a short key with zero bytes itself (RFC 2104, section 2), so this changes no signature. It keeps PyJWT
    # from warning of a short key at each call; the settings are checked once.
    return secret.encode().ljust(RECOMMENDED_SECRET_BYTES, b"\0")
