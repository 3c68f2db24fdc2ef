"""The form of API Gateway's connection ids: 15 characters of base64url and `=`."""

from __future__ import annotations

import base64
import re
import secrets

_CONNECTION_ID = re.compile(r"[A-Za-z0-9_-]{15}=")


def is_connection_id(text: str) -> bool:
    """Return whether `text` has the form of a connection id of API Gateway."""
    return _CONNECTION_ID.fullmatch(text) is not None


def new_connection_id() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(11)).decode()
