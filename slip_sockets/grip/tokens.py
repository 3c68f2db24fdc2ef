"""The tokens of GRIP: Grip-Sig for the backend, and those of publishers.

A GRIP token does not say what it is for. So the two have issuers of their own: a Grip-Sig is not taken for a
publisher's.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hmac
from collections.abc import Sequence
from urllib.parse import urlencode

from ..protocol.tokens import ISSUER, bearer_token, sign

SIG_ISSUER = "slip-sockets-gateway"
"""`iss` of a Grip-Sig, `verify-iss` of a GRIP_URL."""
SIG_LIFETIME_S = 3600

_BASE64 = "base64:"


def grip_sig(secret: str, now: float) -> str:
    """Return the value of a Grip-Sig header. `now` is Unix seconds."""
    return _signed(secret, int(now))


def authorize(authorization: str | None, secrets: Sequence[str]) -> None:
    """Accept an Authorization header with a publisher's JWT, or with one of `secrets` itself. Raises InvalidToken."""
    from ..protocol.verification import verify_token

    token = bearer_token(authorization)
    keys = [_key(secret) for secret in secrets]
    literal = token.encode(errors="replace")
    for secret, key in zip(secrets, keys, strict=True):
        if hmac.compare_digest(literal, secret.encode()) or hmac.compare_digest(literal, key):
            return
    verify_token(token, None, keys)


def grip_url(control_api: str, secret: str | None = None) -> str:
    """Return the GRIP_URL of publishers' libraries; without a secret, all of it but the key."""
    parameters = {"iss": ISSUER, "verify-iss": SIG_ISSUER} | ({} if secret is None else {"key": secret})
    return f"{control_api}?{urlencode(parameters)}"


@functools.lru_cache(maxsize=4)
def _signed(secret: str, now: int) -> str:
    return sign({"exp": now + SIG_LIFETIME_S, "iss": SIG_ISSUER}, _key(secret))


def _key(secret: str) -> bytes:
    """Return the key, as the libraries read it from a GRIP_URL."""
    if secret.startswith(_BASE64):
        try:
            return base64.b64decode(secret.removeprefix(_BASE64), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
