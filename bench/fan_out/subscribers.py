"""Connection ids by number, shaped as API Gateway's: 15 characters of base64 and `=`."""

from __future__ import annotations

import base64
import struct

_SHAPE = struct.Struct(">3sII")


def connection_id(filling: int, index: int) -> str:
    """Return the id of the connection `index` that one filling of the table has made."""
    return base64.urlsafe_b64encode(_SHAPE.pack(b"fan", filling, index)).decode()


def place_of(whose: str) -> tuple[int, int] | None:
    """Return the filling and the index of a connection, None for an id of another kind."""
    try:
        mark, filling, index = _SHAPE.unpack(base64.urlsafe_b64decode(whose))
    except (ValueError, struct.error):
        return None
    return (filling, index) if mark == b"fan" else None
