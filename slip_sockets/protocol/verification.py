"""Verifies tokens with PyJWT. `tokens` imports this module when a token is to be verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jwt
from jwt.algorithms import HMACAlgorithm

from .errors import BadToken, ExpiredToken
from .tokens import ALGORITHM, ISSUER, LEEWAY_S, Audience


def verify_token(token: str, audience: Audience | None, keys: Sequence[bytes]) -> None:
    """Accept `token` if one of `keys` signed it for `audience`, and it is valid. Raises ExpiredToken, BadToken.

    Without an audience the token must not have one.
    """
    required = ["exp", "iss"] if audience is None else ["exp", "aud", "iss"]
    for position, key in enumerate(keys):
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={"require": required, "verify_iat": False},
            )
        except jwt.ExpiredSignatureError as error:
            raise ExpiredToken("the token has expired") from error
        except jwt.InvalidSignatureError as error:
            if position == len(keys) - 1:
                raise BadToken("the token is not signed with JWT_SECRET") from error
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise BadToken(_reason(error)) from error
        else:
            _check(claims)
            return


def is_asymmetric_key(secret: str) -> bool:
    """Return whether PyJWT refuses `secret` for HS256, since it is an asymmetric key or a certificate."""
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret.encode())
    except jwt.InvalidKeyError:
        return True
    return False


def _check(claims: Mapping[str, object]) -> None:
    """Refuse times that are not numbers (RFC 7519, section 2): PyJWT accepts a string of digits."""
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
