"""Tokens that a backend must refuse, and signatures that it should."""

from __future__ import annotations

import time
from typing import Any

import jwt

from ..grip.tokens import SIG_ISSUER, SIG_LIFETIME_S, grip_sig
from ..protocol.tokens import ALGORITHM, ISSUER, LIFETIME_S, mint

WRONG_SECRET = "not-the-secret-of-this-deployment"  # noqa: S105 - made up


def bad_tokens(jwt_secret: str) -> dict[str, tuple[str, str | None]]:
    """Return by name: a title, and the value of the Authorization header (None: no such header)."""
    now = int(time.time())
    claims: dict[str, Any] = {"iss": ISSUER, "aud": "WebSocketEvent", "iat": now, "exp": now + LIFETIME_S}

    def signed(algorithm: str = ALGORITHM, **others: Any) -> str:
        changed = {name: value for name, value in (claims | others).items() if value is not None}
        # HMAC pads a short key itself; PyJWT would warn of it.
        key = jwt_secret.encode().ljust(64, b"\0") if algorithm != "none" else ""
        return f"Bearer {jwt.encode(changed, key, algorithm=algorithm)}"

    return {
        "missing": ("no token", None),
        "wrong-key": ("a token signed with another secret", f"Bearer {mint('WebSocketEvent', WRONG_SECRET)}"),
        "none": ("a token without a signature (alg none)", signed("none")),
        "wrong-audience": ("a token for the control API", f"Bearer {mint('ControlEvent', jwt_secret)}"),
        "wrong-issuer": ("a token of another issuer", signed(iss="somebody-else")),
        "expired": ("a token that expired an hour ago", signed(iat=now - 3_660, exp=now - 3_600)),
        "no-expiry": ("a token that never expires", signed(exp=None)),
        "no-audience": ("a token for no audience", signed(aud=None)),
        "garbage": ("not a JWT", "Bearer no-token"),
        "basic": ("a user and password", "Basic c29tZWJvZHk6c29tZXRoaW5n"),
    }


def bad_signatures(jwt_secret: str) -> dict[str, tuple[str, str | None]]:
    """Return by name: a title, and the value of the header Grip-Sig (None: no such header)."""
    now = time.time()
    claims = {"exp": int(now) + SIG_LIFETIME_S, "iss": SIG_ISSUER}
    return {
        "missing": ("no Grip-Sig", None),
        "wrong-key": ("a Grip-Sig signed with another key", grip_sig(WRONG_SECRET, now)),
        "none": ("a Grip-Sig without a signature (alg none)", jwt.encode(claims, "", algorithm="none")),
        "expired": ("a Grip-Sig that expired an hour ago", grip_sig(jwt_secret, now - SIG_LIFETIME_S - 3_600)),
        "garbage": ("a Grip-Sig that is not a JWT", "no-token"),
    }
