"""The route of a text, and the one that API Gateway answers by itself.

https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-routes.html
"""

from __future__ import annotations

from collections.abc import Container

import msgspec

ROUTE_SELECTION = "$request.body.slip"
"""The route selection expression of a deployment."""
PING = "ping"
PONG = '{"slip":"pong"}'
"""The response of the route `ping`."""
DEFAULT_ROUTE = "$default"

_BODY = "$request.body."
_NOT_OF_TEXTS = frozenset({"$connect", "$disconnect"})


def selected_route(expression: str, text: str, route_keys: Container[str]) -> str:
    """Return the key of the route that a text selects: the one of `route_keys` that the expression finds in it, or
    `$default`.

    AWS does not document what a text does that names $connect or $disconnect. `make verify-aws` measures it.
    """
    if not expression.startswith(_BODY):
        return DEFAULT_ROUTE
    try:
        found = msgspec.json.decode(text)
        for name in expression.removeprefix(_BODY).split("."):
            found = found[name]
    except (ValueError, TypeError, LookupError, RecursionError):
        return DEFAULT_ROUTE
    is_key = isinstance(found, str) and found in route_keys and found not in _NOT_OF_TEXTS
    return found if is_key else DEFAULT_ROUTE
