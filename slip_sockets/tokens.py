"""JSON Web Tokens for the two directions: gateway to backend, and publisher to control API.

HS256 with `JWT_SECRET`, issuer `slip-sockets`; the audience tells the directions apart, so that a token seen by a
backend is worth nothing at the control API.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import jwt
from jwt.algorithms import HMACAlgorithm

from .errors import BadToken, ExpiredToken, MissingToken

Audience = Literal["WebSocketEvent", "ControlEvent"]

ISSUER = "slip-sockets"
ALGORITHM = "HS256"
LIFETIME_S = 60
"""How long a token that we mint is valid."""
LEEWAY_S = 30
"""How far the clocks of minter and verifier may lie apart."""
RECOMMENDED_SECRET_BYTES = 32
"""RFC 7518, section 3.2: HS256 wants a key as long as its hash. Shorter ones work; the settings warn of them."""

_KEY_OF_A_PAIR = "the secret is a key of a pair or a certificate"


def mint(audience: Audience, secret: str, *, now: float | None = None, lifetime_s: float = LIFETIME_S) -> str:
    """Return a signed token that `verify` accepts until `now + lifetime_s` (Unix seconds) and the leeway.

    Raises ValueError if `secret` is empty, or a key of a pair.
    """
    return _signed(audience, secret, int(time.time() if now is None else now), int(lifetime_s))


def verify(token: str, audience: Audience, secrets: Sequence[str]) -> None:
    """Accept `token` if one of `secrets` signed it for `audience` and it has not expired.

    Raises ExpiredToken or BadToken; the message says what is wrong and never holds the token. Raises ValueError
    where a secret is a key of a pair.
    """
    if not secrets:
        raise ValueError("verify needs at least one secret")
    for position, secret in enumerate(secrets):
        try:
            claims = jwt.decode(
                token,
                _key(secret),
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={"require": ["exp", "aud", "iss"], "verify_iat": False},
            )
        except jwt.ExpiredSignatureError as error:
            raise ExpiredToken("the token has expired") from error
        except jwt.InvalidSignatureError as error:
            if position == len(secrets) - 1:
                raise BadToken("the token is not signed with JWT_SECRET") from error
        except jwt.InvalidKeyError as error:
            raise ValueError(_KEY_OF_A_PAIR) from error
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise BadToken(_reason(error)) from error
        else:
            _check(claims)
            return


def is_key_of_a_pair(secret: str) -> bool:
    """Tell whether `secret` is an asymmetric key or a certificate: it may be public, and PyJWT takes none for HS256."""
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret.encode())
    except jwt.InvalidKeyError:
        return True
    return False


def bearer_token(authorization: str | None) -> str:
    """Return the token of an `Authorization` header's value; the scheme may be in any case.

    Raises MissingToken.
    """
    scheme, _, token = (authorization or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise MissingToken("the request has no header 'Authorization: Bearer <token>'")
    return token


@functools.lru_cache(maxsize=4)
def _signed(audience: Audience, secret: str, issued_at: int, lifetime_s: int) -> str:
    """Sign once a second at most: it was 28 % of what a frame costs the development server (`make bench`, echo)."""
    claims = {"iss": ISSUER, "aud": audience, "iat": issued_at, "exp": issued_at + lifetime_s}
    try:
        return jwt.encode(claims, _key(secret), algorithm=ALGORITHM)
    except jwt.InvalidKeyError as error:
        raise ValueError(_KEY_OF_A_PAIR) from error


def _key(secret: str) -> bytes:
    if not secret:
        raise ValueError("the secret is empty")
    # HMAC pads a short key with zero bytes itself (RFC 2104, section 2), so this changes no signature. PyJWT warns at
    # each call about a short key; the settings say it once.
    return secret.encode().ljust(RECOMMENDED_SECRET_BYTES, b"\0")


def _check(claims: Mapping[str, object]) -> None:
    """PyJWT takes a text of digits for a time, which is a number: RFC 7519, section 2."""
    for name in ("exp", "nbf"):
        if name in claims and type(claims[name]) not in (int, float):
            raise BadToken(f"the token's {name} is not a number")


def _reason(error: Exception) -> str:
    match error:
        case jwt.MissingRequiredClaimError():
            return f"the token has no {error.claim}"
        case jwt.InvalidAudienceError():
            return "the token is for another audience"
        case jwt.InvalidIssuerError():
            return f"the token's issuer is not {ISSUER}"
        case jwt.InvalidAlgorithmError():
            return f"the token's algorithm is not {ALGORITHM}"
        case jwt.ImmatureSignatureError():
            return "the token is not valid yet (nbf)"
        case _:
            return "the token is not a valid JWT"
