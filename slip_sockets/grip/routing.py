"""Where the requests of a client go: API Gateway has no request path, so a query parameter or the host may name one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec

from ..protocol.urls import url_problem

RIGHT_PATH_FROM = "host, or query: and the name of a parameter, e.g. query:path"
RIGHT_HOST = "the host that your backend expects, e.g. app.example.com"

_QUERY = "query:"
_SEGMENT_SAFE = "!$&'()*+,;=:@"
"""What may stand in a segment of a path as it is. https://datatracker.ietf.org/doc/html/rfc3986#section-3.3"""
_PATH_FROM = re.compile(r"host|query:[A-Za-z0-9_.~-]{1,100}")
_PORT = re.compile(r":[0-9]+\Z")

Query = Mapping[str, Sequence[str]]


class Routing(msgspec.Struct, frozen=True):
    """The settings GRIP_PATH_FROM and GRIP_HOST.

    `path_from` says what names the path behind that of the backend's URL: `host` its first label, `query:NAME` that
    parameter, "" nothing. `host` is the Host of requests, "" that of the client.
    """

    path_from: str = ""
    host: str = ""

    def route(self, host: str, query: Query) -> tuple[str, Query]:
        """Return the path of a client's requests, encoded, and the query without what names it."""
        if self.path_from == "host":
            return quote(_first_label(host), safe=_SEGMENT_SAFE), query
        name = self.path_from.removeprefix(_QUERY)
        if not self.path_from or name not in query:
            return "", query
        segments = query[name][-1].lstrip("/").split("/")
        path = "/".join(quote(each, safe=_SEGMENT_SAFE) for each in segments if each not in (".", ".."))
        return path, {other: values for other, values in query.items() if other != name}


def is_path_from(text: str) -> bool:
    return _PATH_FROM.fullmatch(text) is not None


def is_host(text: str) -> bool:
    return not set(text) & set("/?#@") and url_problem(f"http://{text}") is None


def _first_label(host: str) -> str:
    """Return the part before the first dot, in lower case; "" of an address and of a name without dots."""
    name = _PORT.sub("", host).lower()
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        label, dot, _ = name.partition(".")
        return label if dot else ""
    return ""
