"""Connection ids by number, in the form of API Gateway's: 15 characters of base64 and `=`."""

from __future__ import annotations

import base64
import struct

_LAYOUT = struct.Struct(">3sII")


def connection_id(filling: int, index: int) -> str:
    """Return the id of the connection `index` of one filling of the table (see `dynamodb`)."""
    return base64.urlsafe_b64encode(_LAYOUT.pack(b"fan", filling, index)).decode()
