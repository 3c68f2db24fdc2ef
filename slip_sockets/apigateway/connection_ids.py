"""API Gateway's connection ids. AWS documents a string, and nothing of its form.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html
"""

from __future__ import annotations

import base64
import re
import secrets

MAX_CONNECTION_ID_BYTES = 1_000
"""Far more than any that was seen, which have 16. A sort key of DynamoDB has 1,024 bytes, for an id and what stands
before it; a URL has three characters for a byte, of 10,240.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""

_USUAL = re.compile(r"[A-Za-z0-9_-]{15}=")


def is_connection_id(text: str) -> bool:
    """Return whether `text` can be a connection id: whether the tables, the queue and URLs can carry it."""
    return text.isprintable() and 1 <= len(text.encode()) <= MAX_CONNECTION_ID_BYTES


def has_usual_form(text: str) -> bool:
    """Return whether `text` looks as API Gateway's ids do today: 15 characters of base64url and `=`."""
    return _USUAL.fullmatch(text) is not None


def new_connection_id() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(11)).decode()
