"""Headers: those of the client's handshake for the backend, and those of the backend's response."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote, urlencode

from ..gateway.values import Connect
from .filters import FILTERS
from .framing import CONTENT_TYPE
from .routing import Routing
from .state import State

FEATURES = ", ".join(f"filter:{name}" for name in FILTERS)
"""What of Pushpin's Grip-Feature is done here. https://pushpin.org/docs/protocols/grip/"""

_NOT_REPEATED = frozenset(
    (
        "accept",
        "accept-encoding",
        "connection",
        "connection-id",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "keep-alive",
        "sec-websocket-extensions",
        "transfer-encoding",
        "upgrade",
    )
)
_GATEWAYS_OWN = ("grip-", "meta-")
_SPELLED = {"host": "Host", "user-agent": "User-Agent"}
"""The spelling by which the HTTP client knows that a request has them already."""
_SET_META = "set-meta-"
_NOT_FOR_CLIENTS = re.compile(
    "connection|content-.*|cross-origin-.*|date|keep-alive.*|referrer-policy|sec-websocket-.*|server|set-meta-.*"
    "|strict-transport-security|transfer-encoding|upgrade|vary|via|x-content-type-options|x-frame-options|x-powered-by"
)
"""Headers of an accepting response that the client of Pushpin does not get either, or that mean nothing in a 101."""
_PARAMETER = re.compile(r"""\s*([^\s=;,]*)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^";,][^;,]*)?))?\s*""")


def initial_state(connect: Connect, routing: Routing) -> State:
    """Return the state of a connection that asks to be let in."""
    headers = [
        (_SPELLED.get(name.lower(), name), _joined(name, connect.repeated_headers.get(name, (value,))))
        for name, value in connect.headers.items()
        if _is_repeated(name)
    ]
    path, routed_query = routing.route(dict(headers).get("Host", ""), connect.query)
    query = [(name, value) for name, values in routed_query.items() for value in values]
    return State(headers, urlencode(query, quote_via=quote), path)


def request_headers(connection_id: str, state: State, signature: str, host: str) -> dict[str, str]:
    """Return the headers of a POST. Those of the handshake come as the client sent them, in UTF-8, but for `host`."""
    repeated = {name: value.encode().decode("latin-1") for name, value in state.headers}
    return {
        **repeated,
        **({"Host": host} if host else {}),
        "Sec-WebSocket-Extensions": "grip",
        "Grip-Sig": signature,
        "Grip-Feature": FEATURES,
        "Accept": CONTENT_TYPE,
        "Connection-Id": connection_id,
        "Content-Type": CONTENT_TYPE,
        **{f"Meta-{name}": value for name, value in state.meta.items()},
    }


def set_meta(state: State, headers: Mapping[str, str]) -> None:
    """Apply the Set-Meta headers of a response. An empty value deletes."""
    changes = {name.removeprefix(_SET_META): value for name, value in headers.items() if name.startswith(_SET_META)}
    state.meta = {name: value for name, value in {**state.meta, **changes}.items() if value}


def message_prefix(extensions: str) -> str | None:
    """Return the prefix that a Sec-WebSocket-Extensions header sets; None where it does not enable GRIP.

    >>> message_prefix('grip; message-prefix="p-"'), message_prefix("grip"), message_prefix("foo")
    ('p-', 'm:', None)
    """
    for name, parameters in _extensions(extensions):
        if name == "grip":
            return parameters.get("message-prefix", "m:")
    return None


def headers_for_the_client(headers: Mapping[str, str]) -> list[str]:
    """Return the names of the headers that Pushpin sends to the client in the 101."""
    return sorted(name for name in headers if not _NOT_FOR_CLIENTS.fullmatch(name))


def _joined(name: str, values: Sequence[str]) -> str:
    """Return several headers of a name as one. https://datatracker.ietf.org/doc/html/rfc9110#section-5.3"""
    return ("; " if name.lower() == "cookie" else ", ").join(values)


def _is_repeated(name: str) -> bool:
    # A CGI-like backend cannot tell `Grip_Sig` from `Grip-Sig`.
    plain = name.lower().replace("_", "-")
    return plain not in _NOT_REPEATED and not plain.startswith(_GATEWAYS_OWN)


def _extensions(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name and the parameters of each extension, up to one that is not well-formed.

    Of a parameter that comes twice the last value counts.
    """
    position, name, parameters = 0, "", dict[str, str]()
    while position <= len(text):
        found = _PARAMETER.match(text, position)
        assert found is not None  # noqa: S101 - it matches the empty text
        key, quoted, plain = found.groups()
        if not name:
            name = key
        elif key:
            parameters[key] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else (plain or "").strip()
        position = found.end()
        if text[position : position + 1] not in (";", ",", ""):
            return
        if text[position : position + 1] != ";":
            yield name, parameters
            name, parameters = "", {}
        position += 1
